//! Spans as OTLP has them, written straight to bytes where they end. What the exporters of the SDK do instead, copying the
//! batch and building a tree of messages from it, costs more processor time than all the rest of a span.

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use std::time::{SystemTime, UNIX_EPOCH};

/// Wire types of protobuf.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Bits of a span's or a link's flags: whether it is known that the other side is remote, and whether it is.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What is the same in every request: who sends.
pub(super) struct Sender {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Sender {
    pub(super) fn new(resource: &Resource, scope: &InstrumentationScope) -> Self {
        let mut head = Self { resource: Vec::new(), scope: Vec::new() };
        message(&mut head.resource, 1, |into| {
            resource.iter().for_each(|(key, value)| attribute(into, 1, key.as_str(), value));
        });
        message(&mut head.scope, 1, |into| {
            text(into, 1, scope.name());
            text(into, 2, scope.version().unwrap_or_default());
            attributes(into, 3, scope.attributes());
        });
        text(&mut head.scope, 3, scope.schema_url().unwrap_or_default());
        head
    }

    /// The request that brings these spans, each written by [`span`].
    pub(super) fn request(&self, spans: &[u8]) -> Vec<u8> {
        let of_scope = self.scope.len() + spans.len();
        let mut request = Vec::with_capacity(of_scope + self.resource.len() + 32);
        let of_resource = self.resource.len() + 1 + length_of(of_scope) + of_scope;
        key(&mut request, 1, LENGTH);
        varint(&mut request, of_resource as u64);
        request.extend_from_slice(&self.resource);
        key(&mut request, 2, LENGTH);
        varint(&mut request, of_scope as u64);
        request.extend_from_slice(&self.scope);
        request.extend_from_slice(spans);
        request
    }
}

/// Adds a span to those of its scope.
pub(super) fn span(into: &mut Vec<u8>, span: &SpanData) {
    message(into, 2, |into| {
        context(into, &span.span_context);
        if span.parent_span_id != SpanId::INVALID {
            bytes(into, 4, &span.parent_span_id.to_bytes());
        }
        text(into, 5, &span.name);
        number(into, 6, kind(&span.span_kind));
        time(into, 7, span.start_time);
        time(into, 8, span.end_time);
        attributes(into, 9, &span.attributes);
        number(into, 10, span.dropped_attributes_count.into());
        for event in span.events.iter() {
            message(into, 11, |into| {
                time(into, 1, event.timestamp);
                text(into, 2, &event.name);
                attributes(into, 3, &event.attributes);
                number(into, 4, event.dropped_attributes_count.into());
            });
        }
        number(into, 12, span.events.dropped_count.into());
        for link in span.links.iter() {
            message(into, 13, |into| {
                context(into, &link.span_context);
                attributes(into, 4, &link.attributes);
                number(into, 5, link.dropped_attributes_count.into());
                fixed32(into, 6, flags(&link.span_context, link.span_context.is_remote()));
            });
        }
        number(into, 14, span.links.dropped_count.into());
        message(into, 15, |into| {
            if let Status::Error { description } = &span.status {
                text(into, 2, description);
            }
            number(into, 3, code(&span.status));
        });
        fixed32(into, 16, flags(&span.span_context, span.parent_span_is_remote));
    });
}

/// Spans and links begin alike.
fn context(into: &mut Vec<u8>, context: &SpanContext) {
    bytes(into, 1, &context.trace_id().to_bytes());
    bytes(into, 2, &context.span_id().to_bytes());
    text(into, 3, &context.trace_state().header());
}

fn flags(context: &SpanContext, remote: bool) -> u32 {
    u32::from(context.trace_flags().to_u8()) | KNOWS_REMOTE | if remote { IS_REMOTE } else { 0 }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn code(status: &Status) -> u64 {
    match status {
        Status::Unset => 0,
        Status::Ok => 1,
        Status::Error { .. } => 2,
    }
}

fn attributes<'a>(into: &mut Vec<u8>, field: u32, all: impl IntoIterator<Item = &'a KeyValue>) {
    all.into_iter().for_each(|one| attribute(into, field, one.key.as_str(), &one.value));
}

fn attribute(into: &mut Vec<u8>, field: u32, name: &str, what: &Value) {
    message(into, field, |into| {
        text(into, 1, name);
        message(into, 2, |into| value(into, what));
    });
}

/// One of several: it is written also when it is what a field that is absent would mean.
fn value(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(value) => bytes(into, 1, value.as_str().as_bytes()),
        Value::Bool(value) => truth(into, *value),
        Value::I64(value) => whole(into, *value),
        Value::F64(value) => real(into, *value),
        Value::Array(values) => message(into, 5, |into| match values {
            Array::String(all) => {
                all.iter().for_each(|one| message(into, 1, |into| bytes(into, 1, one.as_str().as_bytes())));
            }
            Array::Bool(all) => all.iter().for_each(|one| message(into, 1, |into| truth(into, *one))),
            Array::I64(all) => all.iter().for_each(|one| message(into, 1, |into| whole(into, *one))),
            Array::F64(all) => all.iter().for_each(|one| message(into, 1, |into| real(into, *one))),
            // A kind that OpenTelemetry adds one day: its attribute stays, without a value.
            _ => {}
        }),
        _ => {}
    }
}

fn truth(into: &mut Vec<u8>, value: bool) {
    key(into, 2, VARINT);
    into.push(value.into());
}

fn whole(into: &mut Vec<u8>, value: i64) {
    key(into, 3, VARINT);
    varint(into, value.cast_unsigned());
}

