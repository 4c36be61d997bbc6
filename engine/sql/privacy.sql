-- name: addresses_of(contact)
SELECT address FROM address WHERE contact = :contact ORDER BY address;

-- name: firings_of(contact)
SELECT schedule, slot FROM firing WHERE contact = :contact ORDER BY schedule, slot;

-- name: inbound_from(address)
SELECT * FROM inbound WHERE lower(sender) = :address ORDER BY received_at, id;

-- name: mentioning_enrollments(exact, word)
SELECT * FROM enrollment
WHERE replace(variables, :exact, '') <> variables OR replace(lower(variables), :word, '') <> lower(variables)
ORDER BY begun_at, id;

-- name: mentions(exact, word)
-- What else was written that names somebody; `exact` as it is spelt, `word` in small letters.
SELECT 'email' AS what, id, subject, text FROM outbox
WHERE replace(subject || ' ' || text, :exact, '') <> subject || ' ' || text
  OR replace(lower(subject || ' ' || text), :word, '') <> lower(subject || ' ' || text)
UNION ALL
SELECT 'answer' AS what, id, subject, text FROM inbound
WHERE replace(subject || ' ' || text || ' ' || decision, :exact, '') <> subject || ' ' || text || ' ' || decision
  OR replace(lower(subject || ' ' || text || ' ' || decision), :word, '') <> lower(subject || ' ' || text || ' ' || decision)
UNION ALL
SELECT 'task' AS what, id, title AS subject, text || ' ' || note AS text FROM task
WHERE replace(title || ' ' || text || ' ' || note, :exact, '') <> title || ' ' || text || ' ' || note
  OR replace(lower(title || ' ' || text || ' ' || note), :word, '') <> lower(title || ' ' || text || ' ' || note)
UNION ALL
SELECT 'history' AS what, id, '' AS subject, text FROM history
WHERE replace(text, :exact, '') <> text OR replace(lower(text), :word, '') <> lower(text)
UNION ALL
SELECT 'item' AS what, thread || ' ' || CAST(number AS TEXT) AS id, label AS subject, said AS text FROM item
WHERE replace(label || ' ' || said, :exact, '') <> label || ' ' || said
  OR replace(lower(label || ' ' || said), :word, '') <> lower(label || ' ' || said)
UNION ALL
SELECT 'alert' AS what, id, '' AS subject, facts AS text FROM alert
WHERE replace(facts, :exact, '') <> facts OR replace(lower(facts), :word, '') <> lower(facts)
UNION ALL
SELECT 'referral' AS what, id, '' AS subject, text FROM referral_log
WHERE replace(text, :exact, '') <> text OR replace(lower(text), :word, '') <> lower(text)
UNION ALL
SELECT 'moment' AS what, id, name AS subject, data AS text FROM moment
WHERE replace(data, :exact, '') <> data OR replace(lower(data), :word, '') <> lower(data);

-- name: erase_outbox(id, now, nothing)
-- Of an email to somebody else the row stays, so that nothing is sent twice; its words go.
UPDATE outbox SET subject = '', text = '', raw = :nothing, seen = '', note = '', filed_at = coalesce(filed_at, :now)
WHERE id = :id AND state IN ('sent', 'refused', 'cancelled');

-- name: erase_inbound(id, now)
-- What stays is the id by which the message is known as read: it would be read anew otherwise.
UPDATE inbound SET sender = '', subject = '', text = '', contact = '', enrollment = '', decision = '', matched = '',
  thread = '', refs = '', settled_at = coalesce(settled_at, :now) WHERE id = :id;

-- name: erase_inbound_words(id)
UPDATE inbound SET subject = '', text = '', decision = '' WHERE id = :id;

-- name: erase_reasons(exact, word)
UPDATE enrollment SET reason = ''
WHERE replace(reason, :exact, '') <> reason OR replace(lower(reason), :word, '') <> lower(reason);

-- name: erase_task(id)
UPDATE task SET title = '(erased)', text = '', note = '' WHERE id = :id;

-- name: erase_history(id)
DELETE FROM history WHERE id = :id;

-- name: erase_item(id)
UPDATE item SET label = '(erased)', said = CASE WHEN said = '' THEN '' ELSE '(erased)' END
WHERE thread || ' ' || CAST(number AS TEXT) = :id;

-- name: erase_moment(id)
UPDATE moment SET data = '{}' WHERE id = :id;

-- name: erase_history_of(contact, enrollment)
DELETE FROM history WHERE (contact = :contact AND contact <> '') OR (enrollment = :enrollment AND enrollment <> '');

-- name: erase_tasks_of(contact, enrollment)
DELETE FROM task WHERE (contact = :contact AND contact <> '') OR (enrollment = :enrollment AND enrollment <> '');

-- name: erase_outbox_of(contact)
DELETE FROM outbox WHERE contact = :contact OR enrollment IN (SELECT id FROM enrollment WHERE contact = :contact);

-- name: erase_enrollments_of(contact)
DELETE FROM enrollment WHERE contact = :contact;

-- name: erase_moments_of(contact)
DELETE FROM moment WHERE contact = :contact;

-- name: erase_firings_of(contact)
DELETE FROM firing WHERE contact = :contact;

-- name: erase_addresses_of(contact)
DELETE FROM address WHERE contact = :contact;

-- name: erase_prospect(id, prospect)
UPDATE referral SET prospect = :prospect, prospect_key = 'forgotten ' || id, proof = '' WHERE id = :id;

-- name: erase_contact(id)
DELETE FROM contact WHERE id = :id AND NOT EXISTS (SELECT 1 FROM referral r WHERE r.client = :id);

-- name: hollow_contact(id)
-- Their referrals still count for the rep; whose they were is known no longer.
UPDATE contact SET email = 'forgotten ' || id, domain = '', name = '', first_name = '', company = '', title = '', zone = '',
  country = '', subdivision = '', language = '', aliases = '[]', fields = '{}', confirmed_at = NULL, held_until = NULL,
  held_why = '' WHERE id = :id;

-- name: erase_referral_line(id)
UPDATE referral_log SET text = '' WHERE id = :id;

-- name: erase_referral_lines(referral)
UPDATE referral_log SET text = '', message = '' WHERE referral = :referral;

-- name: erase_proofs_by(client)
UPDATE referral SET proof = '' WHERE client = :client;

-- name: erase_suppression_address(hash)
UPDATE suppression SET address = '', message = '' WHERE hash = :hash;
