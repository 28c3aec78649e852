//! What came of an execution, as its caller sees it; and the sealing of results at rest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{Evidence, ExecutionId, State, TenantId, Time};
use bridge_service::Problem;
use bridge_service::clock::entropy;
use bridge_store::{ResultBody, ResultRow};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::failed;
use crate::app::App;
use crate::budget::Share;
use crate::data_keys::{self, AtRest, sealing_key};

/// How an execution ended, with its result.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outcome {
    pub state: State,
    pub evidence: Option<Evidence>,
    pub attempt: u16,
    /// The JSON itself where the result is JSON; text as a string; anything else as base64.
    #[schemars(with = "serde_json::Value")]
    pub result: Option<Box<RawValue>>,
    pub content_type: Option<String>,
    /// `base64` where the result is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    /// Only the beginning was kept.
    pub truncated: bool,
    pub error: Option<String>,
    pub reason: Option<String>,
    pub http_status: Option<u16>,
    pub n8n_execution_id: Option<String>,
    pub finished_at: Option<Time>,
}

/// How far an execution is.
pub enum Standing {
    Ended(Box<Outcome>),
    /// It ended, and its result is kept no longer.
    Expired,
    Live(State),
}

/// `None`: no such execution of this tenant.
pub async fn read(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    share: &mut Share,
) -> Result<Option<Standing>, Problem> {
    let found = app.store.result(tenant, id).await.map_err(|error| failed(&error))?;
    let Some(row) = found else { return Ok(None) };
    if !row.state.is_terminal() {
        return Ok(Some(Standing::Live(row.state)));
    }
    if row.expired {
        return Ok(Some(Standing::Expired));
    }
    shown(app, tenant, id, row, share).await.map(|outcome| Some(Standing::Ended(Box::new(outcome))))
}

async fn shown(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    row: ResultRow,
    share: &mut Share,
) -> Result<Outcome, Problem> {
    let mut outcome = Outcome {
        state: row.state,
        evidence: row.evidence,
        attempt: row.attempt,
        result: None,
        content_type: None,
        encoding: None,
        truncated: false,
        error: row.error,
        reason: row.reason,
        http_status: row.http_status,
        n8n_execution_id: row.n8n_execution_id,
        finished_at: row.finished_at,
    };
    if let Some(stored) = row.body {
        // As it is stored, opened, and in the answer.
        share.grow_to(3 * stored.body.bytes.len())?;
        let bytes = data_keys::open_result(app, tenant, id, stored.body).await?;
        outcome.put(&bytes, stored.content_type, stored.truncated);
    }
    Ok(outcome)
}

impl Outcome {
    pub fn put(&mut self, bytes: &Bytes, content_type: Option<String>, truncated: bool) {
        (self.result, self.encoding) = value(bytes, content_type.as_deref());
        (self.content_type, self.truncated) = (content_type, truncated);
    }
}

/// A result in JSON, and how it is written there when it is neither JSON nor text.
fn value(bytes: &[u8], content_type: Option<&str>) -> (Option<Box<RawValue>>, Option<&'static str>) {
    if content_type.is_some_and(is_json)
        && let Ok(json) = serde_json::from_slice::<Box<RawValue>>(bytes)
    {
        return (Some(json), None);
    }
    let (text, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) => (serde_json::value::to_raw_value(text), None),
        Err(_) => (serde_json::value::to_raw_value(&STANDARD.encode(bytes)), Some("base64")),
    };
    // Text always serializes.
    (text.ok(), encoding)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The result as it is stored: sealed where payloads are.
pub async fn at_rest(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    result: ResultBody,
) -> Result<ResultBody, Problem> {
    let AtRest::Sealed(maker) = &app.at_rest else { return Ok(result) };
    let key = sealing_key(app, maker, tenant).await?;
    let body = key.seal_result(tenant, id, &result.body, entropy()).into();
    Ok(ResultBody { body, data_key: Some(key.id), ..result })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], content_type: Option<&str>) -> (String, Option<&'static str>) {
        let (json, encoding) = value(bytes, content_type);
        (json.unwrap().get().to_owned(), encoding)
    }

    #[test]
    fn json_stays_as_it_is_and_the_rest_is_text_or_base64() {
        let json = Some("application/json; charset=utf-8");
        let shown_of = |bytes: &[u8]| shown(bytes, json);
        assert_eq!(shown_of(br#"{ "b" : 1.00,"a":[ ]}"#), (r#"{ "b" : 1.00,"a":[ ]}"#.to_owned(), None));
        assert_eq!(shown_of(b"null"), ("null".to_owned(), None));
        assert_eq!(shown_of(br#"{"cut": "#), (r#""{\"cut\": ""#.to_owned(), None), "half of a JSON is text");
        assert_eq!(shown(b"<p>\xc3\xa4", Some("text/html")), ("\"<p>\u{e4}\"".to_owned(), None));
        assert_eq!(shown(br#"{"a":1}"#, None), (r#""{\"a\":1}""#.to_owned(), None));
        assert_eq!(shown(b"\xff\x00", Some("image/png")), ("\"/wA=\"".to_owned(), Some("base64")));
        assert_eq!(shown(b"{}", Some("application/hal+json")), ("{}".to_owned(), None));
    }
}
