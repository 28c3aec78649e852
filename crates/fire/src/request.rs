//! The request of one attempt: its body, its headers, its span.

use bridge_protocol::{BodyShape, ExecutionId, Lane, TenantId, Time, WebhookSecret, WorkflowId};
use bridge_service::trace;
use bridge_webhook::{Envelope, Headers, envelope, headers};
use bytes::Bytes;
use http::HeaderMap;
use tracing::{Span, field, info_span};

use crate::aim::Aim;

/// The execution as this attempt sees it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub tenant: &'a TenantId,
    pub execution: ExecutionId,
    pub workflow: &'a WorkflowId,
    pub lane: Lane,
    pub attempt: u16,
    pub accepted_at: Time,
    /// JSON text as it was accepted.
    pub metadata: Option<&'a str>,
    /// The caller's, for when traces are off.
    pub traceparent: Option<&'a str>,
    /// Where the workflow reports its result; holds the attempt's token.
    pub callback_url: Option<&'a str>,
}

pub(crate) fn request(
    attempt: &Attempt<'_>,
    shape: BodyShape,
    secrets: &[WebhookSecret],
    payload: &Bytes,
    now: Time,
) -> (Bytes, HeaderMap) {
    let body = match shape {
        BodyShape::Payload => payload.clone(),
        BodyShape::Envelope => envelope(&Envelope {
            execution: attempt.execution,
            tenant: attempt.tenant,
            workflow: attempt.workflow,
            lane: attempt.lane,
            attempt: attempt.attempt,
            accepted_at: attempt.accepted_at,
            callback_url: attempt.callback_url,
            metadata: attempt.metadata,
            payload,
        }),
    };
    let traceparent = trace::inject_or(attempt.traceparent);
    let headers = headers(&Headers {
        execution: attempt.execution,
        tenant: attempt.tenant,
        attempt: attempt.attempt,
        timestamp: now.timestamp(),
        secrets,
        body: &body,
        traceparent: traceparent.as_deref(),
        callback_url: attempt.callback_url,
    });
    (body, headers)
}

/// Without the URL's query and login: both may hold secrets.
pub(crate) fn span(aim: &Aim, attempt: &Attempt<'_>) -> Span {
    let host = aim.url.host_str().unwrap_or_default();
    info_span!(
        "fire",
        otel.name = %format_args!("POST {host}"),
        otel.kind = "client",
        http.request.method = "POST",
        http.response.status_code = field::Empty,
        server.address = host,
        server.port = aim.url.port_or_known_default().map(i64::from),
        url.path = aim.url.path(),
        execution.id = %attempt.execution,
        tenant.id = attempt.tenant.as_str(),
        workflow.id = attempt.workflow.as_str(),
        lane = attempt.lane.as_str(),
        attempt = i64::from(attempt.attempt),
        error.type = field::Empty,
        otel.status_code = field::Empty,
    )
}
