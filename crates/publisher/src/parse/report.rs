//! A workflow's report of its result. As lenient as n8n writes: numbers and objects also as strings, `""` is absent.

use bridge_service::Problem;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::fields::{Fields, Shape};
use super::{Check, invalid, lenient};

static SHAPE: Shape =
    Shape { what: "a report", known: &["status", "result", "error", "n8n_execution_id"], needed: "status" };
/// An error is a line for people; all of it may stand in the result.
const ERROR: usize = 300;
const JSON: &str = "application/json";

#[derive(Debug, PartialEq)]
pub struct Reported {
    pub success: bool,
    /// JSON, byte for byte as it came.
    pub result: Option<Bytes>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
}

impl Reported {
    /// The type of the result.
    pub const CONTENT_TYPE: &'static str = JSON;

    /// The same report has the same digest, however its body is written around it.
    pub fn digest(&self) -> [u8; 32] {
        let parts: [Option<&[u8]>; 3] = [
            self.result.as_deref(),
            self.error.as_deref().map(str::as_bytes),
            self.n8n_execution_id.as_deref().map(str::as_bytes),
        ];
        let mut hash = Sha256::new_with_prefix(b"bridge report v1");
        hash.update([u8::from(self.success)]);
        for part in parts {
            hash.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// # Errors
/// Names every bad field. `limit` is for the result.
pub fn report(body: &Bytes, limit: usize) -> Result<Reported, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &SHAPE, &mut faults)?;
    let mut check = Check { faults: &mut faults };
    let status = fields.take("status");
    if lenient::absent(status) {
        check.fault("status", "is missing; give \"success\" or \"error\"");
    }
    let success = check.parsed("status", status, |text| match text.trim().to_ascii_lowercase().as_str() {
        "success" | "succeeded" | "ok" => Ok(true),
        "error" | "failed" | "failure" => Ok(false),
        _ => Err("must be \"success\" or \"error\"".to_owned()),
    });
    // null is a result; an expression that found nothing is not.
    let result = fields.take("result").filter(|raw| raw.get() != "\"\"");
    if result.is_some_and(|raw| raw.get().len() > limit) {
        return Err(too_large(limit));
    }
    let error = fields.take("error").and_then(|raw| match said(raw) {
        Ok(text) => text,
        Err(fault) => {
            check.fault("error", fault);
            None
        }
    });
    let n8n_execution_id = check.parsed("n8n_execution_id", fields.take("n8n_execution_id"), |text| {
        let plain = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain {
            Ok(text.to_owned())
        } else {
            Err("must be at most 64 visible ASCII characters".to_owned())
        }
    });
    let (Some(success), true) = (success, faults.is_empty()) else { return Err(invalid(faults)) };
    let result = result.map(|raw| body.slice_ref(raw.get().as_bytes()));
    Ok(Reported { success, result, error: error.filter(|_| !success), n8n_execution_id })
}

/// n8n's error objects have their text in `message`.
fn said(raw: &RawValue) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Object {
        message: String,
    }
    let text = match raw.get().as_bytes().first() {
        Some(b'{' | b'[') => match serde_json::from_str::<Object>(raw.get()) {
            Ok(object) if !object.message.contains('\0') => object.message,
            _ => raw.get().to_owned(),
        },
        _ => match lenient::text(raw)? {
            Some(text) => text.into_owned(),
            None => return Ok(None),
        },
    };
    Ok(Some(text.chars().filter(|c| !c.is_control()).take(ERROR).collect()))
}

pub fn too_large(limit: usize) -> Problem {
    let detail =
        format!("a result may have {limit} bytes; store larger data elsewhere and report a reference to it");
    Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, "result-too-large", "Result too large", detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Reported, Problem> {
        report(&Bytes::copy_from_slice(body.as_bytes()), 100)
    }

    fn faults(body: &str) -> Vec<String> {
        read(body).unwrap_err().errors().iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn a_success_keeps_its_result_byte_for_byte() {
        let said =
            read(r#"{"status": "Success", "result": { "b" : 1.00,"a":[ ] }, "n8n_execution_id": 231}"#);
        let said = said.unwrap();
        assert_eq!(said.result.as_deref(), Some(br#"{ "b" : 1.00,"a":[ ] }"#.as_slice()));
        assert_eq!((said.success, said.n8n_execution_id.as_deref()), (true, Some("231")));
        for (body, success) in [("ok", true), ("succeeded", true), ("failed", false), ("ERROR", false)] {
            assert_eq!(read(&format!(r#"{{"status": "{body}"}}"#)).unwrap().success, success);
        }
        assert_eq!(read(r#"{"status":"ok","result":""}"#).unwrap().result, None);
        assert_eq!(read(r#"{"status":"ok","result":null}"#).unwrap().result.as_deref(), Some(&b"null"[..]));
    }

    #[test]
    fn an_error_is_a_line_in_whatever_form_n8n_gives_it() {
        let error = |json: &str| {
            read(&format!(r#"{{"status":"error","error":{json}}}"#)).unwrap().error.unwrap_or_default()
        };
        assert_eq!(error(r#""no lead""#), "no lead");
        assert_eq!(error(r#"{"message":"no\nlead","stack":"..."}"#), "nolead");
        assert_eq!(error(r#"{"code":7}"#), r#"{"code":7}"#);
        assert_eq!(error("404"), "404");
        assert_eq!(error(&format!("\"{}\"", "x".repeat(99_999))).len(), ERROR);
        assert_eq!(read(r#"{"status":"ok","error":"leftover"}"#).unwrap().error, None);
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(faults("{}"), ["status"]);
        assert_eq!(
            faults(r#"{"status":"done","error":"\u0000","n8n_execution_id":"a b"}"#),
            ["status", "error", "n8n_execution_id"]
        );
        assert_eq!(faults(r#"{"status":"ok","results":{}}"#), ["results"]);
        assert_eq!(faults(r#"{"status":"ok","status":"ok"}"#), ["status"]);
        assert!(read("[]").is_err() && read("").is_err() && read("{").is_err());
        let large = format!(r#"{{"status":"ok","result":"{}"}}"#, "x".repeat(99));
        assert_eq!(read(&large).unwrap_err().status(), 413);
    }

    #[test]
    fn a_repeat_is_known_by_what_it_says() {
        let digest = |body: &str| read(body).unwrap().digest();
        let first = digest(r#"{"status":"ok","result":{"a":1}}"#);
        assert_eq!(first, digest(r#"{ "result":{"a":1}, "status":"success" }"#));
        for other in [
            r#"{"status":"ok","result":{"a":2}}"#,
            r#"{"status":"ok"}"#,
            r#"{"status":"error","result":{"a":1}}"#,
            r#"{"status":"ok","result":{"a":1},"n8n_execution_id":"1"}"#,
        ] {
            assert_ne!(first, digest(other), "{other}");
        }
        assert_ne!(digest(r#"{"status":"error","error":"x"}"#), digest(r#"{"status":"error"}"#));
    }
}
