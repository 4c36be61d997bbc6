-- A letter to the rep belongs to no enrollment.
CREATE TABLE letter (
  id TEXT PRIMARY KEY,
  enrollment TEXT NOT NULL,
  step TEXT NOT NULL, visit BIGINT NOT NULL, attempt BIGINT NOT NULL,
  mailbox TEXT NOT NULL, contact TEXT NOT NULL, recipient TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN
    ('draft', 'queued', 'claimed', 'data_started', 'sent', 'refused', 'in_doubt', 'cancelled')),
  due_at BIGINT NOT NULL, not_before BIGINT NOT NULL, follow_up BIGINT NOT NULL,
  message_id TEXT NOT NULL, own_id TEXT NOT NULL, thread TEXT NOT NULL,
  subject TEXT NOT NULL, text TEXT NOT NULL, raw BYTEA NOT NULL, template TEXT NOT NULL, version TEXT NOT NULL,
  token BIGINT NOT NULL, deadline BIGINT, deferrals BIGINT NOT NULL, revision BIGINT NOT NULL,
  approved_at BIGINT, sent_at BIGINT, filed_at BIGINT, note TEXT NOT NULL,
  seen TEXT NOT NULL DEFAULT '', bcc TEXT NOT NULL DEFAULT '[]'
);
INSERT INTO letter (id, enrollment, step, visit, attempt, mailbox, contact, recipient, state, due_at, not_before, follow_up, message_id,
  own_id, thread, subject, text, raw, template, version, token, deadline, deferrals, revision, approved_at, sent_at, filed_at,
  note, seen, bcc)
SELECT id, enrollment, step, visit, attempt, mailbox, contact, recipient, state, due_at, not_before, follow_up, message_id,
  own_id, thread, subject, text, raw, template, version, token, deadline, deferrals, revision, approved_at, sent_at, filed_at,
  note, seen, bcc FROM outbox;
DROP TABLE outbox;
ALTER TABLE letter RENAME TO outbox;
CREATE UNIQUE INDEX outbox_live ON outbox (enrollment, step, visit, attempt) WHERE state <> 'cancelled';
CREATE INDEX outbox_queued ON outbox (mailbox, not_before, id) WHERE state = 'queued';
CREATE INDEX outbox_open ON outbox (state, mailbox) WHERE state IN ('draft', 'claimed', 'data_started', 'in_doubt');
CREATE INDEX outbox_unfiled ON outbox (mailbox, sent_at) WHERE state = 'sent' AND filed_at IS NULL;
CREATE INDEX outbox_message ON outbox (message_id) WHERE message_id <> '';
CREATE INDEX outbox_own ON outbox (own_id) WHERE own_id <> '';
CREATE INDEX outbox_thread ON outbox (thread, sent_at) WHERE thread <> '';
CREATE INDEX outbox_contact ON outbox (contact, sent_at);
CREATE INDEX outbox_enrollment ON outbox (enrollment);
CREATE INDEX outbox_next ON outbox (mailbox, follow_up DESC, due_at, id, not_before) WHERE state = 'queued';
CREATE INDEX outbox_body ON outbox (sent_at) WHERE text <> '';
CREATE INDEX outbox_to_rep ON outbox (mailbox, enrollment, due_at) WHERE state = 'queued' AND enrollment = '';

-- What a letter to the rep lists: each is settled once, whatever answers name it.
CREATE TABLE item (
  thread TEXT NOT NULL, number BIGINT NOT NULL, handle TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
  label TEXT NOT NULL, shown TEXT NOT NULL, said TEXT NOT NULL, message TEXT NOT NULL,
  PRIMARY KEY (thread, number)
);

-- A program or an address that is still to be told.
CREATE TABLE alert (
  id TEXT PRIMARY KEY,
  rep TEXT NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL, not_before BIGINT NOT NULL, tries BIGINT NOT NULL
);

CREATE INDEX inbound_orders_waiting ON inbound (received_at) WHERE event = 'orders' AND decision = '';
