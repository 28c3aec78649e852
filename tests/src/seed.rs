//! Executions for tests that speak to the store itself.

use std::time::Duration;

use bridge_protocol::{Completion, ExecutionId, Lane, Mode, PayloadHash, TenantId, WorkflowId};
use bridge_store::{Claim, NewExecution};
use bytes::Bytes;
use chrono::Utc;

use crate::Sql;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn new_execution(tenant: &TenantId) -> NewExecution {
    let payload = Bytes::from_static(br#"{"lead": 7}"#);
    NewExecution {
        id: ExecutionId::new(Utc::now(), &mut rand::rng()),
        tenant: tenant.clone(),
        workflow: WorkflowId::parse("crm-sync").unwrap(),
        lane: Lane::Long,
        mode: Mode::Pulsar,
        completion: Completion::Response,
        kind: None,
        psh: PayloadHash::of(&payload),
        payload,
        data_key: None,
        metadata: None,
        traceparent: None,
        idempotency: None,
        deliver_at: None,
        expires_at: None,
        due_in: Duration::from_secs(30),
        handed_off: true,
        decided_by: "default",
        decided_because: "built-in".to_owned(),
        on_failure: None,
        caused_by: None,
        native: None,
    }
}

pub fn claim(tenant: &TenantId, id: ExecutionId, attempt: u16) -> Claim {
    Claim {
        tenant: tenant.clone(),
        id,
        attempt,
        claim_id: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
        message_id: "1:2:-1".to_owned(),
        lease: Duration::from_secs(60),
        max_attempts: 5,
        callback_digest: None,
    }
}

/// A tenant whose executions the database accepts, without anything else.
pub async fn new_tenant(sql: &Sql) -> anyhow::Result<TenantId> {
    let tenant = TenantId::parse(&crate::unique("t"))?;
    sql.rows(&format!("INSERT INTO tenants (id) VALUES ('{tenant}')")).await?;
    Ok(tenant)
}
