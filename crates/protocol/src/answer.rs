//! What the answer of a webhook means for the execution.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Evidence;

/// What came back from a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    Response {
        status: u16,
        content_type: Option<&'a str>,
        body: &'a [u8],
        retry_after: Option<Duration>,
    },
    /// Nothing was sent.
    ConnectError,
    /// A time-out or a reset after the request went out.
    SentNoAnswer,
    /// The address guard refused to connect.
    Blocked,
    /// The answer was cut at the limit.
    BodyTooLarge {
        status: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Success(Evidence),
    /// It did not work and may work later.
    Retryable,
    /// A repetition would end the same way.
    Permanent,
    /// The workflow may have run; the route's `on_unknown` decides.
    Unknown,
}

/// Which 2xx answers are a success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SuccessRule {
    #[default]
    #[serde(rename = "any_2xx")]
    AnyTwoXx,
    /// The JSON answer holds this value at this JSON pointer (RFC 6901).
    #[serde(rename = "json_field")]
    JsonField { pointer: String, equals: serde_json::Value },
}

impl SuccessRule {
    /// `None` when the body would be needed and is not there.
    fn met_by(&self, body: Option<&[u8]>) -> Option<bool> {
        match self {
            SuccessRule::AnyTwoXx => Some(true),
            SuccessRule::JsonField { pointer, equals } => {
                let answer = serde_json::from_slice::<serde_json::Value>(body?);
                Some(answer.is_ok_and(|json| json.pointer(pointer) == Some(equals)))
            }
        }
    }
}

pub fn classify(answer: &Answer, rule: &SuccessRule) -> Verdict {
    let (status, body) = match *answer {
        Answer::Response { status, body, .. } => (status, Some(body)),
        Answer::BodyTooLarge { status } => (status, None),
        Answer::ConnectError => return Verdict::Retryable,
        Answer::SentNoAnswer => return Verdict::Unknown,
        Answer::Blocked => return Verdict::Permanent,
    };
    match status {
        200..=299 => match rule.met_by(body) {
            Some(true) if body.is_some_and(only_started) => Verdict::Success(Evidence::Started),
            Some(true) => Verdict::Success(Evidence::Response),
            // The workflow ran and said no.
            Some(false) => Verdict::Permanent,
            None => Verdict::Unknown,
        },
        // 404: n8n answers it for a workflow that is not active at this moment.
        404 | 408 | 425 | 429 | 500..=599 => Verdict::Retryable,
        // Redirects are never followed, so they end here with the other answers.
        _ => Verdict::Permanent,
    }
}

/// n8n's answer of a webhook that responds before the workflow runs.
fn only_started(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Started<'a> {
        message: &'a str,
    }
    // An object: serde would read a list as a struct too.
    body.len() < 128
        && body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<Started>(body).is_ok_and(|s| s.message == "Workflow was started")
}
