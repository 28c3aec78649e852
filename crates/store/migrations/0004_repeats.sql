-- A report's repeat is known as long as its execution is kept, though its result may end much sooner.
ALTER TABLE executions
  ADD COLUMN report_digest  bytea,                          -- SHA-256 of what the workflow reported
  ADD COLUMN report_attempt smallint;                       -- the attempt that it reported on
UPDATE executions e SET report_digest = r.report_digest, report_attempt = r.attempt
  FROM results r WHERE r.tenant_id = e.tenant_id AND r.id = e.id AND r.report_digest IS NOT NULL;
COMMENT ON COLUMN results.report_digest IS 'read no more; written before executions.report_digest was';

-- What cannot be told now, because a route stands against it, is tried again ever more seldom.
ALTER TABLE follow_ups
  ADD COLUMN tries      smallint NOT NULL DEFAULT 0,
  ADD COLUMN not_before timestamptz;
