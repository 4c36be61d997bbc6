-- name: add_inbound(id, mailbox, folder, uidvalidity, uid, message_id, digest, received_at, sender, subject, event, rule, matched, enrollment, contact, text, decision, settled_at, thread, refs, arrived_at)
INSERT INTO inbound (id, mailbox, folder, uidvalidity, uid, message_id, digest, received_at, sender, subject, event,
  rule, matched, enrollment, contact, text, decision, settled_at, thread, refs, arrived_at)
VALUES (:id, :mailbox, :folder, :uidvalidity, :uid, :message_id, :digest, :received_at, :sender, :subject, :event,
  :rule, :matched, :enrollment, :contact, :text, :decision, :settled_at, :thread, :refs, :arrived_at)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: copies(message_id, digest)
-- In whatever mailbox: a message to two reps is one message.
SELECT * FROM inbound WHERE message_id = :message_id AND digest = :digest ORDER BY id;

-- name: own_copy(message_id)
-- A copy of an email of ours that was read when nothing was known of it: another copy of this store has sent it.
SELECT folder, coalesce(arrived_at, received_at) AS at FROM inbound
WHERE message_id = :message_id AND message_id <> '' AND rule LIKE 'own:%' ORDER BY at LIMIT 1;

-- name: inbound_message(id)
SELECT * FROM inbound WHERE id = :id;

-- name: decide_inbound(id, event, rule, decision, settled_at)
UPDATE inbound SET event = :event, rule = :rule, decision = :decision, settled_at = :settled_at WHERE id = :id;

-- name: settle_inbound(contact, enrollment, now)
UPDATE inbound SET settled_at = :now
WHERE contact = :contact AND contact <> '' AND enrollment = :enrollment AND settled_at IS NULL;

-- name: open_inbound_of(contact)
SELECT * FROM inbound WHERE contact = :contact AND contact <> '' AND settled_at IS NULL ORDER BY received_at, id;

-- name: open_inbound()
SELECT * FROM inbound WHERE settled_at IS NULL ORDER BY received_at, id;

-- name: inbound_of(contact)
SELECT * FROM inbound WHERE contact = :contact AND contact <> '' ORDER BY received_at, id;

-- name: last_human_mail(contact, since, root)
-- Not what this family of enrollments has heard: that is what it answers.
SELECT i.* FROM inbound i LEFT JOIN enrollment e ON e.id = i.enrollment
WHERE i.contact = :contact AND i.contact <> '' AND i.received_at > :since AND (:root = '' OR e.root IS NULL OR e.root <> :root)
  AND i.event IN ('reply', 'confirmed', 'declined', 'named', 'introduced', 'rep_wrote')
ORDER BY i.received_at DESC LIMIT 1;

-- name: recent_inbound(limit)
SELECT * FROM inbound ORDER BY received_at DESC, id DESC LIMIT :limit;

-- name: drop_bodies(before)
UPDATE inbound SET text = '' WHERE received_at < :before AND text <> '';

-- name: position(mailbox, folder)
SELECT uidvalidity, uid, since FROM folder WHERE mailbox = :mailbox AND folder = :folder;

-- name: save_position(mailbox, folder, uidvalidity, uid, since)
-- `since` is when the mailbox was first seen, and stays: older mail is never acted on unless it names one of our ids.
INSERT INTO folder (mailbox, folder, uidvalidity, uid, since)
VALUES (:mailbox, :folder, :uidvalidity, :uid,
  coalesce((SELECT min(f.since) FROM folder f WHERE f.mailbox = :mailbox), :since))
ON CONFLICT (mailbox, folder) DO UPDATE SET uidvalidity = excluded.uidvalidity, uid = excluded.uid
RETURNING since;

-- name: mailbox_since(mailbox)
SELECT min(since) AS since FROM folder WHERE mailbox = :mailbox;
