-- name: running(rep, limit)
-- Who waits for the rep comes first, then who is next.
SELECT * FROM enrollment WHERE state IN ('waiting', 'active', 'held', 'paused') AND (:rep = '' OR rep = :rep)
ORDER BY CASE WHEN state = 'paused' OR in_hand = 'draft' THEN 0 ELSE 1 END,
  coalesce(next_at, due_at, 9223372036854775807), id
LIMIT :limit;

-- name: through(rep, limit)
SELECT * FROM enrollment WHERE state IN ('listening', 'stopped') AND (:rep = '' OR rep = :rep)
ORDER BY begun_at DESC, id DESC LIMIT :limit;

-- name: count_states()
SELECT state, count(*) AS n FROM enrollment GROUP BY state;

-- name: count_states_of(rep)
SELECT state, count(*) AS n FROM enrollment WHERE rep = :rep GROUP BY state;

-- name: sent_to_clients(since, until)
SELECT e.client, e.root, e.sequence, o.step, o.template, o.mailbox AS rep, o.sent_at AS at
FROM outbox o JOIN enrollment e ON e.id = o.enrollment
WHERE o.state = 'sent' AND o.contact = e.client AND o.sent_at >= :since AND o.sent_at < :until
ORDER BY o.sent_at, o.id;

-- name: answers_of_clients()
-- What clients answered, and what the rep knew that they had said, by the family of enrollments that it concerns.
SELECT e.client, e.root, i.event, i.received_at AS at FROM inbound i JOIN enrollment e ON e.id = i.enrollment
WHERE i.contact = e.client AND i.event IN ('reply', 'confirmed', 'declined', 'named', 'introduced')
UNION ALL
SELECT e.client, e.root, 'confirmed' AS event, h.at FROM history h JOIN enrollment e ON e.id = h.enrollment
WHERE h.kind = 'value'
ORDER BY at;

-- name: families_of_referrals()
-- From which family of enrollments a referral came: by the message that proves it, else by what runs for it, for the
-- client before the prospect: what answers an introduction begins a family of its own.
SELECT r.id AS referral, e.root, 0 AS place, e.begun_at AS at FROM referral r
JOIN inbound i ON i.id = r.proof JOIN enrollment e ON e.id = i.enrollment
UNION ALL
SELECT e.referral, e.root, CASE WHEN e.contact = e.client THEN 1 ELSE 2 END AS place, e.begun_at AS at
FROM enrollment e WHERE e.referral <> ''
ORDER BY place DESC, at DESC;

-- name: asked_clients()
SELECT DISTINCT e.client, e.sequence FROM outbox o JOIN enrollment e ON e.id = o.enrollment
WHERE o.state = 'sent' AND o.contact = e.client;

-- name: emailed()
-- Every email that went to somebody, also what came back; one that was refused at once has no other time than its deadline.
SELECT o.id, o.contact, e.sequence, o.step, o.template, o.mailbox AS rep, o.state, coalesce(o.sent_at, o.deadline) AS at
FROM outbox o JOIN enrollment e ON e.id = o.enrollment
WHERE o.state IN ('sent', 'refused') AND o.contact <> '' AND coalesce(o.sent_at, o.deadline) IS NOT NULL
ORDER BY at, o.id;

-- name: answers_by_contact()
SELECT contact, event, received_at AS at FROM inbound
WHERE contact <> '' AND rule <> 'copy'
  AND event IN ('reply', 'confirmed', 'declined', 'named', 'introduced', 'unsubscribed', 'complained')
ORDER BY received_at, id;
