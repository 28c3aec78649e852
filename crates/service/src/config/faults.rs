//! Everything that is wrong with a configuration, said at once.

use std::fmt;

/// One fault: where it is, what is wrong and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `section.key`, or the environment variable that set it.
    pub place: String,
    pub what: String,
}

/// Something odd that does not keep a daemon from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub place: String,
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// All faults of one configuration, never empty when it is returned as an error.
#[derive(Debug, Default)]
pub struct ConfigFaults(Vec<Fault>);

impl ConfigFaults {
    /// The exit code of a daemon whose configuration is at fault (EX_USAGE).
    pub const EXIT_CODE: i32 = 64;

    pub fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        let fault = Fault { place: place.into(), what: what.into() };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Whether this key is already known to be at fault, so that rules do not complain a second time.
    pub(crate) fn names(&self, place: &str) -> bool {
        self.0.iter().any(|fault| fault.place == place)
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} fault{}:", if count == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            write!(f, "\n  {}: {}", fault.place, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}
