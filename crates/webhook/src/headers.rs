//! The headers of a webhook request: Standard Webhooks, and who and what it is for.

use bridge_protocol::{ExecutionId, TenantId, WebhookSecret, webhook_signature};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// What the headers say. `body` is signed, so it must be the bytes that are sent.
#[derive(Debug)]
pub struct Headers<'a> {
    pub execution: ExecutionId,
    pub tenant: &'a TenantId,
    pub attempt: u16,
    /// Seconds since the epoch at which this attempt is signed.
    pub timestamp: i64,
    /// The tenant's secrets, two while one is rotated; without any the request goes unsigned.
    pub secrets: &'a [WebhookSecret],
    pub body: &'a [u8],
    pub traceparent: Option<&'a str>,
    pub callback_url: Option<&'a str>,
}

pub fn headers(input: &Headers<'_>) -> HeaderMap {
    let id = input.execution.to_string();
    let mut map = HeaderMap::with_capacity(12);
    // n8n parses no other JSON type.
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put(&mut map, "webhook-id", &id);
    put(&mut map, "webhook-timestamp", &input.timestamp.to_string());
    if !input.secrets.is_empty() {
        let signature = webhook_signature(input.secrets, &id, input.timestamp, input.body);
        put(&mut map, "webhook-signature", &signature);
    }
    put(&mut map, "idempotency-key", &id);
    put(&mut map, "x-execution-id", &id);
    put(&mut map, "x-tenant-id", input.tenant.as_str());
    put(&mut map, "x-attempt", &input.attempt.to_string());
    if let Some(traceparent) = input.traceparent {
        put(&mut map, "traceparent", traceparent);
    }
    if let Some(url) = input.callback_url {
        put(&mut map, "x-callback-url", url);
    }
    map
}

/// A value that no header can carry (a stored traceparent with a line break) is left out: it must
/// not cost the delivery, and must not become a second header.
fn put(map: &mut HeaderMap, name: &'static str, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            map.insert(HeaderName::from_static(name), value);
        }
        Err(_) => tracing::warn!(header = name, "header left out: its value has forbidden characters"),
    }
}
