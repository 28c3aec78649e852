//! Jaeger's query API, as far as the tests ask it. By the first version: the third ignores tags without a word.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::parts::shared;
use crate::wait::eventually;

pub struct Jaeger {
    http: reqwest::Client,
    pub base: String,
}

#[derive(Clone, Debug)]
pub struct Trace {
    pub id: String,
    /// In the order in which they began.
    pub spans: Vec<Span>,
}

#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub name: String,
    pub service: String,
    pub parent: Option<String>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    pub tags: BTreeMap<String, Value>,
    /// Microseconds.
    pub start: i64,
    pub duration: i64,
    /// What happened within it, by name.
    pub events: Vec<String>,
}

impl Trace {
    /// All spans whose names begin so.
    pub fn all(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name.starts_with(name)).collect()
    }

    /// The only one.
    pub fn one(&self, name: &str) -> &Span {
        match self.all(name)[..] {
            [span] => span,
            ref spans => panic!("{} spans {name:?} in {self:#?}", spans.len()),
        }
    }
}

impl Span {
    pub fn text(&self, tag: &str) -> &str {
        self.tags.get(tag).and_then(Value::as_str).unwrap_or_else(|| panic!("no text {tag:?} in {self:#?}"))
    }

    pub fn number(&self, tag: &str) -> i64 {
        self.tags.get(tag).and_then(Value::as_i64).unwrap_or_else(|| panic!("no number {tag:?} in {self:#?}"))
    }

    pub fn failed(&self) -> bool {
        self.tags.get("error") == Some(&Value::Bool(true))
    }

    pub fn links_to(&self, trace: &str) -> bool {
        self.links.iter().any(|(linked, _)| linked == trace)
    }
}

impl Jaeger {
    /// The one that the shared collector sends to.
    pub fn shared() -> Self {
        let base = shared("BRIDGE_TEST_JAEGER_QUERY_URL");
        Self { http: crate::http_client(), base: base.trim_end_matches('/').to_owned() }
    }

    /// Traces in which this service has a span with that tag.
    pub async fn tagged(&self, service: &str, tag: &str, value: &str) -> Result<Vec<Trace>, String> {
        read(&self.text(service, tag, value).await?)
    }

    /// The same as Jaeger tells it, with everything that was ever sent to it.
    pub async fn text(&self, service: &str, tag: &str, value: &str) -> Result<String, String> {
        let tags = serde_json::json!({ tag: value }).to_string();
        let mut url = url::Url::parse(&format!("{}/api/traces", self.base)).unwrap();
        url.query_pairs_mut()
            .append_pair("service", service)
            .append_pair("tags", &tags)
            .append_pair("lookback", "1h")
            .append_pair("limit", "100");
        self.ask(url.as_str()).await
    }

    pub async fn trace(&self, id: &str) -> Result<Trace, String> {
        let found = read(&self.ask(&format!("{}/api/traces/{id}", self.base)).await?)?;
        found.into_iter().next().ok_or_else(|| format!("no trace {id}"))
    }

    /// By an execution's id, once what is found is whole. Spans come when they have ended, each daemon's on their own.
    pub async fn of(&self, execution: &str, whole: impl Fn(&[Trace]) -> bool) -> Vec<Trace> {
        self.by("bridge-publisher", "execution.id", execution, whole).await
    }

    pub async fn by(
        &self,
        service: &str,
        tag: &str,
        value: &str,
        whole: impl Fn(&[Trace]) -> bool,
    ) -> Vec<Trace> {
        eventually(&format!("the traces with {tag} = {value}"), async || {
            let found = self.tagged(service, tag, value).await?;
            if whole(&found) { Ok(found) } else { Err(format!("{found:#?}")) }
        })
        .await
    }

    async fn ask(&self, url: &str) -> Result<String, String> {
        let answer = self.http.get(url).send().await.map_err(|error| format!("{error:?}"))?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|error| format!("{error:?}"))?);
        if status.is_success() { Ok(text) } else { Err(format!("{status} {text}")) }
    }
}

fn read(text: &str) -> Result<Vec<Trace>, String> {
    let read: Answer = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let mut traces: Vec<Trace> = read.data.into_iter().map(Trace::from).collect();
    traces.sort_by_key(|trace| trace.spans.first().map(|span| span.start));
    Ok(traces)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<RawTrace>,
}

#[derive(Deserialize)]
struct RawTrace {
    #[serde(rename = "traceID")]
    id: String,
    spans: Vec<RawSpan>,
    processes: BTreeMap<String, RawProcess>,
}

#[derive(Deserialize)]
struct RawProcess {
    #[serde(rename = "serviceName")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpan {
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<RawReference>,
    start_time: i64,
    duration: i64,
    #[serde(default)]
    tags: Vec<RawTag>,
    #[serde(default)]
    logs: Vec<RawLog>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
struct RawReference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    span: String,
}

#[derive(Deserialize)]
struct RawTag {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
struct RawLog {
    fields: Vec<RawTag>,
}

impl From<RawTrace> for Trace {
    fn from(raw: RawTrace) -> Self {
        let service =
            |process: &str| raw.processes.get(process).map_or_else(String::new, |found| found.name.clone());
        let mut spans: Vec<Span> = raw
            .spans
            .into_iter()
            .map(|span| {
                let child = |of: &&RawReference| of.kind == "CHILD_OF" && of.trace == raw.id;
                // Of a parent that is linked as well Jaeger shows the link alone.
                let own = |of: &&RawReference| of.trace == raw.id;
                let all = &span.references;
                let parent =
                    all.iter().find(child).or_else(|| all.iter().find(own)).map(|of| of.span.clone());
                let links = all.iter().filter(|of| of.kind == "FOLLOWS_FROM");
                let links = links.map(|of| (of.trace.clone(), of.span.clone())).collect();
                let names =
                    span.logs.into_iter().flat_map(|log| log.fields).filter(|field| field.key == "event");
                Span {
                    trace: raw.id.clone(),
                    id: span.id,
                    name: span.operation_name,
                    service: service(&span.process),
                    parent,
                    links,
                    tags: span.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
                    start: span.start_time,
                    duration: span.duration,
                    events: names.filter_map(|field| field.value.as_str().map(str::to_owned)).collect(),
                }
            })
            .collect();
        spans.sort_by_key(|span| span.start);
        Self { id: raw.id, spans }
    }
}
