-- Routes, holds, callbacks, follow-ups and bulk jobs.

ALTER TABLE executions
  ADD COLUMN mode            smallint NOT NULL DEFAULT 0,   -- 0 pulsar, 1 native
  ADD COLUMN completion      smallint NOT NULL DEFAULT 0,   -- 0 response, 1 callback
  ADD COLUMN on_failure      text,                          -- the workflow that is told when it ends badly
  ADD COLUMN caused_by       uuid,                          -- the execution whose bad end this one tells of
  ADD COLUMN callback_digest bytea;                         -- SHA-256 of the current attempt's callback token
-- Of a workflow's executions the newest, flat however many there are. The tenant comes second: with it first, this index
-- costs as little as the primary key in a partition without statistics, and each claim would read all that the tenant has.
CREATE INDEX executions_workflow ON executions (workflow_id, tenant_id, id);

-- An earlier attempt's workflow may still report its success.
ALTER TABLE attempts ADD COLUMN callback_digest bytea;

ALTER TABLE results
  ADD COLUMN data_key      uuid,                            -- the data key that sealed the body; NULL: plain
  ADD COLUMN report_digest bytea;                           -- SHA-256 of the callback's body: its repeat is known by it

ALTER TABLE dead_letters
  ADD COLUMN discarded_at timestamptz,
  ADD COLUMN discarded_by text,
  ADD COLUMN note         text;
-- Written in the order of this time, nearly: which are of the last day, and which are past retention.
CREATE INDEX dead_letters_at ON dead_letters USING brin (at);

ALTER TABLE tenants ADD COLUMN result_ttl_s bigint;         -- NULL: as long as the results' partitions live

-- What must be told to an on_failure workflow: written with the end itself, gone once the telling execution is durable.
CREATE TABLE follow_ups (
  tenant_id    text NOT NULL,
  execution_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, execution_id)
);

-- Whoever changes routes or holds steps routing_revision in the same transaction, so that revisions commit in order.
CREATE TABLE routes (
  tenant_id  text NOT NULL,
  kind       smallint NOT NULL,                             -- 0 a workflow's, 1 a type's, 2 the tenant's default
  name       text NOT NULL,                                 -- workflow id, type, or ''
  route      jsonb,                                         -- NULL: deleted, kept until every daemon has seen it
  revision   bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, kind, name)
);
CREATE INDEX routes_revision ON routes (revision);

CREATE TABLE holds (
  tenant_id   text NOT NULL,
  id          text NOT NULL,
  workflow_id text,
  lane        smallint,
  host        text,
  reason      text NOT NULL,
  created_by  text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);

CREATE TABLE routing_revision (
  one       boolean PRIMARY KEY DEFAULT true CHECK (one),
  revision  bigint NOT NULL,
  forgotten bigint NOT NULL                                 -- deletions up to here have left no trace
);
INSERT INTO routing_revision (revision, forgotten) VALUES (1, 0);

-- Replays and cancellations of many executions. The cursor moves in the transaction that counts, so that a job goes on
-- where it stood.
CREATE TABLE jobs (
  id           uuid PRIMARY KEY,
  tenant_id    text NOT NULL,
  kind         text NOT NULL,                               -- replay | cancel
  filter       jsonb NOT NULL,
  state        smallint NOT NULL DEFAULT 0,                 -- 0 running, 1 paused, 2 done, 3 cancelled, 4 failed
  per_second   double precision NOT NULL,
  position     uuid,                                        -- the last execution that was looked at, from the newest down
  total        bigint NOT NULL,
  done         bigint NOT NULL DEFAULT 0,
  skipped      bigint NOT NULL DEFAULT 0,
  failed       bigint NOT NULL DEFAULT 0,
  error        text,
  created_by   text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  changed_at   timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz,
  holder       uuid
);
CREATE INDEX jobs_tenant ON jobs (tenant_id, id);
CREATE INDEX jobs_running ON jobs (id) WHERE state = 0;
