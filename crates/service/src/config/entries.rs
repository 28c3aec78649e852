//! Sections and the entries of lists. Each is read on its own, so that every fault of all of them is found.

use super::faults::ConfigFaults;
use super::value::Secret;
use serde::de::DeserializeOwned;
use toml::Value;

pub(super) fn read_secret(place: &str, file: &std::path::Path, faults: &mut ConfigFaults) -> Option<Secret> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => faults.add(place, format!("{} is empty", file.display())),
        Ok(text) => return Some(Secret::from(text)),
        Err(error) => faults.add(place, format!("{} cannot be read: {error}", file.display())),
    }
    None
}

/// Reads one table. After a fault the key at fault gets its default, or goes, and the rest is read again: what
/// comes back may be used to look for more faults.
pub(super) fn entry<T: DeserializeOwned>(
    place: &str,
    value: &Value,
    defaults: Option<&Value>,
    faults: &mut ConfigFaults,
) -> Option<T> {
    let mut rest = value.clone();
    let mut clean = true;
    loop {
        let error = match serde_path_to_error::deserialize(rest.clone()) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let message = error.inner().message();
        // A key that went is missing now; that is no fault of its own.
        if !clean && message.starts_with("missing field") {
            return None;
        }
        clean = false;
        let path = error.path().to_string();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let at = match (path.as_str(), unknown) {
            (".", None) => place.to_owned(),
            (".", Some(field)) => format!("{place}.{field}"),
            (path, _) => format!("{place}.{path}"),
        };
        faults.add(at, explain(message));
        let key = match path.split(['.', '[']).next() {
            Some("") | None => unknown.unwrap_or_default().to_owned(),
            Some(key) => key.to_owned(),
        };
        let table = rest.as_table_mut()?;
        table.remove(&key)?;
        if let Some(default) = defaults.and_then(|defaults| defaults.get(&key)) {
            table.insert(key, default.clone());
        }
    }
}

/// serde's words are fine but for the one that lists a dozen keys.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(field) = quoted.next()
    {
        return format!("is not a key here{}", crate::suggest::did_you_mean(field, quoted));
    }
    if message == "invalid socket address syntax" {
        return "must be an address and a port, for example 0.0.0.0:8000".to_owned();
    }
    message.trim().to_owned()
}
