-- What happened to a referral, step by step, each with the message that proves it; notes and answers stand between.
CREATE TABLE referral_log (
  id TEXT PRIMARY KEY,
  referral TEXT NOT NULL REFERENCES referral (id),
  at BIGINT NOT NULL,
  what TEXT NOT NULL, text TEXT NOT NULL, message TEXT NOT NULL
);
CREATE INDEX referral_log_of ON referral_log (referral, at);

INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' named', id, named_at, 'named', '', proof FROM referral;
INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' introduced', id, introduced_at, 'introduced', '', '' FROM referral WHERE introduced_at IS NOT NULL;
INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' contacted', id, contacted_at, 'contacted', '', '' FROM referral WHERE contacted_at IS NOT NULL;
INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' met', id, met_at, 'met', '', '' FROM referral WHERE met_at IS NOT NULL;
INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' won', id, won_at, 'won', '', '' FROM referral WHERE won_at IS NOT NULL;
INSERT INTO referral_log (id, referral, at, what, text, message)
SELECT id || ' lost', id, lost_at, 'lost', '', '' FROM referral WHERE lost_at IS NOT NULL;
