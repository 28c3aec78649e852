//! The body of a webhook request, written around the payload's own bytes.

use bridge_protocol::{ExecutionId, Lane, TenantId, Time, WorkflowId};
use bytes::{Bytes, BytesMut};
use chrono::SecondsFormat;

#[derive(Debug)]
pub struct Envelope<'a> {
    pub execution: ExecutionId,
    pub tenant: &'a TenantId,
    pub workflow: &'a WorkflowId,
    pub lane: Lane,
    pub attempt: u16,
    pub accepted_at: Time,
    pub callback_url: Option<&'a str>,
    /// JSON text as it was accepted.
    pub metadata: Option<&'a str>,
    /// JSON text as it was accepted, byte for byte.
    pub payload: &'a [u8],
}

/// One buffer, no parse: the payload may be 15 MiB, and its numbers and key order are the caller's.
pub fn envelope(input: &Envelope<'_>) -> Bytes {
    let metadata = input.metadata.unwrap_or("null");
    let callback = input.callback_url.map_or_else(|| "null".to_owned(), quoted);
    let accepted_at = input.accepted_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    // Ids and lanes hold no character that JSON escapes.
    let head = format!(
        r#"{{"execution_id":"{}","tenant_id":"{}","workflow_id":"{}","lane":"{}","attempt":{},"accepted_at":"{accepted_at}","callback_url":{callback},"metadata":{metadata},"payload":"#,
        input.execution,
        input.tenant,
        input.workflow,
        input.lane.as_str(),
        input.attempt,
    );
    let mut body = BytesMut::with_capacity(head.len() + input.payload.len() + 1);
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(input.payload);
    body.extend_from_slice(b"}");
    body.freeze()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
