//! A trace as a tree: who did what, when, for how long, and what failed.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::DateTime;
use url::Url;

use crate::answers::traces::{Span, Trace, Traces};
use crate::verbs::trace::link;

/// Whatever somebody sent may be as deep as he likes.
const DEEPEST: usize = 64;
/// A topic's name is long, and its end says the most.
const LONGEST_NAME: usize = 60;

pub fn text(found: &Traces, jaeger: &Url) -> String {
    let mut traces: Vec<&Trace> = found.data.iter().collect();
    traces.sort_by_key(|trace| start(trace));
    let texts: Vec<String> = traces.into_iter().map(|trace| one(trace, jaeger)).collect();
    texts.join("\n\n")
}

fn start(trace: &Trace) -> i64 {
    trace.spans.iter().map(|span| span.start_time).min().unwrap_or_default()
}

fn one(trace: &Trace, jaeger: &Url) -> String {
    let begun = start(trace);
    let ended = trace.spans.iter().map(|span| span.start_time + span.duration).max().unwrap_or_default();
    let at = DateTime::from_timestamp_micros(begun).map(super::time).unwrap_or_default();
    let mut lines = vec![
        format!("trace {}  {at}  {}, {} spans", trace.id, took(ended - begun), trace.spans.len()),
        format!("  {}", link(jaeger, &trace.id)),
    ];
    let rows: Vec<Vec<String>> =
        in_order(trace).iter().map(|(branch, span)| row(trace, branch, span, begun)).collect();
    lines.push(super::table(&["span", "service", "at", "took", ""], &rows));
    lines.extend(links(trace));
    lines.join("\n")
}

/// Depth first, what began first comes first; each with the branch that it hangs on.
fn in_order(trace: &Trace) -> Vec<(String, &Span)> {
    let known: HashSet<&str> = trace.spans.iter().map(|span| span.id.as_str()).collect();
    let mut below: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
    for span in &trace.spans {
        // The caller's own span is in the trace only when he exports it too.
        let parent = span.parent(&trace.id).filter(|parent| known.contains(parent) && *parent != span.id);
        below.entry(parent).or_default().push(span);
    }
    below.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.start_time, span.id.clone())));
    let mut ordered = Vec::with_capacity(trace.spans.len());
    for root in below.get(&None).into_iter().flatten() {
        ordered.push((String::new(), *root));
        walk(&below, root, String::new(), &mut ordered);
    }
    ordered
}

fn walk<'a>(
    below: &HashMap<Option<&'a str>, Vec<&'a Span>>,
    above: &'a Span,
    indent: String,
    ordered: &mut Vec<(String, &'a Span)>,
) {
    let spans = below.get(&Some(above.id.as_str())).map_or(&[][..], Vec::as_slice);
    if indent.chars().count() > 3 * DEEPEST {
        return;
    }
    for (number, span) in spans.iter().enumerate() {
        let last = number + 1 == spans.len();
        let (branch, further) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        ordered.push((format!("{indent}{branch}"), *span));
        walk(below, span, format!("{indent}{further}"), ordered);
    }
}

fn row(trace: &Trace, branch: &str, span: &Span, begun: i64) -> Vec<String> {
    let service = trace.processes.get(&span.process).map_or("", |process| process.service_name.as_str());
    vec![
        format!("{branch}{}", shorter(&span.operation_name)),
        service.to_owned(),
        format!("+{}", took(span.start_time - begun)),
        took(span.duration),
        notes(span),
    ]
}

/// What a person looks for first.
fn notes(span: &Span) -> String {
    let mut notes = Vec::new();
    notes.extend(span.tag("attempt").map(|attempt| format!("attempt {attempt}")));
    let status = span.tag("http.response.status_code");
    notes.extend(status.clone());
    notes.extend(span.tag("execution.state"));
    let failed = span.tag("error").is_some_and(|error| error != "false")
        || span.tag("otel.status_code").is_some_and(|code| code == "ERROR");
    if failed {
        let why = span.tag("error.type").filter(|why| Some(why) != status.as_ref());
        notes.push(why.map_or_else(|| "ERROR".to_owned(), |why| format!("ERROR {why}")));
    }
    notes.join(", ")
}

fn links(trace: &Trace) -> Vec<String> {
    let linked: BTreeSet<(&str, &str)> = trace
        .spans
        .iter()
        .flat_map(|span| span.linked(&trace.id).map(|other| (span.operation_name.as_str(), other)))
        .collect();
    linked.into_iter().map(|(name, other)| format!("linked by {}: trace {other}", shorter(name))).collect()
}

