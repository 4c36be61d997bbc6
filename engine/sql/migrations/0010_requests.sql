-- What other systems said is done once, however often they say it: `key` is theirs, or a row of a file; `digest` what they said.
CREATE TABLE request (
  key TEXT PRIMARY KEY, digest TEXT NOT NULL, at BIGINT NOT NULL
);
CREATE INDEX request_at ON request (at);
