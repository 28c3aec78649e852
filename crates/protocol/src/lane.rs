//! Lanes: how long a workflow may take decides the topic it travels on.

use std::time::Duration;

use crate::closed_set::closed_set;

closed_set! {
    /// A class of work with its own topic and its own webhook timeout.
    pub enum Lane ("lane") {
        Short = 0 => "short",
        Long = 1 => "long",
        Ai = 2 => "ai",
        Analytics = 3 => "analytics",
    }
}

impl Lane {
    /// How long a webhook may take to answer, unless its route says otherwise.
    pub const fn webhook_timeout(self) -> Duration {
        match self {
            Lane::Short | Lane::Analytics => Duration::from_secs(30),
            Lane::Long => Duration::from_secs(60),
            Lane::Ai => Duration::from_secs(120),
        }
    }
}
