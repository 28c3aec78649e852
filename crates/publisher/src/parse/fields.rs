//! The fields of a request, each still as raw JSON.

use std::borrow::Cow;
use std::fmt;

use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bridge_service::suggest::did_you_mean;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::malformed;

/// What a JSON object is for, and the fields it may have.
pub(super) struct Shape {
    pub what: &'static str,
    pub known: &'static [&'static str],
    /// The fields that a caller who sent nothing is told of.
    pub needed: &'static str,
}

pub(super) static PUBLISH: Shape = Shape {
    what: "a publish request",
    known: &[
        "tenant_id",
        "workflow_id",
        "type",
        "lane",
        "payload",
        "idempotency_key",
        "delay_seconds",
        "deliver_at",
        "expires_at",
        "completion",
        "metadata",
    ],
    needed: "workflow_id and payload",
};

/// Faults of unknown fields that are told; a body of millions of them must not become an answer of megabytes.
const TOLD: usize = 20;
/// Longest part of a caller's field name that is repeated.
const NAME: usize = 60;

pub(super) struct Fields<'a> {
    shape: &'static Shape,
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Fields<'a> {
    /// Fails on what is no JSON object; everything else that is wrong is put with the faults.
    pub fn read(
        text: &'a [u8],
        shape: &'static Shape,
        faults: &mut Vec<FieldError>,
    ) -> Result<Self, Problem> {
        let needed = shape.needed;
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => {
                return Err(malformed(format!("the body is empty; send a JSON object with {needed}")));
            }
            Some(b'{') => {}
            Some(b'[') if std::ptr::eq(shape, &PUBLISH) => {
                return Err(malformed(
                    "the body is a JSON array; send one object, or the array to /pulsar/publish/batch",
                ));
            }
            Some(_) => {
                return Err(malformed(format!("the body is not a JSON object; send one with {needed}")));
            }
        }
        let mut read = Self { shape, values: vec![None; shape.known.len()] };
        let mut json = serde_json::Deserializer::from_slice(text);
        json.deserialize_map(Collect { into: &mut read, faults })
            .and_then(|()| json.end())
            .map_err(syntax)?;
        Ok(read)
    }

    /// The value of a known field, once.
    pub fn take(&mut self, name: &'static str) -> Option<&'a RawValue> {
        let index = self.shape.known.iter().position(|known| *known == name)?;
        self.values[index].take()
    }
}

/// The items of a batch, at most `limit`.
pub fn items(text: &[u8], limit: usize) -> Result<Vec<&RawValue>, Problem> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Err(malformed("the body is not a JSON array; send an array of publish requests"));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let items = json.deserialize_seq(Items { limit }).map_err(syntax)?;
    json.end().map_err(syntax)?;
    match items {
        Some(items) if items.is_empty() => {
            Err(malformed("the array is empty; send at least one publish request"))
        }
        Some(items) => Ok(items),
        None => Err(Problem::new(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            "batch-too-large",
            "Batch too large",
            format!("a batch may have {limit} items; split it"),
        )),
    }
}

fn syntax(error: serde_json::Error) -> Problem {
    malformed(format!("the body is not valid JSON: {error}; correct it at that place"))
}

struct Collect<'f, 'a> {
    into: &'f mut Fields<'a>,
    faults: &'f mut Vec<FieldError>,
}

impl<'a> Visitor<'a> for Collect<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut unknown = 0_usize;
        while let Some(Name(name)) = map.next_key::<Name<'a>>()? {
            let Shape { what, known, .. } = self.into.shape;
            let Some(index) = known.iter().position(|known| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                unknown += 1;
                if unknown <= TOLD {
                    let short: String = name.chars().take(NAME).collect();
                    let message =
                        format!("is not a field of {what}{}", did_you_mean(&name, known.iter().copied()));
                    self.faults.push(FieldError { field: Cow::Owned(short), message });
                }
                continue;
            };
            if self.into.values[index].replace(map.next_value()?).is_some() {
                let message = "is given twice; give it once".to_owned();
                let fault = FieldError { field: known[index].into(), message };
                if !self.faults.contains(&fault) {
                    self.faults.push(fault);
                }
            }
        }
        Ok(())
    }
}

struct Items {
    limit: usize,
}

impl<'a> Visitor<'a> for Items {
    type Value = Option<Vec<&'a RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.limit {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Some(items)),
            }
        }
        let mut more = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok((!more).then_some(items))
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Name<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = Name<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name<'a>, E> {
                if text.len() > 1024 {
                    return Err(E::custom("a field's name is longer than 1024 bytes"));
                }
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
