//! A route: where a workflow is fired and by which rules.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::closed_set::closed_set;
use crate::web_url::check_webhook_url;
use crate::{Completion, Lane, RetryPolicy, SuccessRule, WorkflowId};

closed_set! {
    /// The way to the webhook.
    pub enum Mode ("mode") {
        /// Through the broker.
        Pulsar = 0 => "pulsar",
        /// Straight from the publisher.
        Native = 1 => "native",
    }
}

closed_set! {
    /// What follows when nobody knows whether the workflow ran.
    pub enum OnUnknown ("on_unknown") {
        /// Run it again; it may run twice.
        Retry = 0 => "retry",
        /// Never run it twice; a person decides.
        DeadLetter = 1 => "dead_letter",
    }
}

closed_set! {
    /// What the webhook gets as its body.
    pub enum BodyShape ("body") {
        /// The payload with the execution's ids around it.
        Envelope = 0 => "envelope",
        /// The payload alone, byte for byte.
        Payload = 1 => "payload",
    }
}

/// The workflow that is told of a bad end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnFailure {
    pub workflow_id: WorkflowId,
}

/// The same for a workflow, for a type and for a tenant's default. What is `None` is left to the next of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
    /// May hold `{workflow_id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// Without it the lane's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    pub callback_timeout_s: u64,
    pub retry: RetryPolicy,
    pub success: SuccessRule,
    pub on_unknown: OnUnknown,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// The name of the tenant's outgoing credential that a request logs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    pub body: BodyShape,
    /// Among those that wait for a slot: 9 goes first.
    pub priority: u8,
    /// An inactive route is a hold: accepted as ever, not fired.
    pub is_active: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            lane: None,
            mode: None,
            completion: None,
            webhook_url: None,
            timeout_ms: None,
            callback_timeout_s: 3600,
            retry: RetryPolicy::default(),
            success: SuccessRule::default(),
            on_unknown: OnUnknown::Retry,
            on_failure: None,
            max_concurrency: None,
            credential: None,
            body: BodyShape::Envelope,
            priority: 5,
            is_active: true,
        }
    }
}

const LONGEST_TIMEOUT_MS: u64 = 3_600_000;
const LONGEST_CALLBACK_S: u64 = 604_800;
const HIGHEST_PRIORITY: u8 = 9;
const LONGEST_POINTER: usize = 500;

impl Route {
    /// Every field there is, for "did you mean".
    pub const FIELDS: &'static [&'static str] = &[
        "lane",
        "mode",
        "completion",
        "webhook_url",
        "timeout_ms",
        "callback_timeout_s",
        "retry",
        "success",
        "on_unknown",
        "on_failure",
        "max_concurrency",
        "credential",
        "body",
        "priority",
        "is_active",
    ];

    pub fn callback_timeout(&self) -> Duration {
        Duration::from_secs(self.callback_timeout_s)
    }

    /// What no type can say: the field at fault and what to do about it. Empty for a route that can be used. Of a
    /// route that has a name [`crate::RouteName::faults`] knows more.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, what: String| faults.push((field.to_owned(), what));
        for (field, what) in self.retry.faults() {
            fault(&format!("retry.{field}"), what);
        }
        if let Some(Err(what)) = self.webhook_url.as_deref().map(check_webhook_url) {
            fault("webhook_url", what);
        }
        if !(1..=LONGEST_TIMEOUT_MS).contains(&self.timeout_ms.unwrap_or(1)) {
            fault("timeout_ms", format!("must be 1 to {LONGEST_TIMEOUT_MS}"));
        }
        if !(1..=LONGEST_CALLBACK_S).contains(&self.callback_timeout_s) {
            fault("callback_timeout_s", format!("must be 1 to {LONGEST_CALLBACK_S}"));
        }
        if self.max_concurrency == Some(0) {
            let what = "must be at least 1; to stop the workflow set is_active to false, or set a hold";
            fault("max_concurrency", what.to_owned());
        }
        if self.priority > HIGHEST_PRIORITY {
            fault("priority", format!("must be 0 to {HIGHEST_PRIORITY}; {HIGHEST_PRIORITY} goes first"));
        }
        if self.credential.as_deref().is_some_and(|name| !is_credential_name(name)) {
            fault("credential", "must be 1 to 64 of a-z, 0-9 and -".to_owned());
        }
        if let SuccessRule::JsonField { pointer, .. } = &self.success
            && let Err(what) = check_pointer(pointer)
        {
            fault("success.json_field.pointer", what);
        }
        if (self.mode, self.completion) == (Some(Mode::Native), Some(Completion::Callback)) {
            let what = "native answers with the webhook's answer and cannot wait for a callback; leave mode out, or \
                        set completion to response";
            fault("mode", what.to_owned());
        }
        faults
    }
}

/// A JSON pointer (RFC 6901) that can point at something.
fn check_pointer(pointer: &str) -> Result<(), String> {
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!(
            "{pointer:?} can never match: a JSON pointer starts with \"/\", for example /data/ok"
        ));
    }
    if !escapes {
        return Err(format!("{pointer:?} can never match: write ~ as ~0 and a / inside a name as ~1"));
    }
    if pointer.len() > LONGEST_POINTER {
        return Err(format!("must be {LONGEST_POINTER} bytes or less"));
    }
    Ok(())
}

/// Is this the name of an outgoing credential?
pub fn is_credential_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
