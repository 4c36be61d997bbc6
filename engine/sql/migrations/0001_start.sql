CREATE TABLE contact (
  id TEXT PRIMARY KEY,
  email TEXT NOT NULL UNIQUE,
  domain TEXT NOT NULL,
  name TEXT NOT NULL, first_name TEXT NOT NULL, company TEXT NOT NULL, title TEXT NOT NULL,
  zone TEXT NOT NULL, country TEXT NOT NULL, subdivision TEXT NOT NULL, language TEXT NOT NULL,
  owner TEXT NOT NULL, aliases TEXT NOT NULL, fields TEXT NOT NULL,
  confirmed_at BIGINT,
  held_until BIGINT, held_why TEXT NOT NULL DEFAULT ''
);
CREATE INDEX contact_domain ON contact (domain);

CREATE TABLE address (
  address TEXT PRIMARY KEY,
  contact TEXT NOT NULL REFERENCES contact (id)
);

CREATE TABLE suppression (
  hash TEXT PRIMARY KEY, address TEXT NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL, message TEXT NOT NULL
);

CREATE TABLE mailbox (
  address TEXT PRIMARY KEY,
  owner TEXT NOT NULL DEFAULT '', epoch BIGINT NOT NULL DEFAULT 0, lease_until BIGINT NOT NULL DEFAULT 0,
  next_send_at BIGINT NOT NULL DEFAULT 0, day TEXT NOT NULL DEFAULT '', sent_today BIGINT NOT NULL DEFAULT 0,
  read_at BIGINT NOT NULL DEFAULT 0, read_error TEXT NOT NULL DEFAULT '', read_failed_at BIGINT,
  paused_until BIGINT NOT NULL DEFAULT 0, paused_why TEXT NOT NULL DEFAULT '',
  files_sent TEXT NOT NULL DEFAULT '', keeps_id TEXT NOT NULL DEFAULT ''
);

CREATE TABLE folder (
  mailbox TEXT NOT NULL, folder TEXT NOT NULL, uidvalidity BIGINT NOT NULL, uid BIGINT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (mailbox, folder)
);

CREATE TABLE enrollment (
  id TEXT PRIMARY KEY,
  sequence TEXT NOT NULL, version TEXT NOT NULL,
  contact TEXT NOT NULL REFERENCES contact (id), client TEXT NOT NULL, rep TEXT NOT NULL, root TEXT NOT NULL,
  prospect TEXT NOT NULL,
  begun_at BIGINT NOT NULL, start_at BIGINT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'active', 'held', 'paused', 'listening', 'stopped')),
  variables TEXT NOT NULL, step TEXT,
  due_at BIGINT, next_at BIGINT, suspended_at BIGINT, done_at BIGINT,
  in_hand TEXT NOT NULL, answered TEXT NOT NULL, visits TEXT NOT NULL, tries BIGINT NOT NULL,
  parent TEXT NOT NULL, cause TEXT NOT NULL, thread TEXT NOT NULL, referral TEXT NOT NULL,
  reason TEXT NOT NULL, outcome TEXT NOT NULL, revision BIGINT NOT NULL
);
CREATE INDEX enrollment_next ON enrollment (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX enrollment_contact ON enrollment (contact);
CREATE INDEX enrollment_client ON enrollment (client);
CREATE INDEX enrollment_root ON enrollment (root);
CREATE INDEX enrollment_state ON enrollment (state);
CREATE INDEX enrollment_prospect ON enrollment (prospect) WHERE prospect <> '';
CREATE UNIQUE INDEX enrollment_running ON enrollment (contact, sequence, prospect)
  WHERE state IN ('waiting', 'active', 'held', 'paused');

CREATE TABLE outbox (
  id TEXT PRIMARY KEY,
  enrollment TEXT NOT NULL REFERENCES enrollment (id),
  step TEXT NOT NULL, visit BIGINT NOT NULL, attempt BIGINT NOT NULL,
  mailbox TEXT NOT NULL, contact TEXT NOT NULL, recipient TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN
    ('draft', 'queued', 'claimed', 'data_started', 'sent', 'refused', 'in_doubt', 'cancelled')),
  due_at BIGINT NOT NULL, not_before BIGINT NOT NULL, follow_up BIGINT NOT NULL,
  message_id TEXT NOT NULL, own_id TEXT NOT NULL, thread TEXT NOT NULL,
  subject TEXT NOT NULL, text TEXT NOT NULL, raw BYTEA NOT NULL, template TEXT NOT NULL, version TEXT NOT NULL,
  token BIGINT NOT NULL, deadline BIGINT, deferrals BIGINT NOT NULL, revision BIGINT NOT NULL,
  approved_at BIGINT, sent_at BIGINT, filed_at BIGINT, note TEXT NOT NULL
);
CREATE UNIQUE INDEX outbox_live ON outbox (enrollment, step, visit, attempt) WHERE state <> 'cancelled';
CREATE INDEX outbox_queued ON outbox (mailbox, not_before, id) WHERE state = 'queued';
CREATE INDEX outbox_open ON outbox (state, mailbox) WHERE state IN ('draft', 'claimed', 'data_started', 'in_doubt');
CREATE INDEX outbox_unfiled ON outbox (mailbox, sent_at) WHERE state = 'sent' AND filed_at IS NULL;
CREATE INDEX outbox_message ON outbox (message_id) WHERE message_id <> '';
CREATE INDEX outbox_own ON outbox (own_id) WHERE own_id <> '';
CREATE INDEX outbox_thread ON outbox (thread, sent_at) WHERE thread <> '';
CREATE INDEX outbox_contact ON outbox (contact, sent_at);

