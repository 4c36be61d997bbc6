-- name: add_mailbox(address)
INSERT INTO mailbox (address) VALUES (:address) ON CONFLICT DO NOTHING;

-- name: mailbox(address)
SELECT * FROM mailbox WHERE address = :address;

-- name: mailboxes()
SELECT * FROM mailbox ORDER BY address;

-- name: lease(address, owner, now, until)
-- A new owner gets a new epoch; whatever an earlier one still writes names the old one and is refused.
UPDATE mailbox SET epoch = CASE WHEN owner = :owner AND lease_until > :now THEN epoch ELSE epoch + 1 END,
  owner = :owner, lease_until = :until
WHERE address = :address AND (owner = :owner OR lease_until <= :now)
RETURNING epoch;

-- name: end_lease(address, owner)
UPDATE mailbox SET lease_until = 0 WHERE address = :address AND owner = :owner;

-- name: consume_rate(address, epoch, now, next_send_at, day, per_day)
-- The gap and the daily count are taken here, in the claim's transaction, so that all workers share them.
UPDATE mailbox SET next_send_at = :next_send_at, day = :day,
  sent_today = CASE WHEN day = :day THEN sent_today + 1 ELSE 1 END
WHERE address = :address AND epoch = :epoch AND lease_until > :now AND paused_until <= :now AND next_send_at <= :now
  AND (day <> :day OR sent_today < :per_day)
RETURNING address;

-- name: return_rate(address, epoch, now)
-- Nothing was sent after all: the place in the day's count is given back.
UPDATE mailbox SET sent_today = sent_today - 1, next_send_at = :now
WHERE address = :address AND epoch = :epoch AND sent_today > 0;

-- name: read_to_end(address, read_at, now)
-- A read that seems yet to come was made before a clock was set back.
UPDATE mailbox SET read_at = :read_at, read_error = '', read_failed_at = NULL
WHERE address = :address AND (read_at < :read_at OR read_at > :now);

-- name: distrust_reads(before)
UPDATE mailbox SET read_at = :before WHERE read_at > :before;

-- name: read_failed(address, at, error)
UPDATE mailbox SET read_error = :error, read_failed_at = coalesce(read_failed_at, :at) WHERE address = :address;

-- name: pause_mailbox(address, until, why)
UPDATE mailbox SET paused_until = :until, paused_why = :why WHERE address = :address;

-- name: learn_mailbox(address, files_sent, keeps_id)
UPDATE mailbox SET files_sent = :files_sent, keeps_id = :keeps_id WHERE address = :address;

-- name: tell(id, at, contact, enrollment, kind, text, message)
INSERT INTO history (id, at, contact, enrollment, kind, text, message)
VALUES (:id, :at, :contact, :enrollment, :kind, :text, :message);

-- name: story(contact)
SELECT * FROM history WHERE contact = :contact ORDER BY at, id;

-- name: history_since(at)
SELECT * FROM history WHERE at > :at ORDER BY at, id;

-- name: apply_library(version, applied_at, sources)
INSERT INTO library (version, applied_at, sources) VALUES (:version, :applied_at, :sources)
ON CONFLICT (version) DO UPDATE SET applied_at = excluded.applied_at;

-- name: applied_library()
SELECT * FROM library ORDER BY applied_at DESC, version LIMIT 1;

-- name: library_version(version)
SELECT * FROM library WHERE version = :version;

-- name: library_versions()
SELECT version, applied_at FROM library ORDER BY applied_at;

-- name: setting(name)
SELECT value FROM setting WHERE name = :name;

-- name: set_setting(name, value)
INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: add_setting(name, value)
INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING RETURNING name;

-- name: drop_setting(name)
DELETE FROM setting WHERE name = :name;
