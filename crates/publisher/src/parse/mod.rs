//! From the bytes of a publish request to something that can be accepted, or to everything that is wrong with it.
//! The payload is never taken apart: it is a slice of the body.

mod digest;
mod fields;
mod lenient;
mod older;
mod report;
mod schedule;

#[cfg(test)]
mod tests;

use bridge_protocol::{Completion, Lane, PayloadHash, TenantId, Time, WorkflowId};
use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

use crate::app::Limits;
use crate::body::too_large;
pub use fields::items;
use fields::{Fields, PUBLISH};
pub use older::older;
pub use report::{Reported, report, too_large as result_too_large};
pub use schedule::Schedule;

/// A checked publish request.
#[derive(Debug)]
pub struct Publish {
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    pub kind: Option<String>,
    /// The lane that was asked for.
    pub lane: Option<Lane>,
    /// The completion that was asked for.
    pub completion: Option<Completion>,
    pub payload: Bytes,
    pub psh: PayloadHash,
    pub schedule: Schedule,
    /// JSON text of an object.
    pub metadata: Option<String>,
    pub idempotency_key: Option<String>,
    /// What an idempotency key stands for.
    pub digest: [u8; 32],
    pub warnings: Vec<String>,
}

/// What a request is checked against.
pub struct Context<'a> {
    /// Whose it is when it names this tenant, or none; it may name none of others.
    pub tenant: &'a (dyn Fn(Option<&TenantId>) -> Result<TenantId, Problem> + 'a),
    pub limits: &'a Limits,
    pub now: Time,
    /// The `Idempotency-Key` header.
    pub header_key: Option<&'a str>,
}

const METADATA_BYTES: usize = 16 * 1024;
const KIND_BYTES: usize = 100;

/// Reads one publish request. `text` is a part of `body`, in which the payload is found again without a copy.
pub fn publish(body: &Bytes, text: &[u8], context: &Context<'_>) -> Result<Publish, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(text, &PUBLISH, &mut faults)?;
    let mut check = Check { faults: &mut faults };

    let tenant = check.parsed("tenant_id", fields.take("tenant_id"), |text| {
        TenantId::parse(text).map_err(|error| error.to_string())
    });
    let workflow = fields.take("workflow_id");
    if lenient::absent(workflow) {
        check.fault("workflow_id", "is missing; give the path of the workflow's webhook");
    }
    let workflow = check
        .parsed("workflow_id", workflow, |text| WorkflowId::parse(text).map_err(|error| error.to_string()));
    let kind = check.parsed("type", fields.take("type"), kind);
    let lane = check.parsed("lane", fields.take("lane"), |text| {
        text.parse::<Lane>().map_err(|_| {
            let hint =
                bridge_service::suggest::did_you_mean(text, Lane::ALL.iter().map(|lane| lane.as_str()));
            format!("must be one of short, long, ai, analytics{hint}")
        })
    });
    let completion = check.parsed("completion", fields.take("completion"), |text| {
        text.parse::<Completion>().map_err(|_| "must be \"response\" or \"callback\"".to_owned())
    });
    let key = check.parsed("idempotency_key", fields.take("idempotency_key"), idempotency_key);
    let header_key = context.header_key.map(str::trim).filter(|key| !key.is_empty());
    let header_key = header_key
        .and_then(|key| idempotency_key(key).map_err(|fault| check.fault("Idempotency-Key", fault)).ok());
    if let (Some(field), Some(header)) = (&key, &header_key)
        && field != header
    {
        check.fault("idempotency_key", "differs from the Idempotency-Key header; give one of them");
    }
    let metadata = fields.take("metadata").and_then(|raw| match lenient::object(raw, METADATA_BYTES) {
        Ok(text) => text,
        Err(fault) => {
            check.fault("metadata", fault);
            None
        }
    });
    let schedule = schedule::read(&mut fields, &mut check, context);
    let payload = fields.take("payload");
    if payload.is_none() {
        check.fault("payload", "is missing; give any JSON value, for example {}");
    }

    // Whose it is comes before what is wrong with it.
    let tenant = match (context.tenant)(tenant.as_ref()) {
        Err(_) if faults.iter().any(|fault| fault.field == "tenant_id") => return Err(invalid(faults)),
        whose => whose?,
    };
    if payload.is_some_and(|raw| raw.get().len() > context.limits.payload_bytes) {
        return Err(too_large(context.limits.payload_bytes));
    }
    let (Some(workflow), Some(payload), true) = (workflow, payload, faults.is_empty()) else {
        return Err(invalid(faults));
    };
    let warnings = lenient::holds_json(payload).then(|| WARNING.to_owned()).into_iter().collect();
    let payload = body.slice_ref(payload.get().as_bytes());
    let psh = PayloadHash::of(&payload);
    let mut publish = Publish {
        tenant,
        workflow,
        kind,
        lane,
        completion,
        payload,
        psh,
        schedule,
        metadata,
        idempotency_key: key.or(header_key),
        digest: [0; 32],
        warnings,
    };
    publish.digest = digest::of(&publish);
    Ok(publish)
}

const WARNING: &str = "payload is a string that holds JSON; it is delivered as that string. Send the object itself if that is meant";

fn kind(text: &str) -> Result<String, String> {
    if text.len() > KIND_BYTES || text.chars().any(char::is_control) {
        return Err(format!("must be at most {KIND_BYTES} bytes without control characters"));
    }
    Ok(text.to_owned())
}

fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 255 visible ASCII characters without spaces".to_owned())
    }
}

/// A key that the bridge makes for itself. It begins with a space, which no caller's may hold: theirs never meet it.
pub fn own_key(text: std::fmt::Arguments<'_>) -> String {
    format!(" {text}")
}

/// The `Idempotency-Key` header where no body repeats it; empty is absent.
pub fn checked_header_key(key: &str) -> Result<Option<String>, Problem> {
    match key.trim() {
        "" => Ok(None),
        key => idempotency_key(key).map(Some).map_err(header_fault),
    }
}

pub fn bad_header_key() -> Problem {
    header_fault("must be 1 to 255 visible ASCII characters without spaces".to_owned())
}

pub fn header_key_on_a_batch() -> Problem {
    header_fault("belongs to a single request; give every item of a batch its own idempotency_key".to_owned())
}

fn header_fault(message: String) -> Problem {
    invalid(vec![FieldError { field: "Idempotency-Key".into(), message }])
}

/// Collects what is wrong, field by field.
pub(crate) struct Check<'f> {
    faults: &'f mut Vec<FieldError>,
}

impl Check<'_> {
    pub fn fault(&mut self, field: &'static str, message: impl Into<String>) {
        self.faults.push(FieldError { field: field.into(), message: message.into() });
    }

    /// A field that is text; absent and faulty both come back as `None`.
    pub fn parsed<T>(
        &mut self,
        field: &'static str,
        raw: Option<&RawValue>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match lenient::text(raw?).and_then(|text| text.map(|text| parse(&text)).transpose()) {
            Ok(value) => value,
            Err(fault) => {
                self.fault(field, fault);
                None
            }
        }
    }
}

/// All bad fields at once; the detail repeats them for clients that show nothing else.
pub fn invalid(faults: Vec<FieldError>) -> Problem {
    let list: Vec<String> =
        faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", list.join("; "))
        .with_errors(faults)
}

pub fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON", detail)
}
