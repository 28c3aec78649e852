-- Tenants and whoever may act for them. All of it is small and is kept in every daemon's memory (the directory);
-- whoever changes a row steps directory_revision in the same transaction. Secrets are sealed before they get here.

CREATE TABLE tenants (
  id                    text PRIMARY KEY,
  state                 smallint NOT NULL DEFAULT 0,   -- 0 active, 1 suspended, 2 deleting
  requests_per_second   double precision,
  burst                 integer,
  open_executions       bigint,
  payload_bytes_per_day bigint,
  created_at            timestamptz NOT NULL DEFAULT now(),
  changed_at            timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE credentials (
  id         text PRIMARY KEY,
  kind       smallint NOT NULL,                        -- 0 service account, 1 API key
  name       text NOT NULL,
  tenants    text[] NOT NULL,
  scopes     smallint NOT NULL,
  digest     bytea NOT NULL UNIQUE,                    -- SHA-256 of the secret
  old_digest bytea,
  old_until  timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- Scope 64 is admin, which stands apart: an admin has no tenant, everybody else has one.
  CONSTRAINT admin_or_tenants CHECK (CASE WHEN scopes & 64 <> 0 THEN scopes = 64 AND cardinality(tenants) = 0 ELSE cardinality(tenants) > 0 END)
);

-- What webhooks are signed with: the newest, and beside it the one before until it expires.
CREATE TABLE webhook_secrets (
  tenant_id  text NOT NULL,
  id         uuid NOT NULL,
  sealed     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  PRIMARY KEY (tenant_id, id)
);

-- The one without retired_at seals; the others still open what they sealed. A destroyed key keeps its row, so that
-- whoever meets its payloads can be told.
CREATE TABLE data_keys (
  tenant_id    text NOT NULL,
  id           uuid NOT NULL,
  sealed       bytea,
  created_at   timestamptz NOT NULL DEFAULT now(),
  retired_at   timestamptz,
  destroyed_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT destroyed_for_ever CHECK ((sealed IS NULL) = (destroyed_at IS NOT NULL) AND (destroyed_at IS NULL OR retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX data_keys_one_seals ON data_keys (tenant_id) WHERE retired_at IS NULL;

-- What the bridge shows to a tenant's webhooks.
CREATE TABLE webhook_credentials (
  tenant_id  text NOT NULL,
  name       text NOT NULL,
  kind       text NOT NULL,
  sealed     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, name)
);

-- The built-in token issuer's keys: the newest whose signs_from has come signs, each verifies until retires_at.
CREATE TABLE issuer_keys (
  kid        text PRIMARY KEY,
  sealed     bytea NOT NULL,                           -- PKCS#8
  public_jwk jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  signs_from timestamptz NOT NULL,
  retires_at timestamptz
);

CREATE TABLE directory_revision (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  revision bigint NOT NULL
);
INSERT INTO directory_revision (revision) VALUES (1);

CREATE TABLE audit_log (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at        timestamptz NOT NULL DEFAULT now(),
  actor     text NOT NULL,
  action    text NOT NULL,
  tenant_id text,
  target    text NOT NULL,
  source    text,
  before    jsonb,
  after     jsonb
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);

CREATE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();

-- Refused logins and rejected messages, a count for each minute: a flood leaves one row.
CREATE TABLE refusals (
  minute  timestamptz NOT NULL,
  kind    text NOT NULL,                               -- login | message
  subject text NOT NULL,
  reason  text NOT NULL,
  count   bigint NOT NULL,
  PRIMARY KEY (minute, kind, subject, reason)
);

CREATE TABLE usage (
  tenant_id  text NOT NULL,
  day        date NOT NULL,
  bytes      bigint NOT NULL,
  executions bigint NOT NULL,
  PRIMARY KEY (tenant_id, day)
);

-- The data key that sealed the body; NULL: it stands there as it came.
ALTER TABLE payloads ADD COLUMN data_key uuid;
