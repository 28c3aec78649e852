//! One span and one set of figures for every request of the API.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use bridge_service::trace;
use http::HeaderMap;
use tokio::time::Instant;
use tracing::Instrument;

pub async fn observe(path: MatchedPath, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known_method(request.method());
    // Debug: without an exporter it costs nothing, and our log lines name their execution themselves.
    let span = tracing::debug_span!(
        "request",
        otel.name = format_args!("{method} {}", path.as_str()),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = method,
        http.route = path.as_str(),
        url.scheme = "http",
        url.path = request.uri().path(),
        error.type = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        execution.id = tracing::field::Empty,
        tenant.id = tracing::field::Empty,
        workflow.id = tracing::field::Empty,
        lane = tracing::field::Empty,
        attempt = tracing::field::Empty,
        execution.replay_of = tracing::field::Empty,
        route.mode = tracing::field::Empty,
        route.decided_by = tracing::field::Empty,
        route.reason = tracing::field::Empty,
    );
    trace::set_parent(&span, traceparent(request.headers()));
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        trace::failed(&span, status.as_str());
    }
    let route = path.as_str().to_owned();
    metrics::histogram!("bridge_http_request_seconds", "method" => method, "route" => route.clone())
        .record(started.elapsed().as_secs_f64());
    metrics::counter!("bridge_http_requests_total", "method" => method, "route" => route, "status" => status.as_str().to_owned())
        .increment(1);
    response
}

/// Before the first request: a failure that comes with its series would be lost to every rate. Of publishing, because
/// that is what must not fail; the other routes' series begin with their first answer.
pub fn begin() {
    for status in ["500", "503", "504"] {
        metrics::counter!("bridge_http_requests_total", "method" => "POST", "route" => "/pulsar/publish", "status" => status)
            .increment(0);
    }
}

/// What does a request's work without one: the same fields, for the same steps.
pub fn job_span(what: &'static str, job: uuid::Uuid) -> tracing::Span {
    tracing::info_span!(
        parent: None,
        "job",
        otel.name = what,
        job.id = %job,
        execution.id = tracing::field::Empty,
        execution.replay_of = tracing::field::Empty,
        tenant.id = tracing::field::Empty,
        workflow.id = tracing::field::Empty,
        lane = tracing::field::Empty,
        attempt = tracing::field::Empty,
        route.mode = tracing::field::Empty,
        route.decided_by = tracing::field::Empty,
        route.reason = tracing::field::Empty,
    )
}

pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}

/// A caller may invent methods; labels are bounded.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "OTHER",
    }
}
