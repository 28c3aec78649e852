//! Which executions are meant: the same flags for a list and for many at once.

use bridge_protocol::{Lane, Reason, State, WorkflowId};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Filter {
    /// In this state, e.g. retrying or dead_lettered; several with commas
    #[arg(long, value_delimiter = ',')]
    pub state: Vec<State>,
    /// Of this workflow
    #[arg(long)]
    pub workflow: Option<WorkflowId>,
    /// Of this lane: short, long, ai or analytics
    #[arg(long)]
    pub lane: Option<Lane>,
    /// Accepted from this time on: 2026-11-21T10:00:00Z, or 15m, 2h, 1d ago
    #[arg(long, value_parser = crate::args::moment)]
    pub since: Option<DateTime<Utc>>,
    /// Accepted before this time
    #[arg(long, value_parser = crate::args::moment)]
    pub until: Option<DateTime<Utc>>,
    /// Given up for this reason, e.g. attempts_exhausted
    #[arg(long)]
    pub reason: Option<Reason>,
    /// With this metadata: key=value, again for several; a value that is JSON is taken as JSON
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    pub metadata: Vec<(String, Value)>,
}

impl Filter {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let states: Vec<&str> = self.state.iter().map(|state| state.as_str()).collect();
        let named = [
            ("state", (!states.is_empty()).then(|| states.join(","))),
            ("workflow_id", self.workflow.as_ref().map(ToString::to_string)),
            ("lane", self.lane.map(|lane| lane.as_str().to_owned())),
            ("since", self.since.map(text)),
            ("until", self.until.map(text)),
            ("reason", self.reason.map(|reason| reason.as_str().to_owned())),
            ("metadata", self.metadata().map(|metadata| metadata.to_string())),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// As the routes for many executions take it.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        add("state", (!self.state.is_empty()).then(|| json!(self.state)));
        add("workflow_id", self.workflow.as_ref().map(|id| json!(id)));
        add("lane", self.lane.map(|lane| json!(lane)));
        add("since", self.since.map(|at| json!(text(at))));
        add("until", self.until.map(|at| json!(text(at))));
        add("reason", self.reason.map(|reason| json!(reason)));
        add("metadata", self.metadata());
        Value::Object(body)
    }

    /// The flags that mean the same; a time that was relative stands there as it was understood.
    pub fn flags(&self) -> String {
        let mut flags: Vec<String> = self.state.iter().map(|state| format!(" --state {state}")).collect();
        flags.extend(self.workflow.iter().map(|id| format!(" --workflow {id}")));
        flags.extend(self.lane.iter().map(|lane| format!(" --lane {lane}")));
        flags.extend(self.since.iter().map(|at| format!(" --since {}", text(*at))));
        flags.extend(self.until.iter().map(|at| format!(" --until {}", text(*at))));
        flags.extend(self.reason.iter().map(|reason| format!(" --reason {reason}")));
        flags.extend(self.metadata.iter().map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!(" --metadata '{key}={value}'")
        }));
        flags.concat()
    }

    pub fn is_empty(&self) -> bool {
        self.query().is_empty()
    }

    fn metadata(&self) -> Option<Value> {
        let pairs: Map<String, Value> = self.metadata.iter().cloned().collect();
        (!pairs.is_empty()).then_some(Value::Object(pairs))
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn pair(text: &str) -> Result<(String, Value), String> {
    let (key, value) =
        text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("expected key=value, e.g. ticket=7")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub mod tests {
    use super::*;

    pub fn full() -> Filter {
        Filter {
            state: vec![State::Retrying, State::DeadLettered],
            workflow: Some("crm/sync".parse().unwrap()),
            lane: Some(Lane::Ai),
            since: Some(crate::args::moment("2026-11-21T10:00:00Z").unwrap()),
            until: Some(crate::args::moment("2026-11-21T11:00:00Z").unwrap()),
            reason: Some(Reason::AttemptsExhausted),
            metadata: vec![pair("ticket=7").unwrap(), pair("team=sales").unwrap()],
        }
    }

    #[test]
    fn every_flag_is_in_the_query_the_body_and_the_suggestion() {
        let query: Vec<_> = full().query().iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(query.join("\n"), @r#"
        state=retrying,dead_lettered
        workflow_id=crm/sync
        lane=ai
        since=2026-11-21T10:00:00.000Z
        until=2026-11-21T11:00:00.000Z
        reason=attempts_exhausted
        metadata={"team":"sales","ticket":7}
        "#);
        insta::assert_snapshot!(full().body(), @r#"{"lane":"ai","metadata":{"team":"sales","ticket":7},"reason":"attempts_exhausted","since":"2026-11-21T10:00:00.000Z","state":["retrying","dead_lettered"],"until":"2026-11-21T11:00:00.000Z","workflow_id":"crm/sync"}"#);
        insta::assert_snapshot!(full().flags().trim_start(), @"--state retrying --state dead_lettered --workflow crm/sync --lane ai --since 2026-11-21T10:00:00.000Z --until 2026-11-21T11:00:00.000Z --reason attempts_exhausted --metadata 'ticket=7' --metadata 'team=sales'");
        assert!(Filter::default().is_empty() && !full().is_empty());
    }

    #[test]
    fn metadata_needs_a_key() {
        assert!(pair("ticket").is_err() && pair("=7").is_err());
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), json!("b=c")));
    }
}
