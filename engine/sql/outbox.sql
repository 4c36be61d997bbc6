-- name: add_outbox(id, enrollment, step, visit, attempt, mailbox, contact, recipient, state, due_at, not_before, follow_up, message_id, own_id, thread, subject, text, raw, template, version, token, deadline, deferrals, revision, approved_at, sent_at, filed_at, note, seen, bcc)
INSERT INTO outbox (id, enrollment, step, visit, attempt, mailbox, contact, recipient, state, due_at, not_before,
  follow_up, message_id, own_id, thread, subject, text, raw, template, version, token, deadline, deferrals,
  revision, approved_at, sent_at, filed_at, note, seen, bcc)
VALUES (:id, :enrollment, :step, :visit, :attempt, :mailbox, :contact, :recipient, :state, :due_at, :not_before,
  :follow_up, :message_id, :own_id, :thread, :subject, :text, :raw, :template, :version, :token, :deadline,
  :deferrals, :revision, :approved_at, :sent_at, :filed_at, :note, :seen, :bcc)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: outbox_message(id)
SELECT * FROM outbox WHERE id = :id;

-- name: queued(mailbox, now, follow_ups)
-- Follow-ups go before first contacts: a promise kept late is worse than a beginning that waits.
-- (The plus, here and below, keeps SQLite from reading all that are ready: another index has the order.)
SELECT * FROM outbox WHERE mailbox = :mailbox AND state = 'queued' AND +not_before <= :now AND enrollment <> ''
  AND follow_up <= :follow_ups
ORDER BY follow_up DESC, due_at, id LIMIT 1;

-- name: queued_to_rep(mailbox, now)
SELECT * FROM outbox WHERE mailbox = :mailbox AND state = 'queued' AND +not_before <= :now AND enrollment = ''
ORDER BY due_at, id LIMIT 1;

-- name: next_queued_at(mailbox)
SELECT min(not_before) AS at FROM outbox WHERE mailbox = :mailbox AND state = 'queued';

-- name: lost_attempts(mailbox, before)
-- In data_started, and nobody can still be speaking for it. (Here as elsewhere the condition of a partial index stands in full:
-- SQLite uses the index only then.)
SELECT * FROM outbox WHERE mailbox = :mailbox AND state = 'data_started' AND state IN ('draft', 'claimed', 'data_started', 'in_doubt')
  AND deadline < :before ORDER BY deadline, id;

-- name: lost_claims(mailbox, before)
SELECT * FROM outbox WHERE mailbox = :mailbox AND state = 'claimed' AND state IN ('draft', 'claimed', 'data_started', 'in_doubt')
  AND deadline < :before ORDER BY deadline, id;

-- name: outbox_of(enrollment)
SELECT * FROM outbox WHERE enrollment = :enrollment ORDER BY due_at, id;

-- name: outbox_to(contact)
SELECT * FROM outbox WHERE contact = :contact ORDER BY due_at, id;

-- name: freeze(id, token, revision, deadline, message_id, own_id, thread, subject, text, raw, template, version, follow_up, bcc)
-- The claim: only a queued row, once; from here on the bytes never change.
UPDATE outbox SET state = 'claimed', token = token + 1, revision = :revision, deadline = :deadline,
  message_id = :message_id, own_id = :own_id, thread = :thread, subject = :subject, text = :text, raw = :raw,
  template = :template, version = :version, follow_up = :follow_up, bcc = :bcc, note = ''
WHERE id = :id AND state = 'queued' AND token = :token
RETURNING token;

