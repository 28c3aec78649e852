//! From columns to the protocol's types; a value that no type admits is a decode error that names it.

use bridge_protocol::{Completion, ExecutionId, Lane, Mode, PayloadHash, State, TenantId, WorkflowId};
use uuid::Uuid;

pub(crate) fn bad(what: &str, value: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("the row holds {value} as {what}").into())
}

pub(crate) fn state(code: i16) -> Result<State, sqlx::Error> {
    State::from_code(code).ok_or_else(|| bad("state", code))
}

pub(crate) fn lane(code: i16) -> Result<Lane, sqlx::Error> {
    Lane::from_code(code).ok_or_else(|| bad("lane", code))
}

pub(crate) fn mode(code: i16) -> Result<Mode, sqlx::Error> {
    Mode::from_code(code).ok_or_else(|| bad("mode", code))
}

pub(crate) fn completion(code: i16) -> Result<Completion, sqlx::Error> {
    Completion::from_code(code).ok_or_else(|| bad("completion", code))
}

pub(crate) fn tenant(text: &str) -> Result<TenantId, sqlx::Error> {
    TenantId::parse(text).map_err(|_| bad("tenant", text))
}

pub(crate) fn workflow(text: &str) -> Result<WorkflowId, sqlx::Error> {
    WorkflowId::parse(text).map_err(|_| bad("workflow", text))
}

pub(crate) fn execution_id(id: Uuid) -> Result<ExecutionId, sqlx::Error> {
    ExecutionId::from_uuid(id).ok_or_else(|| bad("execution id", id))
}

pub(crate) fn payload_hash(bytes: &[u8]) -> Result<PayloadHash, sqlx::Error> {
    bytes.try_into().map(PayloadHash).map_err(|_| bad("payload hash", format!("{} bytes", bytes.len())))
}

pub(crate) fn digest(bytes: &[u8]) -> Result<[u8; 32], sqlx::Error> {
    bytes.try_into().map_err(|_| bad("digest", format!("{} bytes", bytes.len())))
}

/// Counts are far below; a column of Postgres has no unsigned type.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

/// For `now() + make_interval(secs => ...)`.
pub(crate) fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64()
}

/// Seconds of Postgres; its clock may have been set back meanwhile.
pub(crate) fn elapsed(seconds: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
