-- Executions as a bridge leaves them behind: :count of them, spread evenly over the :days days before today, :tenants
-- tenants and twenty workflows each. One of twenty is a dead letter, one failed, one was cancelled.
SET synchronous_commit = off;

CREATE FUNCTION pg_temp.id_at(at timestamptz) RETURNS uuid LANGUAGE sql AS $$
  SELECT overlay(replace(gen_random_uuid()::text, '-', '')
    PLACING lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' FROM 1 FOR 13)::uuid
$$;
CREATE FUNCTION pg_temp.first_id(day date) RETURNS uuid LANGUAGE sql AS $$
  SELECT rpad(lpad(to_hex((extract(epoch FROM day::timestamp AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

SELECT format('CREATE TABLE IF NOT EXISTS executions_%1$s PARTITION OF executions FOR VALUES FROM (%2$L) TO (%3$L) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)',
              to_char(day, 'YYYYMMDD'), pg_temp.first_id(day), pg_temp.first_id(day + 1))
  FROM (SELECT current_date - :days + n AS day FROM generate_series(0, :days - 1) n) d
 WHERE to_regclass('executions_' || to_char(day, 'YYYYMMDD')) IS NULL
\gexec

INSERT INTO executions (tenant_id, id, accepted_at, due_at, published_at, claimed_at, lease_until, finished_at, lane, state,
                        attempt, publishes, evidence, http_status, workflow_id, decided_by, decided_because, psh, message_id, reason)
SELECT :'prefix' || tenant, pg_temp.id_at(at), at, at, at, at, at, at + interval '1 second', n % 4,
       CASE n / :tenants % 20 WHEN 0 THEN 6 WHEN 1 THEN 5 WHEN 2 THEN 7 ELSE 4 END,
       1, 1, 1, 200, 'workflow-' || n / 7 % 20, 'workflow', 'the workflow''s route', '\x00', '1:2:3',
       CASE n / :tenants % 20 WHEN 0 THEN 'attempts_exhausted' WHEN 1 THEN 'rejected' END
  FROM (SELECT n, n % :tenants AS tenant,
               (current_date - :days)::timestamp AT TIME ZONE 'UTC' + n * (:days * interval '1 day' / :count) AS at
          FROM generate_series(0, :count - 1) n) rows;

INSERT INTO dead_letters (tenant_id, execution_id, lane, workflow_id, reason, attempt, at)
SELECT tenant_id, id, lane, workflow_id, reason, attempt, finished_at FROM executions WHERE state = 6
ON CONFLICT DO NOTHING;

VACUUM (ANALYZE) executions;
VACUUM (ANALYZE) dead_letters;
CHECKPOINT;
