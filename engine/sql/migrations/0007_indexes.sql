-- What is asked for every email, answer and person costs the same whatever the store holds.
CREATE INDEX outbox_enrollment ON outbox (enrollment);
CREATE INDEX outbox_next ON outbox (mailbox, follow_up DESC, due_at, id, not_before) WHERE state = 'queued';
CREATE INDEX outbox_body ON outbox (sent_at) WHERE text <> '';
CREATE INDEX inbound_body ON inbound (received_at) WHERE text <> '';
CREATE INDEX task_contact ON task (contact);
CREATE INDEX address_contact ON address (contact);
CREATE INDEX contact_company ON contact (lower(company)) WHERE company <> '';
