-- A message that came to several mailboxes is acted on once, whoever reads it first.
UPDATE inbound SET rule = 'copy' WHERE id > (
  SELECT min(first.id) FROM inbound first
  WHERE first.message_id = inbound.message_id AND first.digest = inbound.digest);
CREATE UNIQUE INDEX inbound_once ON inbound (message_id, digest) WHERE rule <> 'copy';
