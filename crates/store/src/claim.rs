//! Claim: counts the attempt and takes the lease before anything is fired, and loads the payload on the way.

use std::collections::HashMap;
use std::time::Duration;

use bridge_protocol::{Completion, ExecutionId, Lane, PayloadHash, State, TenantId, Time, WorkflowId};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::batch::Statement;
use crate::day::Day;
use crate::error::WriteError;
use crate::rows;

#[derive(Clone, Debug)]
pub struct Claim {
    pub tenant: TenantId,
    pub id: ExecutionId,
    /// The attempt its message was published for.
    pub attempt: u16,
    /// Random; a claim that is run twice recognises itself by it.
    pub claim_id: Uuid,
    pub message_id: String,
    pub lease: Duration,
    pub max_attempts: u16,
    /// SHA-256 of the attempt's callback token; kept only where the completion is by callback.
    pub callback_digest: Option<[u8; 32]>,
}

#[derive(Clone, Debug)]
pub enum ClaimAnswer {
    Claimed(Box<Claimed>),
    Refused(Refusal),
}

#[derive(Clone, Debug)]
pub struct Claimed {
    pub attempt: u16,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub kind: Option<String>,
    pub completion: Completion,
    pub payload: Payload,
    pub psh: PayloadHash,
    /// JSON text.
    pub metadata: Option<String>,
    pub accepted_at: Time,
    /// Since the acceptance, by Postgres's clock alone.
    pub age: Duration,
    /// Since it was due for the first time: later than its acceptance where a delay was asked for.
    pub waited: Duration,
    pub traceparent: Option<String>,
}

/// A claim brings small payloads along; a batch of large ones would be gigabytes in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Here(StoredPayload),
    /// So many bytes, to be loaded by `Store::payload`.
    Large(usize),
    Gone,
}

/// A payload as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPayload {
    pub bytes: Bytes,
    /// The data key that sealed the bytes; None: they are plain.
    pub data_key: Option<Uuid>,
}

/// The most that a claim brings along.
const INLINE: i32 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Terminal,
    StaleAttempt,
    Leased,
    Unknown,
    Expired,
    Exhausted,
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::StaleAttempt => "stale_attempt",
            Self::Leased => "leased",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Exhausted => "exhausted",
        }
    }
}

pub(crate) struct ClaimStatement;

/// A lapsed lease is not taken over here: its timer ends the lost attempt first (`timers.rs`), then publishes anew.
pub(crate) fn sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT * FROM unnest($1::text[], $2::uuid[], $3::int2[], $4::uuid[], $5::text[], $6::int8[], $7::int2[], $8::bytea[])
            AS r(tenant_id, id, attempt, claim_id, message_id, lease_ms, max_attempts, callback_digest)),
          c AS (UPDATE executions_{day} e SET state = 1, attempt = r.attempt, claim_id = r.claim_id, message_id = r.message_id, parks = 0,
              claimed_at = CASE WHEN e.claim_id = r.claim_id THEN e.claimed_at ELSE now() END, lease_until = now() + r.lease_ms * interval '1 ms',
              finished_at = NULL, http_status = NULL, error = NULL, n8n_execution_id = NULL, callback_digest = CASE WHEN e.completion = 1 THEN r.callback_digest END
            FROM r WHERE e.tenant_id = r.tenant_id AND e.id = r.id
              AND ((e.state IN (0, 3) AND e.attempt = r.attempt - 1 AND r.attempt <= r.max_attempts AND (e.expires_at IS NULL OR e.expires_at > now()))
                OR (e.state = 1 AND e.claim_id = r.claim_id))
            RETURNING r.claim_id, e.tenant_id, e.id, e.attempt, e.workflow_id, e.lane, e.kind, e.completion, e.psh, e.metadata, e.accepted_at, e.deliver_at, e.traceparent)
        SELECT c.claim_id, c.attempt, c.workflow_id, c.lane, c.kind, c.completion, c.psh, c.metadata::text AS metadata, c.accepted_at, c.traceparent,
            extract(epoch FROM now() - c.accepted_at)::float8 AS age, extract(epoch FROM now() - greatest(c.accepted_at, c.deliver_at))::float8 AS waited, octet_length(p.body) AS size,
            CASE WHEN octet_length(p.body) <= {INLINE} THEN p.body END AS body, p.data_key
          FROM c LEFT JOIN payloads_{day} p ON p.tenant_id = c.tenant_id AND p.id = c.id",
        day = day.suffix()
    )
}

