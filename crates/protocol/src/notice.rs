//! What a dead-letter topic is told: signed like any other message, so that everybody may read it and trust it.

use serde::{Deserialize, Serialize};

use crate::{ExecutionId, TenantId};

/// The claims of a notice, in the order they have on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Who signed, for people; not checked.
    pub iss: String,
    /// The dead-letter topic it was published to, without a partition.
    pub aud: String,
    /// The execution it tells of; a forged message belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<ExecutionId>,
    /// The topic's tenant.
    pub tid: TenantId,
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
    /// Unique to this notice; the same when it is announced again.
    pub jti: String,
    /// `dead_lettered` or `forged`.
    pub kind: String,
    /// Of a dead letter a [`crate::Reason`], of a forged message a [`crate::Forged`].
    pub reason: String,
    /// More, for people: a JSON object.
    pub detail: serde_json::Map<String, serde_json::Value>,
}
