//! What Jaeger answers, in the first version of its API.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub struct Traces {
    #[serde(default)]
    pub data: Vec<Trace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(rename = "traceID")]
    pub id: String,
    pub spans: Vec<Span>,
    #[serde(default)]
    pub processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub service_name: String,
}

/// Times in microseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    #[serde(rename = "spanID")]
    pub id: String,
    pub operation_name: String,
    #[serde(default)]
    pub references: Vec<Reference>,
    pub start_time: i64,
    pub duration: i64,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(rename = "processID", default)]
    pub process: String,
}

#[derive(Deserialize)]
pub struct Reference {
    #[serde(rename = "refType")]
    pub kind: String,
    #[serde(rename = "traceID")]
    pub trace: String,
    #[serde(rename = "spanID")]
    pub span: String,
}

#[derive(Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: Value,
}

impl Span {
    pub fn tag(&self, key: &str) -> Option<String> {
        let tag = self.tags.iter().find(|tag| tag.key == key)?;
        Some(match &tag.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// The span that it hangs under; of another trace it is only linked with. Of a parent that is linked as well Jaeger
    /// shows the link alone.
    pub fn parent(&self, trace: &str) -> Option<&str> {
        let own = || self.references.iter().filter(|reference| reference.trace == trace);
        let parent = own().find(|reference| reference.kind == "CHILD_OF").or_else(|| own().next());
        parent.map(|reference| reference.span.as_str())
    }

    /// Other traces that it is linked with.
    pub fn linked<'a>(&'a self, trace: &'a str) -> impl Iterator<Item = &'a str> {
        self.references.iter().map(|reference| reference.trace.as_str()).filter(move |other| *other != trace)
    }
}
