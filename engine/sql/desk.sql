-- name: unalerted(since)
-- Introductions that came by mail, and of which the rep was not told.
SELECT r.* FROM referral r JOIN moment m ON m.contact = r.client AND m.referral = r.id AND m.name = 'introduced'
WHERE r.introduced_at >= :since AND m.message <> ''
  AND NOT EXISTS (SELECT 1 FROM firing f WHERE f.schedule = 'alert' AND f.slot = r.id AND f.contact = '')
ORDER BY r.introduced_at, r.id;

-- name: add_alert(id, rep, kind, facts, not_before, tries)
INSERT INTO alert (id, rep, kind, facts, not_before, tries) VALUES (:id, :rep, :kind, :facts, :not_before, :tries)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: due_alert(now)
SELECT * FROM alert WHERE not_before <= :now ORDER BY not_before, id LIMIT 1;

-- name: take_alert(id, tries, not_before)
-- The number of tries lets one daemon have it; whoever stops in the middle leaves it to the next try.
UPDATE alert SET tries = tries + 1, not_before = :not_before WHERE id = :id AND tries = :tries RETURNING id;

-- name: put_off_alert(id, tries, not_before)
UPDATE alert SET not_before = :not_before WHERE id = :id AND tries = :tries;

-- name: drop_alert(id)
DELETE FROM alert WHERE id = :id;

-- name: end_alert(id, tries)
DELETE FROM alert WHERE id = :id AND tries = :tries;

-- name: add_item(thread, number, handle, kind, target, label, shown, said, message)
INSERT INTO item (thread, number, handle, kind, target, label, shown, said, message)
VALUES (:thread, :number, :handle, :kind, :target, :label, :shown, :said, :message);

-- name: items(thread)
SELECT * FROM item WHERE thread = :thread ORDER BY number;

-- name: settle_item(thread, number, said, message)
UPDATE item SET said = :said, message = :message WHERE thread = :thread AND number = :number AND said = ''
RETURNING number;

-- name: waiting_orders()
SELECT * FROM inbound WHERE event = 'orders' AND decision = '' ORDER BY received_at, id;

-- name: end_orders(id, decision)
UPDATE inbound SET decision = :decision WHERE id = :id AND event = 'orders' AND decision = '' RETURNING id;
