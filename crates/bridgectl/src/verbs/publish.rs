//! `bridgectl publish`: one execution, its payload from the command line, a file or a pipe.

use std::io::Read;

use anyhow::Context;
use bridge_protocol::{Lane, TenantId, WorkflowId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::{Exit, Failure, human};

#[derive(clap::Args)]
pub struct Args {
    /// The workflow's id: n8n's webhook path
    #[arg(long)]
    workflow: WorkflowId,
    /// Defaults to the token's tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// short, long, ai or analytics; the workflow's route decides when it is left out
    #[arg(long)]
    lane: Option<Lane>,
    /// The kind of work, for routing by type
    #[arg(long = "type")]
    kind: Option<String>,
    /// JSON, @file, or - for standard input
    #[arg(long, default_value = "{}")]
    payload: String,
    /// Idempotency key: the same key publishes once
    #[arg(long)]
    key: Option<String>,
    /// Deliver later: seconds, or 90s, 15m, 2h, 1d
    #[arg(long, value_parser = crate::args::seconds)]
    delay: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    workflow_id: &'a WorkflowId,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<Lane>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    /// Raw: the payload is published byte for byte.
    payload: &'a RawValue,
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    let payload = payload(&args.payload).map_err(|error| Failure::because(Exit::Usage, error))?;
    let answer = client.post("/pulsar/publish", &[], body(&args, &payload)?).await?;
    Ok(if json { answer.text } else { human::published::text(&answer.read) })
}

fn body(args: &Args, payload: &RawValue) -> Result<String, Failure> {
    let body = Body {
        workflow_id: &args.workflow,
        tenant_id: args.tenant.as_ref(),
        lane: args.lane,
        kind: args.kind.as_deref(),
        idempotency_key: args.key.as_deref(),
        delay_seconds: args.delay,
        payload,
    };
    serde_json::to_string(&body).map_err(|error| Failure::because(Exit::Failed, error))
}

fn payload(argument: &str) -> anyhow::Result<Box<RawValue>> {
    let text = match (argument, argument.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the payload from standard input")?;
            text
        }
        (_, Some(path)) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
        _ => argument.to_owned(),
    };
    RawValue::from_string(text.trim().to_owned())
        .context("the payload is not JSON; put a text into double quotes")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_payload_keeps_its_bytes() {
        let args = Args {
            workflow: "crm/sync".parse().unwrap(),
            tenant: None,
            lane: Some(Lane::Ai),
            kind: None,
            payload: String::new(),
            key: Some("k1".to_owned()),
            delay: Some(60),
        };
        let payload = payload(r#" {"b": 1.0, "a":[ ]} "#).unwrap();
        insta::assert_snapshot!(body(&args, &payload).unwrap(), @r#"{"workflow_id":"crm/sync","lane":"ai","idempotency_key":"k1","delay_seconds":60,"payload":{"b": 1.0, "a":[ ]}}"#);
    }

    #[test]
    fn a_payload_that_is_no_json_is_explained() {
        assert!(payload("hello").unwrap_err().to_string().contains("double quotes"));
    }
}
