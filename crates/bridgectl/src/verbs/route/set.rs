//! `bridgectl route set`: some fields of one route. The others stay as they are.

use bridge_protocol::{BodyShape, Completion, Lane, Mode, OnUnknown, WorkflowId};
use serde_json::{Map, Value, json};

use super::{Which, path};
use crate::answers::routes::Entry;
use crate::client::Client;
use crate::verbs::of::Of;
use crate::{Exit, Failure, human};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    fields: Fields,
    /// Any other field, as JSON where it is no plain text: retry.max_attempts=5, success.json_field.pointer=/ok
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = named)]
    more: Vec<(String, Value)>,
    /// Take a field out of the route; again for several
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Begin with an empty route, not with the present one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args, Default)]
#[command(next_help_heading = "Fields")]
struct Fields {
    /// short, long, ai or analytics
    #[arg(long)]
    lane: Option<Lane>,
    /// pulsar or native
    #[arg(long)]
    mode: Option<Mode>,
    /// response or callback
    #[arg(long)]
    completion: Option<Completion>,
    /// Where it is fired; may hold {workflow_id}
    #[arg(long)]
    webhook_url: Option<String>,
    /// The webhook's time limit in milliseconds
    #[arg(long)]
    timeout_ms: Option<u64>,
    /// How long a callback may take, e.g. 2h
    #[arg(long, value_parser = crate::args::seconds)]
    callback_timeout: Option<u64>,
    /// The workflow that is told of a bad end
    #[arg(long)]
    on_failure: Option<WorkflowId>,
    /// When nobody knows whether it ran: retry or dead_letter
    #[arg(long)]
    on_unknown: Option<OnUnknown>,
    /// So many at once
    #[arg(long)]
    max_concurrency: Option<u32>,
    /// The name of a credential (bridgectl credential put)
    #[arg(long)]
    credential: Option<String>,
    /// envelope or payload
    #[arg(long)]
    body: Option<BodyShape>,
    /// 0 to 9; 9 goes first
    #[arg(long)]
    priority: Option<u8>,
    /// false: accepted as ever, not fired
    #[arg(long)]
    active: Option<bool>,
}

impl Fields {
    fn given(&self) -> Map<String, Value> {
        let on_failure = self.on_failure.as_ref().map(|id| json!({ "workflow_id": id }));
        let all = [
            ("lane", self.lane.map(|value| json!(value))),
            ("mode", self.mode.map(|value| json!(value))),
            ("completion", self.completion.map(|value| json!(value))),
            ("webhook_url", self.webhook_url.as_ref().map(|value| json!(value))),
            ("timeout_ms", self.timeout_ms.map(|value| json!(value))),
            ("callback_timeout_s", self.callback_timeout.map(|value| json!(value))),
            ("on_failure", on_failure),
            ("on_unknown", self.on_unknown.map(|value| json!(value))),
            ("max_concurrency", self.max_concurrency.map(|value| json!(value))),
            ("credential", self.credential.as_ref().map(|value| json!(value))),
            ("body", self.body.map(|value| json!(value))),
            ("priority", self.priority.map(|value| json!(value))),
            ("is_active", self.active.map(|value| json!(value))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    let given = args.fields.given();
    if given.is_empty() && args.more.is_empty() && args.unset.is_empty() && !args.replace {
        let fix = "say what to set, e.g. bridgectl route set crm/sync --lane ai; bridgectl route set --help lists the fields";
        return Err(Failure::new(Exit::Usage, fix));
    }
    let path = path(&args.which.name());
    let query = args.of.query();
    let mut route = match args.replace {
        true => json!({}),
        false => match client.get::<Entry>(&path, &query).await {
            Ok(present) => present.read.route,
            Err(failure) if failure.exit == Exit::NotFound => json!({}),
            Err(failure) => return Err(failure),
        },
    };
    for name in &args.unset {
        unset(&mut route, name);
    }
    for (name, value) in given.into_iter().chain(args.more) {
        set(&mut route, &name, value);
    }
    let answer = client.put::<Entry>(&path, &query, route.to_string()).await?;
    Ok(if json { answer.text } else { human::routes::set(&answer.read) })
}

/// `retry.max_attempts` is a field of a field.
fn set(route: &mut Value, name: &str, value: Value) {
    let mut at = route;
    for part in name.split('.') {
        // What stands there as plain text gives way.
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

fn unset(route: &mut Value, name: &str) {
    let (place, last) = name.rsplit_once('.').unwrap_or(("", name));
    let pointer = place
        .split('.')
        .filter(|part| !part.is_empty())
        .fold(String::new(), |all, part| format!("{all}/{part}"));
    if let Some(Value::Object(map)) = route.pointer_mut(&pointer) {
        map.remove(last);
    }
}

fn named(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=VALUE, e.g. retry.max_attempts=5")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn fields_of_fields_are_set_and_taken_out() {
        let mut route =
            json!({ "lane": "short", "success": "any", "retry": { "max_attempts": 3, "base_ms": 1 } });
        set(&mut route, "retry.max_attempts", json!(5));
        set(&mut route, "success.json_field.pointer", json!("/ok"));
        unset(&mut route, "retry.base_ms");
        unset(&mut route, "lane");
        unset(&mut route, "no.such");
        let wanted =
            json!({ "success": { "json_field": { "pointer": "/ok" } }, "retry": { "max_attempts": 5 } });
        assert_eq!(route, wanted);
        assert_eq!(named("retry.max_attempts=5").unwrap(), ("retry.max_attempts".to_owned(), json!(5)));
        assert!(named("retry").is_err());
    }
}
