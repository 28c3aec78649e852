//! What the webhook's answer makes of the execution. Deciding is pure: everything it needs is an argument.

use std::time::Duration;

use bridge_protocol::{ExecutionId, OnUnknown, Reason, Target, TenantId, Verdict, classify};
use bridge_service::clock::entropy;
use bridge_service::payload_key::DataKey;
use bridge_store::{Ending, Finish, Finished, Reschedule, ResultBody, Store, Why, WriteError};
use bridge_webhook::{FireResult, HttpAnswer};
use serde::Deserialize;
use uuid::Uuid;

use crate::heavy::heavy;

/// What is written down about an attempt.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub next: Next,
    pub http_status: Option<u16>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
    /// Whether the workflow may have run although another attempt follows.
    pub may_repeat: bool,
    /// Whether nobody knows if the workflow ran.
    pub unknown: bool,
}

#[derive(Debug, Clone)]
pub enum Next {
    End(Ending),
    Retry(Duration),
    /// The workflow has begun and reports its result itself, within so long.
    Wait(Duration),
    /// It was claimed and not sent: the attempt is given back, and taken anew after so long. `why`: the name in metrics.
    Unsent {
        after: Duration,
        why: &'static str,
    },
}

/// Which claim it was: only who still holds it writes.
#[derive(Debug, Clone)]
pub struct Fence {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub attempt: u16,
    pub claim_id: Uuid,
}

/// An error is a line for people, not a log.
const LONGEST_ERROR: usize = 300;

impl Settlement {
    fn new(next: Next, error: Option<&str>) -> Self {
        let error = error.map(|text| text.chars().filter(|c| !c.is_control()).take(LONGEST_ERROR).collect());
        Self { next, http_status: None, error, n8n_execution_id: None, may_repeat: false, unknown: false }
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

    /// Nothing left this process, so that no attempt is spent, not even the last.
    pub fn unsent(after: Duration, why: &'static str, error: &str) -> Self {
        Self::new(Next::Unsent { after, why }, Some(&format!("nothing was sent: {error}")))
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
        settlement.unknown = verdict == Verdict::Unknown;
        settlement
    }

    /// As `of`, for an attempt that no other follows: whatever is no success ends as failed.
    pub fn once(fired: &FireResult, target: &Target, keep: usize) -> Self {
        let settlement = Self::of(fired, target, u16::MAX, keep, 0.0);
        let reason = match (&settlement.next, classify(&fired.as_answer(), &target.success)) {
            (_, Verdict::Unknown) => Reason::UnknownOutcome,
            (Next::End(Ending::DeadLettered(reason)), _) => *reason,
            _ => return settlement,
        };
        Self { next: Next::End(Ending::Failed { reason, result: None }), ..settlement }
    }

    /// For an attempt that no other follows and that came to nothing before anything was sent.
    pub fn failed(reason: Reason, error: &str) -> Self {
        Self::new(Next::End(Ending::Failed { reason, result: None }), Some(error))
    }

    /// For an execution whose result comes by callback: n8n's good answer says only that it has begun. Where nobody
    /// knows whether it has and no other attempt follows, its report tells.
    #[must_use]
    pub fn by_callback(self, within: Duration) -> Self {
        let begun = match self.next {
            Next::End(Ending::Succeeded { .. }) => true,
            Next::End(Ending::DeadLettered(_)) => self.unknown,
            _ => false,
        };
        if begun { Self { next: Next::Wait(within), ..self } } else { self }
    }

    /// The result as it is stored where payloads are sealed.
    #[must_use]
    pub fn sealed(mut self, key: &DataKey, tenant: &TenantId, execution: ExecutionId) -> Self {
        if let Some(Some(result)) = self.result_mut() {
            let plain = std::mem::take(&mut result.body);
            let sealed = heavy(plain.len(), || key.seal_result(tenant, execution, &plain, entropy()));
            result.body = sealed.into();
            result.data_key = Some(key.id);
        }
        self
    }

    #[must_use]
    pub fn without_result(mut self) -> Self {
        if let Some(result) = self.result_mut() {
            *result = None;
        }
        self
    }

    fn result_mut(&mut self) -> Option<&mut Option<ResultBody>> {
        match &mut self.next {
            Next::End(Ending::Succeeded { result, .. } | Ending::Failed { result, .. }) => Some(result),
            Next::End(Ending::DeadLettered(_)) | Next::Retry(_) | Next::Wait(_) | Next::Unsent { .. } => None,
        }
    }

    /// # Errors
    /// When Postgres does not take it within `patience`.
    pub async fn write(
        self,
        store: &Store,
        fence: Fence,
        patience: Duration,
    ) -> Result<Finished, WriteError> {
        let Fence { tenant, id, attempt, claim_id } = fence;
        let Self { next, http_status, error, n8n_execution_id, .. } = self;
        match next {
            Next::End(ending) => {
                let row =
                    Finish { tenant, id, attempt, claim_id, ending, http_status, error, n8n_execution_id };
                store.finish(row, patience).await
            }
            Next::Retry(after) => {
                let why = Why::Retry { claim_id, http_status, error };
                store.reschedule(Reschedule { tenant, id, attempt, after, why }, patience).await
            }
            Next::Unsent { after, .. } => {
                let why = Why::Unsent { claim_id, error };
                store.reschedule(Reschedule { tenant, id, attempt, after, why }, patience).await
            }
            Next::Wait(after) => {
                let why = Why::Wait { claim_id, http_status, n8n_execution_id };
                store.reschedule(Reschedule { tenant, id, attempt, after, why }, patience).await
            }
        }
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
        data_key: None,
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
#[path = "settlement_tests.rs"]
pub(crate) mod tests;