fn real(into: &mut Vec<u8>, value: f64) {
    key(into, 4, FIXED64);
    into.extend_from_slice(&value.to_le_bytes());
}

fn time(into: &mut Vec<u8>, field: u32, time: SystemTime) {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    key(into, field, FIXED64);
    into.extend_from_slice(&nanos.to_le_bytes());
}

fn fixed32(into: &mut Vec<u8>, field: u32, value: u32) {
    key(into, field, FIXED32);
    into.extend_from_slice(&value.to_le_bytes());
}

/// Zero is what an absent field means.
fn number(into: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(into, field, VARINT);
        varint(into, value);
    }
}

fn text(into: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        bytes(into, field, text.as_bytes());
    }
}

fn bytes(into: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    key(into, field, LENGTH);
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

/// A message within: its length goes before it and is known after it. One byte is kept for that, which is enough for
/// all but spans; those are moved on by another.
fn message(into: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(into, field, LENGTH);
    let start = into.len();
    into.push(0);
    write(into);
    let length = into.len() - start - 1;
    let room = length_of(length) - 1;
    if room > 0 {
        into.resize(into.len() + room, 0);
        into.copy_within(start + 1..start + 1 + length, start + 1 + room);
    }
    put(&mut into[start..], length as u64);
}

fn key(into: &mut Vec<u8>, field: u32, wire: u32) {
    varint(into, u64::from(field << 3 | wire));
}

fn varint(into: &mut Vec<u8>, value: u64) {
    let mut short = [0; 10];
    let length = put(&mut short, value);
    into.extend_from_slice(&short[..length]);
}

/// Seven bits a byte, the lowest first; all but the last have the top bit set.
fn put(into: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        into[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    into[at] = value as u8;
    at + 1
}

fn length_of(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use opentelemetry::trace::{Event, Link, TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use prost::Message;
    use std::time::Duration;

    fn context(number: u64, remote: bool) -> SpanContext {
        let state = TraceState::from_key_value([("vendor", "1")]).unwrap();
        let trace = TraceId::from(u128::from(number) << 64 | 7);
        SpanContext::new(trace, SpanId::from(number), TraceFlags::SAMPLED, remote, state)
    }

    fn scope() -> InstrumentationScope {
        InstrumentationScope::builder("bridge-test")
            .with_version("1")
            .with_schema_url("https://schema")
            .build()
    }

    fn plain(number: u64) -> SpanData {
        let start = UNIX_EPOCH + Duration::from_nanos(1_800_000_000_123_456_789);
        SpanData {
            span_context: context(number, false),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: start,
            end_time: start + Duration::from_millis(number),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: scope(),
        }
    }

    /// Everything that a span can have.
    fn full(number: u64) -> SpanData {
        let values = [
            Value::from("text"),
            Value::from(""),
            Value::from("x".repeat(300)),
            Value::from(false),
            Value::from(true),
            Value::from(0_i64),
            Value::from(-1_i64),
            Value::from(i64::MAX),
            Value::from(-0.5_f64),
            Value::Array(Array::Bool(vec![true, false])),
            Value::Array(Array::I64(vec![0, -3])),
            Value::Array(Array::F64(vec![0.0])),
            Value::Array(Array::String(vec!["".into(), "b".into()])),
        ];
        let named = |(at, value): (usize, &Value)| KeyValue::new(format!("key.{at}"), value.clone());
        let attributes: Vec<_> = values.iter().enumerate().map(named).collect();
        let mut span = plain(number);
        span.parent_span_id = SpanId::from(9);
        span.parent_span_is_remote = true;
        span.span_kind = SpanKind::Producer;
        span.name = "send ä".into();
        span.dropped_attributes_count = 3;
        span.events.events = vec![Event::new("moment", span.start_time, attributes[..2].to_vec(), 2); 2];
        span.events.dropped_count = 200;
        span.links.links = vec![
            Link::new(context(5, true), attributes[3..4].to_vec(), 1),
            Link::with_context(context(6, false)),
        ];
        span.links.dropped_count = 1;
        span.status = Status::error("it broke");
        span.attributes = attributes;
        span
    }

    #[test]
    fn what_is_written_is_what_opentelemetrys_own_crate_would_send() {
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "x"), KeyValue::new("n", 1_i64)])
            .build();
        let sender = Sender::new(&resource, &scope());
        let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Consumer, SpanKind::Internal];
        let mut all: Vec<SpanData> =
            (1..200).map(|number| if number % 2 == 0 { full(number) } else { plain(number) }).collect();
        for (span, kind) in all.iter_mut().zip(kinds) {
            span.span_kind = kind;
            span.status = Status::Ok;
        }
        let attributes = ResourceAttributesWithSchema::from(&resource);
        for number in [0, 1, 2, all.len()] {
            let spans = &all[..number];
            let mut bytes = Vec::new();
            spans.iter().for_each(|one| span(&mut bytes, one));
            let read = ExportTraceServiceRequest::decode(&sender.request(&bytes)[..]).unwrap();
            let theirs = group_spans_by_resource_and_scope(spans.to_vec(), &attributes);
            if number > 0 {
                assert_eq!(read.resource_spans, theirs);
            }
            assert_eq!(read.resource_spans[0].scope_spans[0].spans.len(), number);
        }
    }

    #[test]
    fn a_length_takes_the_bytes_that_it_needs() {
        for (value, bytes) in [(0, 1), (1, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (usize::MAX, 10)]
        {
            let mut written = Vec::new();
            varint(&mut written, value as u64);
            assert_eq!((written.len(), length_of(value)), (bytes, bytes), "{value}");
        }
    }
}
