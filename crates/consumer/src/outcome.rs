//! What the webhook's answer makes of the execution. Pure: everything it needs is an argument.

use std::time::Duration;

use bridge_protocol::{OnUnknown, Reason, Target, Verdict, classify};
use bridge_store::{Ending, ResultBody};
use bridge_webhook::{FireResult, HttpAnswer};
use serde::Deserialize;

/// What is written down about an attempt.
#[derive(Debug)]
pub struct Settlement {
    pub next: Next,
    pub http_status: Option<u16>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
    /// Whether the workflow may have run although another attempt follows.
    pub may_repeat: bool,
}

#[derive(Debug)]
pub enum Next {
    End(Ending),
    Retry(Duration),
}

/// An error is a line for people, not a log.
const LONGEST_ERROR: usize = 300;

impl Settlement {
    fn new(next: Next, error: Option<&str>) -> Self {
        let error = error.map(|text| text.chars().filter(|c| !c.is_control()).take(LONGEST_ERROR).collect());
        Self { next, http_status: None, error, n8n_execution_id: None, may_repeat: false }
    }

    pub fn dead(reason: Reason, error: &str) -> Self {
        Self::new(Next::End(Ending::DeadLettered(reason)), Some(error))
    }

    /// Another attempt, unless this was the last one.
    pub fn retry(target: &Target, attempt: u16, after: Duration, error: &str) -> Self {
        if attempt >= target.retry.max_attempts {
            return Self::dead(Reason::AttemptsExhausted, error);
        }
        Self::new(Next::Retry(after), Some(error))
    }

    /// `keep`: how much of a successful answer becomes the result.
    pub fn of(fired: &FireResult, target: &Target, attempt: u16, keep: usize, jitter: f64) -> Self {
        let verdict = classify(&fired.as_answer(), &target.success);
        let delay = || target.retry.delay(attempt, fired.retry_after(), jitter);
        let mut settlement = match verdict {
            Verdict::Success(evidence) => {
                let (result, n8n) = match fired {
                    FireResult::Answered(answer) => (result(answer, keep), n8n_execution_id(answer)),
                    _ => (None, None),
                };
                let success = Self::new(Next::End(Ending::Succeeded { evidence, result }), None);
                Self { n8n_execution_id: n8n, ..success }
            }
            Verdict::Retryable => Self::retry(target, attempt, delay(), &explain(fired)),
            Verdict::Permanent => {
                let blocked = matches!(fired, FireResult::Blocked(_));
                let reason = if blocked { Reason::BlockedAddress } else { Reason::PermanentAnswer };
                Self::dead(reason, &explain(fired))
            }
            Verdict::Unknown if target.on_unknown == OnUnknown::DeadLetter => {
                Self::dead(Reason::UnknownOutcome, &explain(fired))
            }
            Verdict::Unknown => {
                let again = Self::retry(target, attempt, delay(), &explain(fired));
                Self { may_repeat: matches!(again.next, Next::Retry(_)), ..again }
            }
        };
        settlement.http_status = fired.status();
        settlement
    }
}

fn explain(fired: &FireResult) -> String {
    match fired {
        FireResult::Answered(answer) => match answer.status {
            404 => "the webhook answered 404: in n8n the workflow is not active, or its path is not the workflow_id"
                .to_owned(),
            300..=399 => format!("the webhook answered {}; redirects are not followed", answer.status),
            200..=299 if answer.truncated => {
                format!("the webhook answered {} with more than is read, so the success rule could not be checked", answer.status)
            }
            200..=299 => format!("the webhook answered {}, but not what the route's success rule asks for", answer.status),
            status => format!("the webhook answered {status}"),
        },
        FireResult::ConnectError(text) => format!("nothing was sent: {text}"),
        FireResult::SentNoAnswer(text) => format!("sent, but without an answer: {text}"),
        FireResult::Blocked(refused) => refused.to_string(),
    }
}

fn result(answer: &HttpAnswer, keep: usize) -> Option<ResultBody> {
    let kept = answer.body.len().min(keep);
    (kept > 0).then(|| ResultBody {
        content_type: answer.content_type.clone(),
        body: answer.body.slice(..kept),
        truncated: answer.truncated || kept < answer.body.len(),
    })
}

/// A webhook that is set to answer `{"executionId": ...}` names its own execution.
fn n8n_execution_id(answer: &HttpAnswer) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        execution_id: Id,
    }
    if answer.truncated || answer.body.len() > 4096 {
        return None;
    }
    match serde_json::from_slice::<Named>(&answer.body).ok()?.execution_id {
        Id::Number(number) => Some(number.to_string()),
        Id::Text(text) => {
            let plain = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            plain.then_some(text)
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
pub(crate) mod tests;
