//! The fields of an administrative request, from its body or its query: read strictly, every fault told at once.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use axum::extract::Request;
use bridge_protocol::Time;
use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bridge_service::suggest::did_you_mean;
use http::StatusCode;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::app::App;
use crate::body;
use crate::parse::{invalid, malformed};
use crate::routes::execution::short;

/// Longest text of a field; secrets and keys are shorter.
const LONGEST: usize = 8192;
/// Faults of unknown fields that are told.
const TOLD: usize = 20;

type Known = &'static [&'static str];

pub struct Fields {
    values: Vec<(String, Value)>,
    /// Before each name in a fault: `limits.` inside of limits.
    prefix: Cow<'static, str>,
    faults: Vec<FieldError>,
}

fn form_too_large(_most: usize) -> Problem {
    let detail = "the body is larger than this request can be; send what the API's description names";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "Payload too large", detail)
}

impl Fields {
    /// An empty body is an object without fields.
    pub async fn body(app: &App, request: Request, known: Known) -> Result<Self, Problem> {
        Self::body_up_to(app, request, known, 0).await
    }

    /// `most`: bytes beside the room that every request has. As values they take several times as much.
    pub async fn body_up_to(app: &App, request: Request, known: Known, most: usize) -> Result<Self, Problem> {
        let body = body::read_up_to(app, request, most, form_too_large).await?;
        let text = body.bytes.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(&body.bytes);
        let values = if text.iter().all(u8::is_ascii_whitespace) { Vec::new() } else { object(text)? };
        Ok(Self::of(values, known, ""))
    }

    pub fn query(pairs: Vec<(String, String)>, known: Known) -> Self {
        Self::of(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect(), known, "")
    }

    #[cfg(test)]
    pub fn json(text: &str, known: Known) -> Self {
        Self::of(object(text.as_bytes()).unwrap_or_default(), known, "")
    }

    pub fn of(all: Vec<(String, Value)>, known: Known, prefix: impl Into<Cow<'static, str>>) -> Self {
        let mut fields = Self { values: Vec::new(), prefix: prefix.into(), faults: Vec::new() };
        for (name, value) in all {
            if !known.contains(&name.as_str()) {
                if fields.faults.len() < TOLD {
                    let message = format!(
                        "is not a field here{}; known are {}",
                        did_you_mean(&name, known.iter().copied()),
                        known.join(", ")
                    );
                    fields.fault(&short(&name), message);
                }
            } else if fields.values.iter().any(|(there, _)| *there == name) {
                fields.fault(&name, "is given twice; give it once");
            } else {
                fields.values.push((name, value));
            }
        }
        fields
    }

    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        let field = Cow::Owned(format!("{}{name}", self.prefix));
        self.faults.push(FieldError { field, message: message.into() });
    }

    /// Nothing, null and "" are all absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.values.iter().position(|(there, _)| there == name)?;
        Some(self.values.swap_remove(at).1).filter(|value| !value.is_null() && value != "")
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(there, _)| there == name)
    }

    /// Absent and faulty both come back as `None`.
    pub fn parse<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let parsed = text(&value).and_then(|text| parse(&text));
        parsed.map_err(|fault| self.fault(name, fault)).ok()
    }

    /// Like [`Fields::parse`], for a field that must be there.
    pub fn need<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let before = self.faults.len();
        let parsed = self.parse(name, parse);
        if parsed.is_none() && self.faults.len() == before {
            self.fault(name, "is missing");
        }
        parsed
    }

    pub fn id<T: std::str::FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        self.parse(name, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    pub fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse(name, |text| match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}", range.start(), range.end())),
        })
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parse(name, |text| text.parse().map_err(|_| "must be true or false".to_owned()))
    }

    pub fn time(&mut self, name: &'static str) -> Option<Time> {
        self.parse(name, |text| match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(time.to_utc()),
            Err(_) => Err("must be a time like 2027-01-31T12:00:00Z".to_owned()),
        })
    }

    /// A list of texts, or one text with spaces or commas between them.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take(name)?;
        let texts: Result<Vec<String>, String> = match &value {
            Value::Array(items) => items.iter().map(|item| text(item).map(Cow::into_owned)).collect(),
            other => text(other).map(|text| {
                text.split([' ', ',']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }),
        };
        let parsed = texts.and_then(|texts| texts.iter().map(|text| parse(text)).collect());
        parsed.map_err(|fault: String| self.fault(name, fault)).ok()
    }

    /// An object of its own; give its faults back with [`Fields::absorb`].
    pub fn object(&mut self, name: &'static str, known: Known, prefix: &'static str) -> Option<Self> {
        match self.take(name)? {
            Value::Object(map) => Some(Self::of(map.into_iter().collect(), known, prefix)),
            _ => {
                self.fault(name, "must be an object");
                None
            }
        }
    }

    /// An object with names of the caller's choice.
    pub fn map(&mut self, name: &'static str) -> Option<Vec<(String, Value)>> {
        match self.take(name)? {
            Value::Object(map) => Some(map.into_iter().collect()),
            _ => {
                self.fault(name, "must be an object");
                None
            }
        }
    }

    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn absorb(&mut self, inner: Self) {
        self.faults.extend(inner.faults);
    }

    pub fn check(self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(invalid(self.faults)) }
    }

    /// The answer when a needed field came back as `None`: its fault is among the others.
    pub fn refuse(self) -> Problem {
        invalid(self.faults)
    }
}

