//! Sends one request and tells the breaker how the endpoint did.

use std::sync::Arc;

use bridge_protocol::WebhookSecret;
use bridge_service::directory::Tenant;
use bridge_service::trace;
use bridge_webhook::{Envelope, Fire, FireResult, Headers, Minted, Slot, envelope, headers};
use bytes::Bytes;
use http::HeaderMap;
use metrics::{counter, gauge, histogram};
use tokio::time::Instant;
use tracing::{Instrument, Span, field, info_span};

use crate::attempt::heavy;
use crate::bar::Bar;
use crate::claim::Held;
use crate::job::{Aim, Job};
use crate::login::{NoLogin, auth, login};
use crate::works::Works;

/// # Errors
/// What came up after the claim; then nothing was sent.
pub async fn fire(
    works: &Works,
    job: &Job,
    aim: &Aim,
    mut slot: Slot,
    held: &Held,
    payload: Bytes,
) -> Result<FireResult, Bar> {
    let bar = |tenant: &Option<Arc<Tenant>>| match Bar::of(tenant.as_deref(), &aim.target) {
        Some(bar) => Err(bar),
        None => Ok(()),
    };
    let tenant = works.tenant(&job.tenant);
    bar(&tenant)?;
    let secrets = match tenant.as_deref() {
        Some(tenant) if !tenant.webhook_secrets.is_empty() => &tenant.webhook_secrets,
        _ => return Err(Bar::Secret),
    };
    let login = login(tenant.as_deref(), &aim.target)?;
    let span = span(aim);
    let (body, mut headers) =
        span.in_scope(|| heavy(payload.len(), || request(works, job, held, secrets, &payload)));
    if let Some(login) = login {
        let minted = Minted {
            execution: job.id,
            tenant: &job.tenant,
            body: &body,
            now: works.clock.now().timestamp(),
        };
        heavy(body.len(), || auth(&login).apply(&mut headers, &minted))
            .map_err(|why| NoLogin::unusable(&aim.target, why))?;
    }
    // Signing a large payload takes a while: what is in force by now lets nothing leave.
    bar(&works.tenant(&job.tenant))?;
    // The envelope holds a copy: a payload need not stay twice while the webhook thinks.
    drop(payload);
    let lane = held.claimed.lane.as_str();
    gauge!("bridge_webhooks_in_flight").increment(1.0);
    let begun = Instant::now();
    let sending = works.client.fire(Fire { url: &aim.url, body, headers, timeout: aim.target.timeout });
    let result = sending.instrument(span.clone()).await;
    gauge!("bridge_webhooks_in_flight").decrement(1.0);
    histogram!("bridge_webhook_seconds", "lane" => lane).record(begun.elapsed().as_secs_f64());
    counter!("bridge_webhook_requests_total", "lane" => lane, "answer" => result.kind()).increment(1);
    if let Some(status) = result.status() {
        span.record("http.response.status_code", status);
    }
    if result.endpoint_is_well() != Some(true) {
        span.record("error.type", result.kind());
    }
    if let Some(well) = result.endpoint_is_well() {
        slot.report(well);
    }
    Ok(result)
}

fn request(
    works: &Works,
    job: &Job,
    held: &Held,
    secrets: &[WebhookSecret],
    payload: &[u8],
) -> (Bytes, HeaderMap) {
    let claimed = &held.claimed;
    let body = envelope(&Envelope {
        execution: job.id,
        tenant: &job.tenant,
        workflow: &claimed.workflow,
        lane: claimed.lane,
        attempt: claimed.attempt,
        accepted_at: claimed.accepted_at,
        callback_url: None,
        metadata: claimed.metadata.as_deref(),
        payload,
    });
    let callers = job.traceparent.as_deref().or(claimed.traceparent.as_deref());
    let traceparent = trace::inject_or(callers);
    let headers = headers(&Headers {
        execution: job.id,
        tenant: &job.tenant,
        attempt: claimed.attempt,
        timestamp: works.clock.now().timestamp(),
        secrets,
        body: &body,
        traceparent: traceparent.as_deref(),
        callback_url: None,
    });
    (body, headers)
}

fn span(aim: &Aim) -> Span {
    let host = aim.url.host_str().unwrap_or_default();
    info_span!(
        "fire",
        otel.name = %format_args!("POST {host}"),
        otel.kind = "client",
        http.request.method = "POST",
        http.response.status_code = field::Empty,
        server.address = host,
        server.port = aim.url.port_or_known_default(),
        url.path = aim.url.path(),
        error.type = field::Empty,
    )
}
