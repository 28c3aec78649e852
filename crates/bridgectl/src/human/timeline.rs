//! One execution: what it is, where it stands, and everything that happened to it in order.

use chrono::{DateTime, Utc};

use crate::answers::{Attempt, Execution, RouteTaken};

pub fn text(execution: &Execution) -> String {
    let mut lines = facts(execution);
    lines.push(String::new());
    lines.extend(timeline(execution));
    lines.join("\n")
}

pub fn route(route: &RouteTaken) -> String {
    let mut text = route.mode.clone().unwrap_or_else(|| "pulsar".to_owned());
    if let Some(by) = &route.decided_by {
        text.push_str(&format!(", decided by {by}"));
    }
    if let Some(reason) = &route.reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

fn facts(execution: &Execution) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:11}{value}"));
        }
    };
    fact("execution", Some(execution.execution_id.clone()));
    fact("state", Some(state(execution)));
    fact("reason", execution.reason.clone());
    fact("error", execution.error.clone());
    fact("waits", waiting(execution));
    fact("workflow", Some(format!("{} of {}", execution.workflow_id, execution.tenant_id)));
    fact("type", execution.kind.clone());
    fact("lane", Some(execution.lane.clone()));
    fact("topic", execution.topic.clone());
    fact("route", execution.route.as_ref().map(route));
    fact("completion", execution.completion.clone().filter(|how| how != "response"));
    fact("on failure", execution.on_failure.as_ref().map(|workflow| format!("tells {workflow}")));
    fact("tells of", execution.caused_by.clone());
    fact("message", execution.message_id.clone());
    fact("n8n", execution.n8n_execution_id.as_ref().map(|id| format!("execution {id}")));
    fact("trace", execution.trace.as_ref().map(|trace| trace.url.as_ref().unwrap_or(&trace.id).clone()));
    fact("replay of", execution.replay_of.clone());
    fact("replayed", execution.replayed_as.as_ref().map(|id| format!("as {id}")));
    fact("metadata", execution.metadata.as_ref().map(|json| json.get().to_owned()));
    lines
}

fn waiting(execution: &Execution) -> Option<String> {
    let waiting = execution.waiting_on.as_ref()?;
    let mut text = format!("for {}", waiting.kind);
    if let Some(since) = waiting.since.filter(|since| *since != execution.accepted_at) {
        text.push_str(&format!(" since {}", super::time(since)));
    }
    if let Some(until) = waiting.until {
        text.push_str(&format!(" until {}", super::time(until)));
    }
    if let Some(detail) = &waiting.detail {
        text.push_str(&format!(": {detail}"));
    }
    Some(text)
}

/// `succeeded` by itself would hide that a workflow was only started.
fn state(execution: &Execution) -> String {
    match (&execution.summary, &execution.evidence) {
        (Some(summary), _) => format!("{} ({summary})", execution.state),
        (None, Some(evidence)) => format!("{} (by {evidence})", execution.state),
        (None, None) => execution.state.clone(),
    }
}

fn timeline(execution: &Execution) -> Vec<String> {
    let mut events = vec![(execution.accepted_at, "accepted".to_owned())];
    let mut event = |at: Option<DateTime<Utc>>, what: &str| {
        events.extend(at.map(|at| (at, what.to_owned())));
    };
    let live = execution.finished_at.is_none();
    event(execution.deliver_at, "to be delivered");
    let accepted = Some(execution.accepted_at);
    event(execution.published_at.filter(|at| Some(*at) == accepted), "handed off to its topic");
    event(execution.published_at.filter(|at| Some(*at) != accepted), "last published by its timer");
    event(execution.expires_at.filter(|_| live), "expires");
    event(execution.due_at.filter(|_| live), "its timer rings");
    for attempt in &execution.attempts {
        attempted(attempt, &mut events);
    }
    // The outcome of the last attempt has said it already.
    let said = execution.attempts.last().and_then(|last| last.outcome.as_ref()) == Some(&execution.state);
    if let Some(at) = execution.finished_at.filter(|_| !said) {
        events.push((at, execution.state.clone()));
    }
    // A stable sort: what happened in one instant stays in the order above.
    events.sort_by_key(|(at, _)| *at);
    let start = execution.accepted_at;
    events
        .into_iter()
        .map(|(at, what)| format!("{}  {:>9}  {what}", super::time(at), since(start, at)))
        .collect()
}

fn attempted(attempt: &Attempt, events: &mut Vec<(DateTime<Utc>, String)>) {
    let name = format!("attempt {}", attempt.attempt);
    if let Some(at) = attempt.claimed_at {
        let message = attempt.message_id.as_ref().map(|id| format!(", message {id}")).unwrap_or_default();
        events.push((at, format!("{name}: claimed{message}")));
    }
    let Some(at) = attempt.finished_at else { return };
    let answered = match (attempt.http_status, &attempt.error) {
        (Some(status), Some(error)) if !error.contains(&status.to_string()) => {
            format!("answered {status}, {error}")
        }
        (_, Some(error)) => error.clone(),
        (Some(status), None) => format!("answered {status}"),
        (None, None) => "ended".to_owned(),
    };
    let outcome = attempt.outcome.as_ref().map(|outcome| format!(", {outcome}")).unwrap_or_default();
    events.push((at, format!("{name}: {answered}{outcome}")));
}

fn since(start: DateTime<Utc>, at: DateTime<Utc>) -> String {
    match (at - start).num_milliseconds() {
        0 => "0 ms".to_owned(),
        ms @ -9_999..=9_999 => format!("{ms:+} ms"),
        ms => format!("{:+} s", ms / 1000),
    }
}

#[cfg(test)]
mod tests;
