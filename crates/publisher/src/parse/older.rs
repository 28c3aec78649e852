//! A request of the older bridge: a JSON object of any shape that names a workflow.

use std::collections::HashMap;

use bridge_protocol::{PayloadHash, TenantId, WorkflowId};
use bridge_service::Problem;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Check, Publish, Schedule, idempotency_key, invalid, lenient, malformed};
use crate::body::too_large;

pub struct Older {
    pub tenant: Option<TenantId>,
    workflow: WorkflowId,
    payload: Bytes,
    key: Option<String>,
    warnings: Vec<String>,
}

/// `workflow_id`, and the payload in `payload` or `data`; without either, the whole object is the payload, as it was.
/// A caller's own `execution_id` makes a repetition safe.
pub fn older(body: &Bytes, limit: usize) -> Result<Older, Problem> {
    let text = body.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(body);
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(text).map_err(|error| {
        malformed(format!("the body is not a JSON object: {error}; correct it at that place"))
    })?;
    let mut faults = Vec::new();
    let mut check = Check { faults: &mut faults };
    let field = |name: &str| fields.get(name).copied();
    let tenant = check.parsed("tenant_id", field("tenant_id"), |text| {
        TenantId::parse(text).map_err(|error| error.to_string())
    });
    if lenient::absent(field("workflow_id")) {
        check.fault("workflow_id", "is missing; give the path of the workflow's webhook");
    }
    let workflow = check.parsed("workflow_id", field("workflow_id"), |text| {
        WorkflowId::parse(text).map_err(|error| error.to_string())
    });
    let key = check.parsed("execution_id", field("execution_id"), idempotency_key);
    let (Some(workflow), true) = (workflow, faults.is_empty()) else { return Err(invalid(faults)) };
    let payload = match field("payload").or_else(|| field("data")) {
        Some(raw) => body.slice_ref(raw.get().as_bytes()),
        None => body.slice_ref(text.trim_ascii()),
    };
    if payload.len() > limit {
        return Err(too_large(limit));
    }
    let unused = ["priority", "callback_url"].into_iter().filter(|name| !lenient::absent(field(name)));
    let warnings = unused
        .map(|name| format!("{name} is not used here; the workflow's route decides (see /pulsar/workflows)"))
        .collect();
    Ok(Older { tenant, workflow, payload, key, warnings })
}

impl Older {
    pub fn publish(self, tenant: TenantId) -> Publish {
        let mut publish = Publish {
            tenant,
            workflow: self.workflow,
            kind: None,
            lane: None,
            completion: None,
            psh: PayloadHash::of(&self.payload),
            payload: self.payload,
            schedule: Schedule::default(),
            metadata: None,
            idempotency_key: self.key,
            digest: [0; 32],
            warnings: self.warnings,
        };
        publish.digest = super::digest::of(&publish);
        publish
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<Publish, Problem> {
        older(&Bytes::from_static(body.as_bytes()), 100)
            .map(|older| older.publish(TenantId::parse("acme").unwrap()))
    }

    #[test]
    fn the_payload_is_where_it_was() {
        let payload = |body| read(body).unwrap().payload;
        assert_eq!(payload(r#"{"workflow_id":"w","payload":{ "a":1.0 },"data":2}"#), r#"{ "a":1.0 }"#);
        assert_eq!(payload(r#"{"workflow_id":"w","data":[1]}"#), "[1]");
        assert_eq!(payload(" {\"workflow_id\":\"w\",\"x\":1} "), r#"{"workflow_id":"w","x":1}"#);
    }

    #[test]
    fn an_own_id_is_a_key_and_what_is_not_used_is_said() {
        let read =
            read(r#"{"workflow_id":7,"execution_id":"mine-1","priority":"high","callback_url":""}"#).unwrap();
        assert_eq!((read.workflow.as_str(), read.idempotency_key.as_deref()), ("7", Some("mine-1")));
        assert_eq!(read.warnings.len(), 1);
    }

    #[test]
    fn what_cannot_be_queued_is_refused_by_name() {
        let faults = |body| read(body).unwrap_err().errors().len();
        assert_eq!(faults("{}"), 1);
        assert_eq!(faults(r#"{"workflow_id":"","execution_id":"a b","tenant_id":"Not One"}"#), 3);
        assert!(read("[]").is_err() && read("").is_err() && read(r#"{"workflow_id":"w"} x"#).is_err());
    }
}
