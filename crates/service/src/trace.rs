//! W3C trace context across HTTP, Postgres and Pulsar. It travels as one `traceparent`; an empty `tracestate` is
//! never written, and baggage is nobody's business here. Without an exporter a caller's traceparent is passed on as it
//! came; one that is malformed is as good as none.

use crate::telemetry::{TRACE_AGE, TRACING_ON};
use bridge_protocol::{ExecutionId, TenantId, Time};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// How long later steps join a trace, when nothing else was configured.
const USUAL_AGE: Duration = Duration::from_secs(3600);

/// The current span as a traceparent; `None` when traces are off.
pub fn inject() -> Option<String> {
    inject_span(&Span::current())
}

/// A span as a traceparent; `None` when traces are off or the span is disabled.
pub fn inject_span(span: &Span) -> Option<String> {
    if !TRACING_ON.load(Ordering::Relaxed) {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| {
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags)
    })
}

/// What is handed on: the current span, or else what the caller sent.
pub fn inject_or(callers: Option<&str>) -> Option<String> {
    inject().or_else(|| callers.filter(|text| parse(text).is_some()).map(str::to_owned))
}

/// The remote parent a traceparent names; `None` when it is malformed.
pub fn parent_from(traceparent: &str) -> Option<Context> {
    parse(traceparent).map(|span| Context::new().with_remote_span_context(span))
}

/// Makes the named span this span's parent. Does nothing when traces are off.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if !TRACING_ON.load(Ordering::Relaxed) {
        return;
    }
    if let Some(context) = traceparent.and_then(parent_from)
        && let Err(error) = span.set_parent(context)
    {
        tracing::debug!(%error, "the span began before its parent was known");
    }
}

/// Links a span to the named one. Does nothing when traces are off.
pub fn add_link(span: &Span, traceparent: Option<&str>) {
    if TRACING_ON.load(Ordering::Relaxed)
        && let Some(linked) = traceparent.and_then(parse)
    {
        span.add_link(linked);
    }
}

/// A step of an execution that does not follow at once: a publish by the relay, a retry, its end by a timer.
#[derive(Debug, Clone, Copy)]
pub struct Later<'a> {
    pub tenant: &'a TenantId,
    pub execution: ExecutionId,
    /// Of the acceptance.
    pub traceparent: Option<&'a str>,
    pub now: Time,
}

impl Later<'_> {
    /// Puts `span` into the execution's trace. A trace that has grown too old gets no more of it: then the span begins
    /// a trace of its own, and each of the two links to the other.
    pub fn join(&self, span: &Span) {
        let age = (self.now - self.execution.created_at()).to_std().unwrap_or_default();
        let most = TRACE_AGE.get().copied().unwrap_or(USUAL_AGE);
        if age <= most {
            return set_parent(span, self.traceparent);
        }
        part(span, self.traceparent, self.tenant, self.execution, "continued");
    }
}

/// Links a span that begins or belongs to another trace with `old`, and `old` with it: a span cannot be changed once it
/// has ended, so the old trace gets one more, of no duration, that points to the new one.
pub fn part(span: &Span, old: Option<&str>, tenant: &TenantId, execution: ExecutionId, how: &'static str) {
    if !TRACING_ON.load(Ordering::Relaxed) {
        return;
    }
    let Some(linked) = old.and_then(parse) else { return };
    let context = span.context();
    let new = context.span().span_context().clone();
    if !new.is_valid() || new.trace_id() == linked.trace_id() {
        return;
    }
    let note = info_span!(
        parent: None, "continued", otel.name = how, otel.kind = "internal",
        execution.id = %execution, tenant.id = tenant.as_str(),
    );
    set_parent(&note, old);
    note.add_link(new);
    span.add_link(linked);
}

/// Marks a span as failed. It must have both fields.
pub fn failed(span: &Span, error_type: &str) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

/// A moment on the current span.
pub fn event(name: &'static str) {
    if TRACING_ON.load(Ordering::Relaxed) {
        Span::current().add_event(name, Vec::new());
    }
}

/// The trace id of a traceparent, for logs and answers.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    parse(traceparent).and_then(|_| traceparent.get(3..35))
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not all zero; later versions may be longer.
fn parse(text: &str) -> Option<SpanContext> {
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    if !lengths || ![version, trace, span, flags].into_iter().all(hex) || version == "ff" {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_strictly() {
        assert_eq!(trace_id(GOOD), Some("0af7651916cd43dd8448eb211c80319c"));
        assert!(parent_from(GOOD).unwrap().span().span_context().is_sampled());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319ä-b7ad6b7169203331-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_callers_context_is_passed_on_when_traces_are_off() {
        assert_eq!(inject(), None);
        assert_eq!(inject_or(Some(GOOD)).as_deref(), Some(GOOD));
        assert_eq!(inject_or(Some("junk")), None);
    }
}
