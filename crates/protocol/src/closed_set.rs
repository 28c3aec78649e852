//! Enums whose names and codes are part of the contract: in URLs, in messages, in the database.

/// A name outside of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a known {set}; use one of {}", .allowed.join(", "))]
pub struct UnknownName {
    pub set: &'static str,
    pub name: String,
    pub allowed: &'static [&'static str],
}

/// Declares an enum with a stable name (text) and a stable code (database) for each value.
macro_rules! closed_set {
    (
        $(#[$meta:meta])*
        pub enum $set:ident ($title:literal) {
            $( $(#[$value_meta:meta])* $value:ident = $code:literal => $name:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set { $( $(#[$value_meta])* $value = $code ),+ }

        impl $set {
            pub const ALL: &'static [$set] = &[$( $set::$value ),+];
            const NAMES: &'static [&'static str] = &[$( $name ),+];

            pub const fn as_str(self) -> &'static str {
                match self { $( $set::$value => $name ),+ }
            }

            /// The number that stands for this value in the database.
            pub const fn code(self) -> i16 {
                self as i16
            }

            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $( $code => Some($set::$value), )+ _ => None }
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $set {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $( $name => Ok($set::$value), )+
                    _ => Err($crate::UnknownName {
                        set: $title,
                        name: name.chars().take(64).collect(),
                        allowed: Self::NAMES,
                    }),
                }
            }
        }

        impl schemars::JsonSchema for $set {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($set).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::NAMES })
            }
        }

        impl serde::Serialize for $set {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $set {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let name = String::deserialize(from)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use closed_set;