fn shorter(name: &str) -> String {
    let length = name.chars().count();
    if length <= LONGEST_NAME {
        return name.to_owned();
    }
    let (head, tail) = (12, LONGEST_NAME - 13);
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// Microseconds in the unit they are read in.
fn took(micros: i64) -> String {
    match micros {
        ..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.1} ms", micros as f64 / 1000.0),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => super::span(micros / 1_000_000),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// As Jaeger 1.76 answers, without what is passed over.
    const ANSWER: &str = r#"{"data":[
      {"traceID":"7f00000000000000000000000000000b","processes":{"p1":{"serviceName":"bridge-publisher"}},"spans":[
        {"spanID":"b1","operationName":"send persistent://acme/workflows/dealscale.workflow.long","processID":"p1",
         "startTime":1763713375100000,"duration":2100,"tags":[{"key":"attempt","type":"int64","value":3}],
         "references":[{"refType":"FOLLOWS_FROM","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a1"}]}]},
      {"traceID":"4bf92f3577b34da6a3ce929d0e0e4736",
       "processes":{"p1":{"serviceName":"bridge-publisher"},"p2":{"serviceName":"bridge-consumer"},"p3":{"serviceName":"n8n"}},"spans":[
        {"spanID":"a5","operationName":"POST n8n","processID":"p2","startTime":1763709775112000,"duration":18000,
         "tags":[{"key":"attempt","type":"int64","value":1},{"key":"error","type":"bool","value":true},
           {"key":"error.type","type":"string","value":"503"},{"key":"http.response.status_code","type":"int64","value":503}],
         "references":[{"refType":"CHILD_OF","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a4"}]},
        {"spanID":"a1","operationName":"POST /pulsar/publish","processID":"p1","startTime":1763709775100000,"duration":4200,
         "tags":[{"key":"http.response.status_code","type":"int64","value":202},{"key":"error","type":"bool","value":false}],
         "references":[{"refType":"CHILD_OF","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"ca11e7"},
           {"refType":"FOLLOWS_FROM","traceID":"c0000000000000000000000000000001","spanID":"c1"}]},
        {"spanID":"a3","operationName":"send persistent://acme/workflows/dealscale.workflow.long","processID":"p1","startTime":1763709775104000,
         "duration":900,"tags":[{"key":"attempt","type":"int64","value":1}],
         "references":[{"refType":"CHILD_OF","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a1"}]},
        {"spanID":"a4","operationName":"process persistent://acme/workflows/dealscale.workflow.long","processID":"p2","startTime":1763709775110000,
         "duration":21000,"tags":[{"key":"attempt","type":"int64","value":1},{"key":"execution.state","type":"string","value":"retrying"},
           {"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"error.type","type":"string","value":"503"}],
         "references":[{"refType":"FOLLOWS_FROM","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a3"},
           {"refType":"FOLLOWS_FROM","traceID":"c0000000000000000000000000000002","spanID":"c2"}]},
        {"spanID":"a6","operationName":"continued","processID":"p1","startTime":1763713375100000,"duration":3,"tags":[],
         "references":[{"refType":"CHILD_OF","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a1"},
           {"refType":"FOLLOWS_FROM","traceID":"7f00000000000000000000000000000b","spanID":"b1"}]},
        {"spanID":"a7","operationName":"workflow.execute","processID":"p3","startTime":1763709775113000,"duration":15000,"tags":[],
         "references":[{"refType":"CHILD_OF","traceID":"4bf92f3577b34da6a3ce929d0e0e4736","spanID":"a5"}]}]}],
      "total":0,"limit":0,"offset":0,"errors":null}"#;

    #[test]
    fn a_trace_is_drawn_as_a_tree() {
        let found: Traces = serde_json::from_str(ANSWER).unwrap();
        insta::assert_snapshot!(text(&found, &"http://jaeger:16686".parse().unwrap()));
    }

    #[test]
    fn a_circle_of_parents_is_no_trap() {
        let span = |id: &str, parent: &str| {
            serde_json::json!({ "spanID": id, "operationName": id, "startTime": 1, "duration": 1,
            "references": [{ "refType": "CHILD_OF", "traceID": "t", "spanID": parent }] })
        };
        let trace = serde_json::json!({ "data": [{ "traceID": "t", "spans": [span("a", "b"), span("b", "a"), span("c", "c")] }] });
        let found: Traces = serde_json::from_value(trace).unwrap();
        let text = text(&found, &"http://j".parse().unwrap());
        assert!(text.contains("\nc "), "{text}");
    }

    #[test]
    fn times_are_readable() {
        let read = [0, 999, 1000, 9_949, 10_000, 9_999_999, 10_000_000, 7_200_000_000].map(took);
        assert_eq!(read, ["0 µs", "999 µs", "1.0 ms", "9.9 ms", "10 ms", "9999 ms", "10 s", "2 h"]);
    }
}
