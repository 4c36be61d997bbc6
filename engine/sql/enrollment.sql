-- name: add_enrollment(id, sequence, version, contact, client, rep, root, prospect, begun_at, start_at, state, variables, step, due_at, next_at, suspended_at, done_at, in_hand, answered, visits, passed, tries, parent, cause, thread, referral, reason, outcome, revision)
INSERT INTO enrollment (id, sequence, version, contact, client, rep, root, prospect, begun_at, start_at, state,
  variables, step, due_at, next_at, suspended_at, done_at, in_hand, answered, visits, passed, tries, parent, cause, thread,
  referral, reason, outcome, revision)
VALUES (:id, :sequence, :version, :contact, :client, :rep, :root, :prospect, :begun_at, :start_at, :state,
  :variables, :step, :due_at, :next_at, :suspended_at, :done_at, :in_hand, :answered, :visits, :passed, :tries, :parent,
  :cause, :thread, :referral, :reason, :outcome, :revision)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: save_enrollment(id, was, sequence, version, prospect, start_at, state, variables, step, due_at, next_at, suspended_at, done_at, in_hand, answered, visits, passed, tries, cause, thread, referral, reason, outcome, revision)
-- A decision is saved only over the revision that it was made from.
UPDATE enrollment SET sequence = :sequence, version = :version, prospect = :prospect, start_at = :start_at, state = :state, variables =
  :variables, step = :step, due_at = :due_at, next_at = :next_at, suspended_at = :suspended_at, done_at = :done_at,
  in_hand = :in_hand, answered = :answered, visits = :visits, passed = :passed, tries = :tries, cause = :cause, thread = :thread,
  referral = :referral, reason = :reason, outcome = :outcome, revision = :revision
WHERE id = :id AND revision = :was;

-- name: enrollment(id)
SELECT * FROM enrollment WHERE id = :id;

-- name: lock_enrollment(id)
SELECT * FROM enrollment WHERE id = :id FOR UPDATE;

-- name: due_enrollments(now, limit)
SELECT id FROM enrollment WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY next_at, id LIMIT :limit;

-- name: next_enrollment_at()
SELECT min(next_at) AS at FROM enrollment WHERE next_at IS NOT NULL;

-- name: enrollments_of(contact)
SELECT * FROM enrollment WHERE contact = :contact ORDER BY begun_at, id;

-- name: enrollments_for_client(client)
SELECT * FROM enrollment WHERE client = :client ORDER BY begun_at, id;

-- name: family(root)
SELECT * FROM enrollment WHERE root = :root ORDER BY begun_at, id;

-- name: enrollments_about(prospect)
SELECT * FROM enrollment WHERE prospect = :prospect AND prospect <> '' ORDER BY begun_at, id;

-- name: enrollments_in(state)
SELECT * FROM enrollment WHERE state = :state ORDER BY begun_at, id;

-- name: all_enrollments()
SELECT * FROM enrollment ORDER BY begun_at, id;

-- name: running_twin(contact, sequence, prospect)
SELECT * FROM enrollment WHERE contact = :contact AND sequence = :sequence AND prospect = :prospect
  AND state IN ('waiting', 'active', 'held', 'paused');

-- name: count_enrollments()
SELECT sequence, state, count(*) AS n FROM enrollment GROUP BY sequence, state ORDER BY sequence, state;

-- name: begun_at_company(domain, company, email, root, since)
-- Who at this company has heard from a sequence since, or will, other than by this family of enrollments. It counts from the
-- first email: a rule may have kept a start waiting for weeks.
SELECT sequence, at, email FROM (
  SELECT e.sequence, c.email,
         coalesce((SELECT min(o.sent_at) FROM outbox o WHERE o.enrollment = e.id AND o.state = 'sent'), e.start_at) AS at
  FROM enrollment e JOIN contact c ON c.id = e.contact
  WHERE e.contact IN (
      SELECT id FROM contact WHERE domain = :domain AND domain <> ''
      UNION SELECT id FROM contact WHERE lower(company) = :company AND company <> ''
      UNION SELECT id FROM contact WHERE email = :email)
    AND e.root <> :root AND (e.answered <> '' OR e.state IN ('active', 'held', 'paused'))
) AS heard WHERE at > :since ORDER BY at DESC;
