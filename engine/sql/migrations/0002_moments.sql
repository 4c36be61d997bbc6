CREATE TABLE moment (
  id TEXT PRIMARY KEY,
  contact TEXT NOT NULL REFERENCES contact (id),
  name TEXT NOT NULL, data TEXT NOT NULL, at BIGINT NOT NULL,
  key TEXT NOT NULL UNIQUE,
  referral TEXT NOT NULL, message TEXT NOT NULL, fired_at BIGINT
);
CREATE INDEX moment_contact ON moment (contact, at);
CREATE INDEX moment_waiting ON moment (at, id) WHERE fired_at IS NULL;

CREATE TABLE firing (
  schedule TEXT NOT NULL, slot TEXT NOT NULL, contact TEXT NOT NULL, at BIGINT NOT NULL,
  PRIMARY KEY (schedule, slot, contact)
);