fn text(value: &Value) -> Result<Cow<'_, str>, String> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Bool(flag) => Cow::Owned(flag.to_string()),
        _ => return Err("must be a string".to_owned()),
    };
    if text.contains('\0') {
        return Err("must not contain the NUL character".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("must have at most {LONGEST} bytes"));
    }
    Ok(text)
}

/// Every field as it stands: a map would keep the last of two with the same name.
fn object(text: &[u8]) -> Result<Vec<(String, Value)>, Problem> {
    struct Pairs;
    impl<'a> Visitor<'a> for Pairs {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let pairs = json.deserialize_map(Pairs).and_then(|pairs| json.end().map(|()| pairs));
    // Only the place: the parser's message may quote a secret.
    pairs.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        malformed(format!("the body is not a JSON object (line {line}, column {column}); correct it there"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let known: Known = &["name", "tenants", "overlap_seconds"];
        let mut fields =
            Fields::json(r#"{"nam": 1, "tenants": ["acme", "Not One"], "overlap_seconds": -1}"#, known);
        let tenants = fields.list("tenants", |text| {
            bridge_protocol::TenantId::parse(text).map_err(|error| error.to_string())
        });
        assert!(tenants.is_none());
        assert_eq!(fields.whole("overlap_seconds", 0..=5), None);
        assert_eq!(fields.need("name", |text| Ok(text.to_owned())), None);
        let problem = fields.check().unwrap_err();
        let names: Vec<_> = problem.errors().iter().map(|fault| fault.field.as_ref()).collect();
        assert_eq!(names, ["nam", "tenants", "overlap_seconds", "name"]);
        assert!(problem.detail().contains("did you mean name?"), "{}", problem.detail());
    }

    #[test]
    fn a_field_that_is_there_twice_is_no_riddle() {
        let fields = Fields::json(r#"{"name": "a", "name": "b"}"#, &["name"]);
        assert_eq!(fields.check().unwrap_err().errors()[0].message, "is given twice; give it once");
    }

    #[test]
    fn a_fault_of_syntax_does_not_repeat_the_body() {
        let problem = object(br#"{"secret": "hunter2"#).unwrap_err();
        assert!(!problem.detail().contains("hunter2"), "{}", problem.detail());
        assert!(object(b"[]").is_err());
    }

    #[test]
    fn lists_are_lists_or_words() {
        let known: Known = &["a", "b", "c"];
        let mut fields = Fields::json(r#"{"a": ["x", "y"], "b": "x y,z", "c": [{}]}"#, known);
        let own = |text: &str| Ok(text.to_owned());
        assert_eq!(fields.list("a", own).unwrap(), ["x", "y"]);
        assert_eq!(fields.list("b", own).unwrap(), ["x", "y", "z"]);
        assert_eq!(fields.list("c", own), None);
        assert!(fields.check().is_err());
    }
}