-- name: start_data(id, token, now, mailbox, epoch, fresh, hash)
-- The last gate: the claim is still ours and in time, the enrollment (a letter to the rep has none) has not changed since, the recipient wants mail
-- (the enrollment may be another person's), the lease holds, nobody has pulled the brake, and for a follow-up the mailbox was read to its end after it became due and within the last minute.
UPDATE outbox SET state = 'data_started'
WHERE id = :id AND token = :token AND state = 'claimed' AND deadline > :now
  AND (outbox.enrollment = ''
    OR EXISTS (SELECT 1 FROM enrollment e WHERE e.id = outbox.enrollment AND e.revision = outbox.revision))
  AND (outbox.contact = '' OR NOT EXISTS (SELECT 1 FROM suppression s WHERE s.hash = :hash))
  AND EXISTS (SELECT 1 FROM mailbox m WHERE m.address = :mailbox AND m.epoch = :epoch AND m.lease_until > :now
    AND m.paused_until <= :now
    AND (outbox.follow_up = 0 OR (m.read_at >= outbox.due_at AND m.read_at >= :fresh AND m.read_at <= :now)))
  AND NOT EXISTS (SELECT 1 FROM setting WHERE name = 'brake')
RETURNING id;

-- name: release_claim(id, token, not_before, deferrals, note)
-- A late no of the server ends a doubt as well: the token says that it is about this very attempt.
UPDATE outbox SET state = 'queued', not_before = :not_before, deferrals = :deferrals, note = :note
WHERE id = :id AND token = :token AND state IN ('claimed', 'data_started', 'in_doubt')
RETURNING id;

-- name: reclaim(id, token, now, note)
-- Only what has not begun: whoever claimed it may be about to, by a clock that differs.
UPDATE outbox SET state = 'queued', not_before = :now, note = :note
WHERE id = :id AND token = :token AND state = 'claimed' AND deadline < :now
RETURNING id;

-- name: record_sent(id, token, sent_at, note)
UPDATE outbox SET state = 'sent', sent_at = :sent_at, note = :note
WHERE id = :id AND token = :token AND state IN ('data_started', 'in_doubt')
RETURNING id;

-- name: record_refused(id, token, note)
UPDATE outbox SET state = 'refused', note = :note
WHERE id = :id AND token = :token AND state IN ('claimed', 'data_started', 'in_doubt', 'sent')
RETURNING id;

-- name: record_doubt(id, token, note)
UPDATE outbox SET state = 'in_doubt', note = :note
WHERE id = :id AND token = :token AND state = 'data_started'
RETURNING id;

-- name: again(id, token, not_before, note)
-- Proven absent: the same bytes go out again.
UPDATE outbox SET state = 'queued', token = token + 1, not_before = :not_before, note = :note
WHERE id = :id AND token = :token AND state = 'in_doubt'
RETURNING id;

-- name: postpone(id, not_before, note)
UPDATE outbox SET not_before = :not_before, note = :note WHERE id = :id AND state = 'queued';

-- name: note_outbox(id, note)
UPDATE outbox SET note = :note WHERE id = :id AND note <> :note;

-- name: follows_up(id)
UPDATE outbox SET follow_up = 1 WHERE id = :id AND state = 'queued';

-- name: to_draft(id, note)
UPDATE outbox SET state = 'draft', note = :note WHERE id = :id AND state = 'queued';

-- name: approve(id, now, subject, text, seen, nothing)
-- Bytes that were frozen before are gone: what the rep approved is what leaves.
UPDATE outbox SET state = 'queued', approved_at = :now, not_before = :now, subject = :subject, text = :text,
  raw = :nothing, seen = :seen
WHERE id = :id AND state = 'draft'
RETURNING id;

-- name: withdraw(enrollment, note)
UPDATE outbox SET state = 'cancelled', note = :note
WHERE enrollment = :enrollment AND state IN ('draft', 'queued', 'claimed')
RETURNING id;

-- name: withdraw_one(id, note)
UPDATE outbox SET state = 'cancelled', note = :note WHERE id = :id AND state IN ('draft', 'queued', 'claimed')
RETURNING id;

-- name: in_thread(thread)
-- Both ways, oldest first: what References must name.
SELECT sent_at AS at, id, contact, message_id, own_id, subject, '' AS refs FROM outbox
WHERE thread = :thread AND thread <> '' AND state = 'sent'
UNION ALL
SELECT received_at AS at, id, contact, message_id, '' AS own_id, subject, refs FROM inbound
WHERE thread = :thread AND thread <> ''
ORDER BY at, id;

-- name: sent_by_id(message_id)
SELECT * FROM outbox WHERE message_id = :message_id AND message_id <> '' AND state <> 'cancelled';

-- name: sent_by_own_id(own_id)
SELECT * FROM outbox WHERE own_id = :own_id AND own_id <> '' AND state <> 'cancelled' ORDER BY sent_at DESC LIMIT 1;

-- name: last_sent_to(contact)
SELECT * FROM outbox WHERE contact = :contact AND state IN ('sent', 'data_started', 'in_doubt')
ORDER BY coalesce(sent_at, deadline) DESC LIMIT 1;

-- name: last_unrelated(contact, root)
-- One that is on its way or in doubt may have been sent, and one that is claimed will be.
SELECT coalesce(o.sent_at, o.deadline) AS at, e.sequence, o.state FROM outbox o JOIN enrollment e ON e.id = o.enrollment
WHERE o.contact = :contact AND o.state IN ('claimed', 'sent', 'data_started', 'in_doubt') AND e.root <> :root
ORDER BY coalesce(o.sent_at, o.deadline) DESC LIMIT 1;

-- name: last_at_company(contact, domain, company, root)
-- By domain and by name apart, so that an index serves each.
SELECT at, sequence, email FROM (
  SELECT coalesce(o.sent_at, o.deadline) AS at, e.sequence, c.email
  FROM contact c JOIN outbox o ON o.contact = c.id JOIN enrollment e ON e.id = o.enrollment
  WHERE c.domain = :domain AND :domain <> '' AND c.id <> :contact AND e.root <> :root
    AND o.state IN ('claimed', 'sent', 'data_started', 'in_doubt')
  UNION ALL
  SELECT coalesce(o.sent_at, o.deadline) AS at, e.sequence, c.email
  FROM contact c JOIN outbox o ON o.contact = c.id JOIN enrollment e ON e.id = o.enrollment
  WHERE lower(c.company) = :company AND c.company <> '' AND c.id <> :contact AND e.root <> :root
    AND o.state IN ('claimed', 'sent', 'data_started', 'in_doubt')
) AS heard ORDER BY at DESC LIMIT 1;

-- name: knows(contact, mailbox)
-- Has any mail gone between this person and this rep, either way?
SELECT (SELECT count(*) FROM outbox WHERE contact = :contact AND mailbox = :mailbox
          AND state IN ('sent', 'data_started', 'in_doubt', 'refused'))
     + (SELECT count(*) FROM inbound WHERE contact = :contact AND mailbox = :mailbox) AS n;

-- name: first_sent_at(mailbox)
SELECT min(coalesce(sent_at, deadline)) AS at FROM outbox
WHERE mailbox = :mailbox AND state IN ('sent', 'data_started', 'in_doubt');

-- name: open_outbox_in(state)
SELECT * FROM outbox WHERE state = :state AND state IN ('draft', 'claimed', 'data_started', 'in_doubt') ORDER BY due_at, id;

-- name: outbox_in(state)
SELECT * FROM outbox WHERE state = :state ORDER BY due_at, id;

-- name: unfiled(mailbox)
SELECT * FROM outbox WHERE mailbox = :mailbox AND state = 'sent' AND filed_at IS NULL ORDER BY sent_at, id LIMIT 20;

-- name: filed(id, now)
UPDATE outbox SET filed_at = :now WHERE id = :id AND filed_at IS NULL;

-- name: drop_sent_bodies(before, nothing)
UPDATE outbox SET text = '', raw = :nothing WHERE sent_at < :before AND filed_at IS NOT NULL AND text <> '';

-- name: mailboxes_due(now)
SELECT DISTINCT mailbox FROM outbox WHERE state = 'queued' AND not_before <= :now;

-- name: next_due()
-- The next instant for which anything waits, of its own accord.
SELECT min(at) AS at FROM (
  SELECT min(next_at) AS at FROM enrollment WHERE next_at IS NOT NULL
  UNION ALL
  SELECT min(CASE WHEN o.not_before < m.next_send_at THEN m.next_send_at ELSE o.not_before END) AS at
  FROM outbox o JOIN mailbox m ON m.address = o.mailbox WHERE o.state = 'queued'
) AS due;

-- name: doubt_tried(note)
-- In a store that was restored: what had been tried by then may have gone out since.
UPDATE outbox SET state = 'in_doubt', note = :note WHERE state IN ('queued', 'claimed') AND token > 0;

-- name: doubt_claim(id, token, note)
-- Frozen, and not sent before it was looked for.
UPDATE outbox SET state = 'in_doubt', note = :note WHERE id = :id AND token = :token AND state = 'claimed'
RETURNING id;
