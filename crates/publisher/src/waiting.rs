//! Why nothing happens to an execution right now: from its row, the routes and holds, and what the consumers say of
//! themselves.

use bridge_protocol::{RouteTable, State, Time};
use bridge_store::{Execution, MemberRow};
use bridge_webhook::Endpoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Why nothing happens right now.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct WaitingOn {
    /// delay, retry, hold, breaker, concurrency, callback, pulsar or consumer_absent.
    pub kind: &'static str,
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub detail: String,
}

/// What is known besides the execution's row.
pub struct Known<'a> {
    pub routes: &'a RouteTable,
    /// The daemons that are alive; None: nobody knows.
    pub members: Option<&'a [MemberRow]>,
    /// The tenant is suspended.
    pub suspended: bool,
    pub topic: &'a str,
    pub now: Time,
}

pub fn waiting_on(execution: &Execution, known: &Known) -> Option<WaitingOn> {
    let since = execution.attempts.last().map_or(execution.accepted_at, |attempt| attempt.finished_at);
    let waits = |kind, until, detail: String| Some(WaitingOn { kind, since: Some(since), until, detail });
    let due = execution.due_at.filter(|due| *due > known.now);
    match execution.state {
        State::Accepted | State::Retrying => {}
        State::Waiting => {
            let since = execution.claimed_at.or(Some(since));
            let detail = "the workflow was started and has not reported its result yet".to_owned();
            return Some(WaitingOn { kind: "callback", since, until: execution.due_at, detail });
        }
        State::Running if execution.lease_until.is_some_and(|lease| lease <= known.now) => {
            let detail = "whoever fired it has not been heard of since; it is taken over".to_owned();
            return waits("retry", due, detail);
        }
        _ => return None,
    }
    if let Some(at) = execution.deliver_at.filter(|at| *at > known.now) {
        return waits("delay", Some(at), "delivered at the time it was asked for".to_owned());
    }
    let target = known.routes.target(&execution.tenant, &execution.workflow, execution.lane);
    let url = Url::parse(&target.url).ok();
    if let Some(why) = held(execution, known, &target, url.as_ref()) {
        return waits("hold", None, why);
    }
    // The timer is the retry's own until it has published; then it only watches over the message.
    if execution.state == State::Retrying
        && execution.parks == 0
        && execution.published_at.is_none()
        && due.is_some()
    {
        return waits("retry", due, format!("attempt {} failed; the next one follows", execution.attempt));
    }
    // A consumer that has lost its topics because the broker is away is not what is missing.
    if known.members.is_some_and(broker_is_away) {
        let detail = "the broker is out of reach; it is published when it is back".to_owned();
        return waits("pulsar", None, detail);
    }
    let consumers = consumers(known.members);
    if let Some(consumers) = &consumers {
        if consumers.is_empty() {
            let detail = "no consumer is running; start one".to_owned();
            return waits("consumer_absent", None, detail);
        }
        if consumers.iter().all(|consumer| lacks(consumer, known.topic)) {
            let detail =
                format!("no consumer is connected to {}; the consumers' readiness says why", known.topic);
            return waits("consumer_absent", None, detail);
        }
        let endpoint = url.as_ref().map(|url| Endpoint::of(url).to_string());
        let open = consumers.iter().find_map(|consumer| breaker(consumer, endpoint.as_deref()?));
        if let Some(until) = open {
            let detail = format!("{} keeps failing; it is tried again then", endpoint.unwrap_or_default());
            return waits("breaker", Some(until), detail);
        }
    }
    let busy = consumers.is_some_and(|all| all.iter().all(|consumer| consumer.detail["slots_free"] == 0));
    if execution.parks > 0 && execution.published_at.is_none() && due.is_some() {
        // What was never tried has an error only when it was claimed and not sent.
        let unsent = execution.error.as_deref().filter(|_| execution.state == State::Accepted);
        let why = unsent.unwrap_or("no free slot for its workflow, host or lane");
        let detail = format!("parked {} times: {why}", execution.parks);
        return waits("concurrency", due, detail);
    }
    if busy {
        return waits("concurrency", None, "the consumers have as much at work as they may".to_owned());
    }
    waits("pulsar", None, "on its way through the topic to a consumer".to_owned())
}

fn held(
    execution: &Execution,
    known: &Known,
    target: &bridge_protocol::Target,
    url: Option<&Url>,
) -> Option<String> {
    if known.suspended {
        return Some("the tenant is suspended".to_owned());
    }
    if !target.is_active {
        return Some("the workflow's route is inactive; set is_active to let it go".to_owned());
    }
    let host = url.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    let hold = known.routes.hold(&execution.tenant, &execution.workflow, execution.lane, host.as_deref())?;
    Some(format!("hold {}: {}", hold.id, hold.reason))
}

fn consumers(members: Option<&[MemberRow]>) -> Option<Vec<&MemberRow>> {
    Some(members?.iter().filter(|member| member.kind == "consumer").collect())
}

/// By the word of every publisher that has one.
fn broker_is_away(members: &[MemberRow]) -> bool {
    let said = members.iter().filter(|member| member.kind == "publisher");
    let mut said = said.filter_map(|member| member.detail["broker_up"].as_bool()).peekable();
    said.peek().is_some() && said.all(|up| !up)
}

/// Only what it says itself: one that says nothing of its topics is taken to have them.
fn lacks(consumer: &MemberRow, topic: &str) -> bool {
    let lost = &consumer.detail["topics_lost"];
    lost.as_array().is_some_and(|lost| lost.iter().any(|name| name == topic))
}

/// Until when its breaker for this endpoint is open.
fn breaker(consumer: &MemberRow, endpoint: &str) -> Option<Time> {
    let open = consumer.detail["breakers"].as_array()?.iter().find(|open| open["endpoint"] == endpoint)?;
    Time::deserialize(&open["until"]).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
