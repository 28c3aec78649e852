//! `bridgectl trace`: what happened to an execution, as Jaeger has it.

use std::time::Duration;

use bridge_protocol::ExecutionId;
use bridge_service::clock::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::answers::traces::Traces;
use crate::args::moment;
use crate::{Exit, Failure, human};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A message's id does not tell when it was sent.
const LOOK_BACK: TimeDelta = TimeDelta::days(7);
/// An execution has a few: its first, and one for each step that came too late for that.
const MOST: u32 = 50;

/// Where people look at traces.
#[derive(clap::Args)]
pub struct Jaeger {
    /// Jaeger's address, e.g. http://jaeger:16686
    // Of its own: --url is a global argument with the id "url".
    #[arg(id = "jaeger_url", long = "jaeger", env = "BRIDGE_JAEGER_URL")]
    pub url: Option<Url>,
}

#[derive(clap::Args)]
pub struct Args {
    /// An execution's id, or a Pulsar message's (12:5:0)
    id: String,
    #[command(flatten)]
    jaeger: Jaeger,
    /// How far back a message's id is looked for: a time, or how long ago [default: 7d]
    #[arg(long, value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// A service that is asked about, by the name that its spans bear; several times for several
    // A trace that a consumer began has no span of a publisher.
    #[arg(long, value_name = "NAME", default_values = ["bridge-publisher", "bridge-consumer"])]
    service: Vec<String>,
}

pub async fn run(args: Args, json: bool) -> Result<String, Failure> {
    let Some(base) = &args.jaeger.url else {
        let fix = "no address of Jaeger: give --jaeger or BRIDGE_JAEGER_URL, e.g. http://jaeger:16686";
        return Err(Failure::new(Exit::Usage, fix));
    };
    let stranger = |error: serde_json::Error| {
        let what = format!("what answers at {base} is no Jaeger, or of another version: {error}");
        Failure::new(Exit::Failed, what)
    };
    let now = SystemClock.now();
    let mut all = Vec::new();
    for service in &args.service {
        let text = ask(query(base, &args, service, now)?).await?;
        merge(&mut all, serde_json::from_str::<Answer>(&text).map_err(stranger)?);
    }
    let all = json!({ "data": all });
    let found: Traces = Traces::deserialize(&all).map_err(stranger)?;
    if found.data.is_empty() {
        let why = "it may not have been sampled, be older than Jaeger keeps them, or come in a moment";
        return Err(Failure::new(Exit::NotFound, format!("Jaeger has no trace of {}: {why}", args.id)));
    }
    Ok(if json { all.to_string() } else { human::trace::text(&found, base) })
}

/// As far as it must be known to put two together.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<Value>,
}

/// A trace in which both services have spans is found by each, and is whole each time.
fn merge(all: &mut Vec<Value>, answer: Answer) {
    for trace in answer.data {
        if all.iter().all(|known| known["traceID"] != trace["traceID"]) {
            all.push(trace);
        }
    }
}

/// A trace by its tag, through the first version of Jaeger's API: the third passes over tags in silence.
fn query(base: &Url, args: &Args, service: &str, now: DateTime<Utc>) -> Result<Url, Failure> {
    let (tag, from) = match args.id.parse::<ExecutionId>() {
        // Its id tells when it was accepted; clocks may differ.
        Ok(id) => ("execution.id", args.since.unwrap_or(id.created_at() - TimeDelta::minutes(5))),
        Err(_) if is_message_id(&args.id) => ("messaging.message.id", args.since.unwrap_or(now - LOOK_BACK)),
        Err(_) => {
            let what = format!("{:?} is neither an execution's id nor a message's, such as 12:5:0", args.id);
            return Err(Failure::new(Exit::Usage, what));
        }
    };
    let mut url = base.clone();
    let path = format!("{}/api/traces", base.path().trim_end_matches('/'));
    url.set_path(&path);
    let tags = json!({ tag: args.id }).to_string();
    url.query_pairs_mut()
        .append_pair("service", service)
        .append_pair("tags", &tags)
        .append_pair("start", &from.timestamp_micros().to_string())
        .append_pair("end", &(now + TimeDelta::minutes(5)).timestamp_micros().to_string())
        .append_pair("limit", &MOST.to_string());
    Ok(url)
}

/// Ledger, entry, partition, and more where messages come in batches.
fn is_message_id(text: &str) -> bool {
    let mut parts = text.split(':');
    let number = |part: &str| {
        let digits = part.strip_prefix('-').unwrap_or(part);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    (2..=4).contains(&text.split(':').count()) && parts.all(number)
}

async fn ask(url: Url) -> Result<String, Failure> {
    let unreachable = |error: reqwest::Error| {
        let error = anyhow::Error::from(error.without_url()).context("Jaeger did not answer");
        Failure::because(Exit::Unavailable, error)
    };
    let http = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).timeout(ANSWER_LIMIT).build();
    let http = http.map_err(|error| Failure::because(Exit::Failed, error))?;
    let answer = http.get(url).send().await.map_err(unreachable)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    if status.is_success() {
        return Ok(text);
    }
    let exit = if status.is_server_error() { Exit::Unavailable } else { Exit::Failed };
    let head: String = text.chars().take(200).collect();
    Err(Failure::new(exit, format!("Jaeger answered {status}: {head}")))
}

/// The page of one trace.
pub fn link(jaeger: &Url, trace: &str) -> String {
    format!("{}/trace/{trace}", jaeger.as_str().trim_end_matches('/'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn asked(id: &str) -> Result<String, Failure> {
        let base: Url = "http://jaeger:16686/below".parse().unwrap();
        let jaeger = Jaeger { url: Some(base.clone()) };
        let args = Args { id: id.to_owned(), jaeger, since: None, service: Vec::new() };
        query(&base, &args, "bridge-publisher", "2026-11-21T10:00:00Z".parse().unwrap()).map(String::from)
    }

    #[test]
    fn a_trace_is_looked_for_by_the_id_of_an_execution_or_of_a_message() {
        insta::assert_snapshot!(asked("019aa5c1-0000-7000-8000-000000000001").unwrap(), @"http://jaeger:16686/below/api/traces?service=bridge-publisher&tags=%7B%22execution.id%22%3A%22019aa5c1-0000-7000-8000-000000000001%22%7D&start=1763717180448000&end=1795255500000000&limit=50");
        insta::assert_snapshot!(asked("12:5:-1").unwrap(), @"http://jaeger:16686/below/api/traces?service=bridge-publisher&tags=%7B%22messaging.message.id%22%3A%2212%3A5%3A-1%22%7D&start=1794650400000000&end=1795255500000000&limit=50");
        for wrong in ["", "12", "12:x", "hello", "1:2:3:4:5"] {
            assert_eq!(asked(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn what_both_services_know_is_there_once() {
        let answer = |ids: &[&str]| Answer { data: ids.iter().map(|id| json!({ "traceID": id })).collect() };
        let mut all = Vec::new();
        merge(&mut all, answer(&["a", "b"]));
        merge(&mut all, answer(&["b", "c"]));
        assert_eq!(json!(all), json!([{ "traceID": "a" }, { "traceID": "b" }, { "traceID": "c" }]));
    }

    #[test]
    fn the_page_of_a_trace() {
        assert_eq!(link(&"http://j:16686/".parse().unwrap(), "ab"), "http://j:16686/trace/ab");
    }
}
