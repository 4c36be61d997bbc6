-- When a message reached the mailbox, which may be long before it was read: what somebody was quick about counts from here.
ALTER TABLE inbound ADD COLUMN arrived_at BIGINT;
