//! Values outside the payload, read as leniently as n8n writes them: its expressions turn numbers, booleans and
//! objects into strings, and leave `""` where nothing was.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

/// Nothing, null and "" are all absent.
pub fn absent(raw: Option<&RawValue>) -> bool {
    raw.is_none_or(|raw| matches!(raw.get(), "null" | "\"\""))
}

/// A value that is meant as text. `None`: absent.
pub fn text(raw: &RawValue) -> Result<Option<Cow<'_, str>>, String> {
    let json = raw.get();
    let text = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'{' | b'[') => return Err("must be a string".to_owned()),
        Some(b'"') => string(json)?,
        _ => Cow::Borrowed(json),
    };
    if text.contains('\0') {
        return Err("must not contain the NUL character".to_owned());
    }
    Ok((!text.is_empty()).then_some(text))
}

/// A value that is meant as an object, of at most `limit` bytes; as JSON text.
pub fn object(raw: &RawValue, limit: usize) -> Result<Option<String>, String> {
    let json = match raw.get().as_bytes().first() {
        Some(b'"') => string(raw.get())?,
        _ => Cow::Borrowed(raw.get()),
    };
    let json = json.trim();
    if json.is_empty() || json == "null" {
        return Ok(None);
    }
    if json.len() > limit {
        return Err(format!("must be at most {limit} bytes"));
    }
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Object(object))
            if object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)) =>
        {
            Err("must not contain the NUL character".to_owned())
        }
        Ok(Value::Object(_)) => Ok(Some(json.to_owned())),
        Ok(_) => Err("must be an object".to_owned()),
        Err(error) => Err(format!("must be an object: {error}")),
    }
}

/// Whether a payload is a string that looks like an object or an array: most likely it was meant to be one.
pub fn holds_json(payload: &RawValue) -> bool {
    let json = payload.get();
    if !json.starts_with('"') {
        return false;
    }
    // Looked at before it is copied: a long text is seldom JSON.
    let begin = json[1..].trim_start_matches([' ', '\\', 'n', 't', 'r']);
    if !begin.starts_with(['{', '[']) {
        return false;
    }
    string(json).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(&text).is_ok())
}

fn string(json: &str) -> Result<Cow<'_, str>, String> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str::<Text<'_>>(json) {
        Ok(Text(text)) => Ok(text),
        // A lone surrogate is the one thing a raw value lets pass.
        Err(_) => Err("is not valid Unicode text".to_owned()),
    }
}

/// The value came out of a parser that bounds its depth.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}
