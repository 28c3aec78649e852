//! Holds.

use serde::Deserialize;

use super::Time;

#[derive(Deserialize)]
pub struct Holds {
    pub holds: Vec<Hold>,
}

#[derive(Deserialize)]
pub struct Hold {
    pub hold_id: String,
    pub workflow_id: Option<String>,
    pub lane: Option<String>,
    pub host: Option<String>,
    pub reason: String,
    pub created_by: Option<String>,
    pub created_at: Option<Time>,
    /// After a PUT.
    pub outcome: Option<String>,
    #[serde(default)]
    pub in_effect: bool,
}

#[derive(Deserialize)]
pub struct Released {
    /// Executions that were parked and are due now.
    #[serde(default)]
    pub released: u64,
    #[serde(default)]
    pub in_effect: bool,
}
