-- Executions and what belongs to one are partitioned by the day in their UUIDv7; partitions are made ahead and
-- dropped by retention (src/partitions.rs). The tenant stands first in every key.
--
-- No index may mention state, lease_until or due_at, not even in a predicate: claim and finish must stay HOT updates.
CREATE TABLE executions (
  tenant_id        text NOT NULL,
  id               uuid NOT NULL,
  accepted_at      timestamptz NOT NULL DEFAULT now(),
  deliver_at       timestamptz,
  expires_at       timestamptz,
  due_at           timestamptz,               -- where its timer stands; meaningless once the state is terminal
  published_at     timestamptz,               -- last hand-over to the topic; NULL: certainly not in the topic
  claimed_at       timestamptz,
  lease_until      timestamptz,
  finished_at      timestamptz,               -- end of the last attempt
  claim_id         uuid,
  replay_of        uuid,
  lane             smallint NOT NULL,
  state            smallint NOT NULL DEFAULT 0,
  attempt          smallint NOT NULL DEFAULT 0,
  publishes        smallint NOT NULL DEFAULT 0,
  parks            smallint NOT NULL DEFAULT 0,
  evidence         smallint,
  http_status      smallint,
  workflow_id      text NOT NULL,
  kind             text,
  decided_by       text NOT NULL,
  decided_because  text NOT NULL,
  psh              bytea NOT NULL,             -- SHA-256 of the payload
  traceparent      text,
  message_id       text,
  reason           text,
  error            text,
  n8n_execution_id text,
  metadata         jsonb,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

CREATE TABLE payloads (
  tenant_id text NOT NULL,
  id        uuid NOT NULL,
  body      bytea COMPRESSION lz4 NOT NULL,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

CREATE TABLE results (
  tenant_id    text NOT NULL,
  id           uuid NOT NULL,
  attempt      smallint NOT NULL,
  content_type text,
  body         bytea COMPRESSION lz4 NOT NULL,
  truncated    boolean NOT NULL,
  recorded_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

-- Attempts that ended without ending their execution. The last attempt stands in the execution's own row,
-- so that the common life (accepted, delivered) writes nothing here.
CREATE TABLE attempts (
  tenant_id   text NOT NULL,
  id          uuid NOT NULL,
  attempt     smallint NOT NULL,
  claimed_at  timestamptz,
  finished_at timestamptz NOT NULL,
  http_status smallint,
  outcome     text NOT NULL,
  error       text,
  message_id  text,
  PRIMARY KEY (tenant_id, id, attempt)
) PARTITION BY RANGE (id);

-- One row per live execution: when it must be looked at next. The key is the only index; the row is found by the
-- due_at that its execution mirrors.
CREATE TABLE timers (
  due_at       timestamptz NOT NULL,
  tenant_id    text NOT NULL,
  execution_id uuid NOT NULL,
  PRIMARY KEY (due_at, tenant_id, execution_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, vacuum_truncate = off);

CREATE TABLE idempotency_keys (
  tenant_id    text NOT NULL,
  key          text NOT NULL,
  digest       bytea NOT NULL,
  execution_id uuid NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at);

-- Serves the list of dead letters flat, whatever the number of executions.
CREATE TABLE dead_letters (
  tenant_id    text NOT NULL,
  execution_id uuid NOT NULL,
  lane         smallint NOT NULL,
  workflow_id  text NOT NULL,
  reason       text NOT NULL,
  attempt      smallint NOT NULL,
  at           timestamptz NOT NULL DEFAULT now(),
  replayed_as  uuid,
  PRIMARY KEY (tenant_id, execution_id)
);

-- Outbox of the dead-letter topics: announced, then deleted.
CREATE TABLE notices (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id    text NOT NULL,
  lane         smallint NOT NULL,
  execution_id uuid,
  kind         text NOT NULL,                 -- dead_lettered | forged
  reason       text NOT NULL,
  detail       jsonb NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rejected_messages (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id   text NOT NULL,
  topic       text NOT NULL,
  message_id  text NOT NULL,
  reason      text NOT NULL,
  head        bytea NOT NULL,
  rejected_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejected_messages_tenant ON rejected_messages (tenant_id, id);

-- One heartbeat per running daemon.
CREATE TABLE members (
  id         uuid PRIMARY KEY,
  kind       text NOT NULL,
  version    text NOT NULL,
  host       text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now(),
  detail     jsonb NOT NULL
);