CREATE TABLE inbound (
  id TEXT PRIMARY KEY,
  mailbox TEXT NOT NULL, folder TEXT NOT NULL, uidvalidity BIGINT NOT NULL, uid BIGINT NOT NULL,
  message_id TEXT NOT NULL, digest TEXT NOT NULL, received_at BIGINT NOT NULL,
  sender TEXT NOT NULL, subject TEXT NOT NULL, event TEXT NOT NULL, rule TEXT NOT NULL, matched TEXT NOT NULL,
  enrollment TEXT NOT NULL, contact TEXT NOT NULL, text TEXT NOT NULL, decision TEXT NOT NULL,
  settled_at BIGINT, thread TEXT NOT NULL, refs TEXT NOT NULL,
  UNIQUE (mailbox, message_id, digest)
);
CREATE INDEX inbound_contact ON inbound (contact, received_at) WHERE contact <> '';
CREATE INDEX inbound_thread ON inbound (thread, received_at) WHERE thread <> '';
CREATE INDEX inbound_message ON inbound (message_id);
CREATE INDEX inbound_open ON inbound (received_at) WHERE settled_at IS NULL;

CREATE TABLE history (
  id TEXT PRIMARY KEY,
  at BIGINT NOT NULL, contact TEXT NOT NULL, enrollment TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
  message TEXT NOT NULL
);
CREATE INDEX history_contact ON history (contact, at);
CREATE INDEX history_at ON history (at, id);

CREATE TABLE task (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL, rep TEXT NOT NULL, contact TEXT NOT NULL, enrollment TEXT NOT NULL,
  title TEXT NOT NULL, text TEXT NOT NULL, created_at BIGINT NOT NULL, urgent BIGINT NOT NULL,
  step TEXT NOT NULL, message TEXT NOT NULL, done_at BIGINT, note TEXT NOT NULL
);
CREATE INDEX task_open ON task (rep, created_at) WHERE done_at IS NULL;
CREATE INDEX task_enrollment ON task (enrollment);

CREATE TABLE referral (
  id TEXT PRIMARY KEY,
  client TEXT NOT NULL REFERENCES contact (id), rep TEXT NOT NULL,
  prospect TEXT NOT NULL, prospect_key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('named', 'contacted', 'met', 'won', 'lost')),
  named_at BIGINT NOT NULL, source TEXT NOT NULL, proof TEXT NOT NULL,
  introduced_at BIGINT, contacted_at BIGINT, met_at BIGINT, won_at BIGINT, lost_at BIGINT,
  UNIQUE (client, prospect_key)
);
CREATE INDEX referral_prospect ON referral (prospect_key);

CREATE TABLE library (
  version TEXT PRIMARY KEY, applied_at BIGINT NOT NULL, sources TEXT NOT NULL
);

CREATE TABLE setting (
  name TEXT PRIMARY KEY, value TEXT NOT NULL
);
