//! Scopes: what a credential may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::UnknownName;
use crate::closed_set::closed_set;

closed_set! {
    /// One permission. `admin` stands apart: who has it has no tenant, and none of the others.
    pub enum Scope ("scope") {
        Publish = 0 => "publish",
        Read = 1 => "read",
        Payload = 2 => "payload",
        Result = 3 => "result",
        Replay = 4 => "replay",
        Routes = 5 => "routes",
        Admin = 6 => "admin",
    }
}

impl Scope {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes. As text: names separated by spaces, as OAuth writes them. In JSON: a list of names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Self = Self(0);
    /// All but `admin`.
    pub const ALL_OF_TENANT: Self = Self(Scope::Admin.bit() - 1);
    const ALL: Self = Self(Scope::Admin.bit() * 2 - 1);

    /// # Errors
    /// Names the first scope that is not known.
    pub fn parse(text: &str) -> Result<Self, UnknownName> {
        text.split_ascii_whitespace().map(str::parse).collect()
    }

    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub const fn insert(&mut self, scope: Scope) {
        self.0 |= scope.bit();
    }

    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every scope of `other` is among these.
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.contains(*scope))
    }

    /// The number that stands for this set in the database.
    pub const fn code(self) -> i16 {
        self.0 as i16
    }

    /// `None` when it holds a scope that this version does not know.
    pub const fn from_code(code: i16) -> Option<Self> {
        if code >= 0 && code <= Self::ALL.code() { Some(Self(code as u8)) } else { None }
    }
}

impl schemars::JsonSchema for Scopes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scopes".into()
    }

    fn json_schema(schemas: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Vec::<Scope>::json_schema(schemas)
    }
}

impl FromStr for Scopes {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::parse(text)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, |mut set, scope| {
            set.insert(scope);
            set
        })
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope.bit())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<Scope>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn text_json_and_code_say_the_same() {
        let scopes = Scopes::parse(" read  publish ").unwrap();
        assert_eq!(scopes.to_string(), "publish read");
        assert_eq!(scopes.to_string().parse(), Ok(scopes));
        let json = serde_json::to_string(&scopes).unwrap();
        assert_eq!(json, r#"["publish","read"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), scopes);
        for code in 0..=127 {
            assert_eq!(Scopes::from_code(code).unwrap().code(), code);
        }
        assert_eq!(Scopes::from_code(128), None);
        assert_eq!(Scopes::from_code(-1), None);
    }

    #[test]
    fn codes_of_the_database_stay() {
        let codes = Scope::ALL.iter().map(|scope| (scope.as_str(), Scopes::from(*scope).code()));
        assert_eq!(
            codes.collect::<Vec<_>>(),
            [
                ("publish", 1),
                ("read", 2),
                ("payload", 4),
                ("result", 8),
                ("replay", 16),
                ("routes", 32),
                ("admin", 64)
            ]
        );
    }

    #[test]
    fn a_tenant_may_all_but_administer() {
        assert!(!Scopes::ALL_OF_TENANT.contains(Scope::Admin));
        assert_eq!(Scopes::ALL_OF_TENANT.iter().count(), Scope::ALL.len() - 1);
        assert_eq!(Scopes::ALL, Scope::ALL.iter().copied().collect());
        assert!(Scopes::ALL.includes(Scopes::ALL_OF_TENANT));
        assert!(!Scopes::ALL_OF_TENANT.includes(Scopes::ALL));
        assert_eq!(Scopes::ALL.intersection(Scopes::ALL_OF_TENANT), Scopes::ALL_OF_TENANT);
        assert!(Scopes::NONE.is_empty() && !Scopes::NONE.contains(Scope::Read));
    }

    #[test]
    fn an_unknown_scope_is_named() {
        let error = Scopes::parse("read write").unwrap_err();
        assert!(error.to_string().contains("\"write\""), "{error}");
        assert!(serde_json::from_str::<Scopes>(r#"["root"]"#).unwrap_err().to_string().contains("root"));
        assert_eq!(Scopes::parse(""), Ok(Scopes::NONE));
    }
}
