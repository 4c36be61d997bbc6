-- name: add_contact(id, email, domain, name, first_name, company, title, zone, country, subdivision, language, owner, aliases, fields, confirmed_at)
INSERT INTO contact (id, email, domain, name, first_name, company, title, zone, country, subdivision, language,
  owner, aliases, fields, confirmed_at)
VALUES (:id, :email, :domain, :name, :first_name, :company, :title, :zone, :country, :subdivision, :language,
  :owner, :aliases, :fields, :confirmed_at);

-- name: save_contact(id, name, first_name, company, title, zone, country, subdivision, language, owner, aliases, fields)
UPDATE contact SET name = :name, first_name = :first_name, company = :company, title = :title, zone = :zone, country
  = :country, subdivision = :subdivision, language = :language, owner = :owner, aliases = :aliases, fields =
  :fields WHERE id = :id;

-- name: confirm(contact, now)
UPDATE contact SET confirmed_at = :now WHERE id = :contact;

-- name: add_address(address, contact)
INSERT INTO address (address, contact) VALUES (:address, :contact) ON CONFLICT DO NOTHING;

-- name: drop_address(contact, address)
DELETE FROM address WHERE contact = :contact AND address = :address;

-- name: move_contact(id, email, domain)
UPDATE contact SET email = :email, domain = :domain WHERE id = :id;

-- name: contact(id)
SELECT * FROM contact WHERE id = :id;

-- name: contact_at(address)
SELECT c.* FROM contact c JOIN address a ON a.contact = c.id WHERE a.address = :address;

-- name: lock_company(contact, domain, company)
-- Whoever claims an email to this person holds them, and their colleagues where these count, until that is committed. Nothing else
-- locks these rows, and each statement does in one order; who claims for several waits in a circle at worst, and begins anew.
SELECT address FROM address WHERE contact IN (
  SELECT id FROM contact WHERE id = :contact
  UNION SELECT id FROM contact WHERE domain = :domain AND domain <> ''
  UNION SELECT id FROM contact WHERE lower(company) = :company AND company <> ''
) ORDER BY address FOR UPDATE;

-- name: contacts()
SELECT * FROM contact WHERE email <> 'forgotten ' || id ORDER BY email;

-- name: colleagues(domain)
SELECT * FROM contact WHERE domain = :domain AND domain <> '' ORDER BY email;

-- name: hold_contact(id, held_until, held_why)
UPDATE contact SET held_until = :held_until, held_why = :held_why WHERE id = :id;

-- name: contact_hold(id)
SELECT held_until, held_why FROM contact WHERE id = :id;

-- name: suppress(hash, address, reason, at, message)
INSERT INTO suppression (hash, address, reason, at, message) VALUES (:hash, :address, :reason, :at, :message)
ON CONFLICT (hash) DO NOTHING;

-- name: suppression(hash)
SELECT * FROM suppression WHERE hash = :hash;

-- name: suppressions()
SELECT * FROM suppression ORDER BY at, hash;

-- name: add_task(id, kind, rep, contact, enrollment, title, text, created_at, urgent, step, message, done_at, note)
INSERT INTO task (id, kind, rep, contact, enrollment, title, text, created_at, urgent, step, message, done_at, note)
VALUES (:id, :kind, :rep, :contact, :enrollment, :title, :text, :created_at, :urgent, :step, :message, :done_at,
  :note);

-- name: task(id)
SELECT * FROM task WHERE id = :id;

-- name: open_tasks()
SELECT * FROM task WHERE done_at IS NULL ORDER BY urgent DESC, created_at, id;

-- name: tasks_of(contact)
SELECT * FROM task WHERE contact = :contact ORDER BY created_at, id;

-- name: finish_task(id, now, note)
UPDATE task SET done_at = :now, note = :note WHERE id = :id AND done_at IS NULL RETURNING id;

-- name: finish_tasks(enrollment, kind, now, note)
UPDATE task SET done_at = :now, note = :note WHERE enrollment = :enrollment AND kind = :kind AND done_at IS NULL;

-- name: finish_person_tasks(contact, kind, now, note)
UPDATE task SET done_at = :now, note = :note WHERE contact = :contact AND kind = :kind AND done_at IS NULL;

-- name: add_referral(id, client, rep, prospect, prospect_key, state, named_at, source, proof, introduced_at, contacted_at, met_at, won_at, lost_at, answered_at)
INSERT INTO referral (id, client, rep, prospect, prospect_key, state, named_at, source, proof, introduced_at,
  contacted_at, met_at, won_at, lost_at, answered_at)
VALUES (:id, :client, :rep, :prospect, :prospect_key, :state, :named_at, :source, :proof, :introduced_at,
  :contacted_at, :met_at, :won_at, :lost_at, :answered_at)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: save_referral(id, rep, prospect, prospect_key, state, named_at, source, proof, introduced_at, contacted_at, met_at, won_at, lost_at, answered_at)
UPDATE referral SET rep = :rep, prospect = :prospect, prospect_key = :prospect_key, state = :state, named_at = :named_at, source = :source, proof
  = :proof, introduced_at = :introduced_at, contacted_at = :contacted_at, met_at = :met_at, won_at = :won_at,
  lost_at = :lost_at, answered_at = :answered_at WHERE id = :id;

-- name: referral(id)
SELECT * FROM referral WHERE id = :id;

-- name: lock_referral(id)
SELECT * FROM referral WHERE id = :id FOR UPDATE;

-- name: referral_of(client, prospect_key)
SELECT * FROM referral WHERE client = :client AND prospect_key = :prospect_key;

-- name: referrals_to(prospect_key)
SELECT * FROM referral WHERE prospect_key = :prospect_key ORDER BY named_at, id;

-- name: referrals_by(client)
SELECT * FROM referral WHERE client = :client ORDER BY named_at, id;

-- name: unanswered()
-- Introduced, and nobody has answered: the longest first.
SELECT * FROM referral WHERE introduced_at IS NOT NULL AND answered_at IS NULL AND met_at IS NULL AND won_at IS NULL
  AND lost_at IS NULL ORDER BY introduced_at, id;

-- name: referrals()
SELECT * FROM referral ORDER BY named_at, id;

-- name: add_referral_line(id, referral, at, what, text, message)
INSERT INTO referral_log (id, referral, at, what, text, message) VALUES (:id, :referral, :at, :what, :text, :message);

-- name: referral_lines(referral)
SELECT * FROM referral_log WHERE referral = :referral ORDER BY at, id;