fn why_sql(day: Day) -> String {
    format!(
        "SELECT e.tenant_id, e.id, e.state, e.attempt, COALESCE(e.expires_at <= now(), false) AS expired
           FROM unnest($1::text[], $2::uuid[]) AS r(tenant_id, id) JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id",
        day = day.suffix()
    )
}

impl Statement for ClaimStatement {
    const NAME: &'static str = "claim";
    type Row = Claim;
    type Out = ClaimAnswer;

    fn key(row: &Claim) -> (&TenantId, ExecutionId) {
        (&row.tenant, row.id)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        day: Day,
        rows: &[&Claim],
    ) -> Result<Vec<ClaimAnswer>, sqlx::Error> {
        let tenants: Vec<&str> = rows.iter().map(|r| r.tenant.as_str()).collect();
        let ids: Vec<Uuid> = rows.iter().map(|r| r.id.uuid()).collect();
        let found = sqlx::query(AssertSqlSafe(sql(day)))
            .bind(&tenants)
            .bind(&ids)
            .bind(rows.iter().map(|r| r.attempt as i16).collect::<Vec<i16>>())
            .bind(rows.iter().map(|r| r.claim_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.message_id.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.lease.as_millis() as i64).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.max_attempts as i16).collect::<Vec<i16>>())
            .bind(rows.iter().map(|r| r.callback_digest.as_ref().map(|d| d.as_slice())).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        let mut claimed: HashMap<Uuid, Claimed> = HashMap::with_capacity(found.len());
        for row in found {
            claimed.insert(
                row.try_get("claim_id")?,
                Claimed {
                    attempt: row.try_get::<i16, _>("attempt")? as u16,
                    workflow: rows::workflow(row.try_get("workflow_id")?)?,
                    lane: rows::lane(row.try_get("lane")?)?,
                    kind: row.try_get("kind")?,
                    completion: rows::completion(row.try_get("completion")?)?,
                    payload: match (
                        row.try_get::<Option<Vec<u8>>, _>("body")?,
                        row.try_get::<Option<i32>, _>("size")?,
                    ) {
                        (Some(body), _) => Payload::Here(StoredPayload {
                            bytes: body.into(),
                            data_key: row.try_get("data_key")?,
                        }),
                        (None, Some(size)) => Payload::Large(size as usize),
                        (None, None) => Payload::Gone,
                    },
                    psh: rows::payload_hash(row.try_get("psh")?)?,
                    metadata: row.try_get("metadata")?,
                    accepted_at: row.try_get("accepted_at")?,
                    age: rows::elapsed(row.try_get("age")?),
                    waited: rows::elapsed(row.try_get("waited")?),
                    traceparent: row.try_get("traceparent")?,
                },
            );
        }
        let mut seen: HashMap<(String, Uuid), (State, u16, bool)> = HashMap::new();
        if claimed.len() < rows.len() {
            let found = sqlx::query(AssertSqlSafe(why_sql(day)))
                .bind(&tenants)
                .bind(&ids)
                .fetch_all(connection)
                .await?;
            for row in found {
                let state = rows::state(row.try_get("state")?)?;
                let attempt = row.try_get::<i16, _>("attempt")? as u16;
                seen.insert(
                    (row.try_get("tenant_id")?, row.try_get("id")?),
                    (state, attempt, row.try_get("expired")?),
                );
            }
        }
        Ok(rows
            .iter()
            .map(|row| match claimed.remove(&row.claim_id) {
                Some(claimed) => ClaimAnswer::Claimed(Box::new(claimed)),
                None => {
                    let key = (row.tenant.as_str().to_owned(), row.id.uuid());
                    ClaimAnswer::Refused(
                        seen.get(&key).map_or(Refusal::Unknown, |found| refusal(row, *found)),
                    )
                }
            })
            .collect())
    }

    fn gone(_row: &Claim) -> Result<ClaimAnswer, WriteError> {
        Ok(ClaimAnswer::Refused(Refusal::Unknown))
    }
}

fn refusal(row: &Claim, (state, attempt, expired): (State, u16, bool)) -> Refusal {
    if state.is_terminal() {
        Refusal::Terminal
    } else if attempt + 1 != row.attempt {
        if state == State::Running && attempt == row.attempt {
            Refusal::Leased
        } else {
            Refusal::StaleAttempt
        }
    } else if matches!(state, State::Running | State::Waiting) {
        Refusal::Leased
    } else if expired {
        Refusal::Expired
    } else if row.attempt > row.max_attempts {
        Refusal::Exhausted
    } else {
        // It changed between the two statements: another message of the same attempt was faster.
        Refusal::Leased
    }
}
