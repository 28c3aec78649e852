//! Ids of executions, tenants and workflows. A value of these types has been checked once.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::Time;

/// An id that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an execution id is a version 7 UUID in its 36 character form, as the publish answered it")]
    Execution,
    #[error(
        "a tenant id has 1 to 63 characters, lower case letters, digits and hyphens, and starts with a letter or a digit"
    )]
    Tenant,
    #[error(
        "a workflow id is the path of the workflow's webhook: 1 to 200 characters of letters, digits and . _ ~ : / -, starting with a letter or a digit, without empty, \".\" or \"..\" segments"
    )]
    Workflow,
}

/// One execution. A UUID of version 7, so ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(Uuid);

impl ExecutionId {
    pub fn new(now: Time, rng: &mut impl rand::Rng) -> Self {
        let mut random = [0u8; 10];
        rng.fill_bytes(&mut random);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// `None` for any other version: the time inside the id is what partitions are found by.
    pub fn from_uuid(uuid: Uuid) -> Option<Self> {
        let ours = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        ours.then_some(Self(uuid))
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }

    pub fn created_at(self) -> Time {
        let millis = self.0.as_u128() >> 80;
        // 48 bits always fit; a year past 10,000 is still a chrono time.
        Time::from_timestamp_millis(millis as i64).unwrap_or(Time::MAX_UTC)
    }
}

impl FromStr for ExecutionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 36 {
            return Err(IdError::Execution);
        }
        Uuid::parse_str(text).ok().and_then(Self::from_uuid).ok_or(IdError::Execution)
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// A tenant: of the bridge and of the broker, under the same name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if starts && text.len() <= 63 && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Tenant)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A workflow, named by the path of its webhook. Every allowed character may stand in a URL's path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkflowId(Arc<str>);

impl WorkflowId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~:/-".contains(&b);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        // A dot segment would let a workflow id climb out of the webhook path.
        let segments = text.split('/').all(|s| !matches!(s, "" | "." | ".."));
        if starts && segments && text.len() <= 200 && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Workflow)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_id {
    ($id:ident) => {
        impl FromStr for $id {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

macro_rules! id_as_text {
    ($id:ident, $schema:tt) => {
        impl schemars::JsonSchema for $id {
            fn schema_name() -> Cow<'static, str> {
                stringify!($id).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($id))
            }
        }

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(TenantId);
text_id!(WorkflowId);
id_as_text!(ExecutionId, {
    "type": "string", "format": "uuid", "description": "A UUID of version 7: ids sort by the time they were made."
});
id_as_text!(TenantId, { "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" });
id_as_text!(WorkflowId, {
    "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9][A-Za-z0-9._~:/-]*$",
    "description": "The path of the workflow's webhook; no empty, \".\" or \"..\" segments."
});
