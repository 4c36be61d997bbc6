-- name: add_moment(id, contact, name, data, at, key, referral, message, fired_at)
INSERT INTO moment (id, contact, name, data, at, key, referral, message, fired_at)
VALUES (:id, :contact, :name, :data, :at, :key, :referral, :message, :fired_at)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: fire_moment(id, now)
-- Of several who want to act on it, one gets it, in the transaction of all that it starts.
UPDATE moment SET fired_at = :now WHERE id = :id AND fired_at IS NULL RETURNING id;

-- name: waiting_moments(limit)
SELECT * FROM moment WHERE fired_at IS NULL ORDER BY at, id LIMIT :limit;

-- name: moments_of(contact)
SELECT * FROM moment WHERE contact = :contact ORDER BY at, id;

-- name: fire_slot(schedule, slot, contact, at)
INSERT INTO firing (schedule, slot, contact, at) VALUES (:schedule, :slot, :contact, :at)
ON CONFLICT DO NOTHING
RETURNING slot;

-- name: clients(after, fields, limit)
-- Everybody but those who are known only because a client named or introduced them; one who was won has become a client.
SELECT * FROM contact c
WHERE c.id > :after AND c.fields LIKE :fields AND c.email <> 'forgotten ' || c.id AND (EXISTS (SELECT 1 FROM enrollment e WHERE e.client = c.id)
  OR EXISTS (SELECT 1 FROM referral r WHERE r.client = c.id)
  OR EXISTS (SELECT 1 FROM referral r WHERE r.prospect_key = c.email AND r.state = 'won')
  OR NOT (EXISTS (SELECT 1 FROM enrollment e WHERE e.contact = c.id)
    OR EXISTS (SELECT 1 FROM referral r WHERE r.prospect_key = c.email)))
ORDER BY c.id LIMIT :limit;

-- name: referrers()
SELECT * FROM contact c
WHERE c.email <> 'forgotten ' || c.id AND EXISTS (SELECT 1 FROM referral r WHERE r.client = c.id) ORDER BY c.email;

-- name: add_request(key, digest, at)
INSERT INTO request (key, digest, at) VALUES (:key, :digest, :at) ON CONFLICT DO NOTHING RETURNING key;

-- name: request(key)
SELECT digest FROM request WHERE key = :key;

-- name: drop_requests(before)
DELETE FROM request WHERE at < :before;
