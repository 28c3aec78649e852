//! The few value types the sections are made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, time::Duration};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A URL whose password is masked when it is printed; `expose` has it whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    fn masked(&self) -> String {
        let Ok(mut url) = url::Url::parse(&self.0) else { return "***".to_owned() };
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return "***".to_owned();
        }
        // libpq's form may carry the password as a parameter.
        if url.query().is_some_and(|query| query.contains("password")) {
            url.set_query(Some("***"));
        }
        url.into()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

macro_rules! duration {
    ($name:ident, $from:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            pub fn get(self) -> Duration {
                Duration::$from(self.0)
            }
        }
    };
}
duration!(Millis, from_millis, "A duration key that ends in `_ms`.");
duration!(Seconds, from_secs, "A duration key that ends in `_s`.");

/// A number of whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(u32);

impl Days {
    pub fn get(self) -> u64 {
        self.0.into()
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs(self.get() * 86_400)
    }
}

/// `""` means "not set" everywhere in the configuration.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    let text = String::deserialize(deserializer)?;
    Ok(if text.trim().is_empty() { None } else { Some(T::from(text)) })
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        // A token pasted or read from a file often ends with a line break.
        Self(text.trim().to_owned())
    }
}

impl From<String> for SecretUrl {
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_and_nothing_else() {
        let url = SecretUrl::new("postgres://bridge:hunter2@db:5432/bridge");
        assert_eq!(format!("{url:?}"), "postgres://bridge:***@db:5432/bridge");
        assert_eq!(format!("{:?}", SecretUrl::new("postgres:///x?password=hunter2")), "postgres:///x?***");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
    }
}
