//! Replays and cancellations of many.

use serde::Deserialize;
use serde_json::Value;

use super::Time;

#[derive(Deserialize)]
pub struct Counted {
    pub count: u64,
    /// Not among them: dead letters that were replayed or put away already.
    #[serde(default)]
    pub skipped: u64,
    /// There may be more.
    #[serde(default)]
    pub partial: bool,
}

#[derive(Deserialize)]
pub struct Jobs {
    pub jobs: Vec<Job>,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
pub struct Job {
    pub job_id: String,
    pub kind: String,
    pub state: String,
    pub filter: Option<Value>,
    pub per_second: Option<f64>,
    #[serde(default)]
    pub total: u64,
    #[serde(default)]
    pub done: u64,
    #[serde(default)]
    pub skipped: u64,
    #[serde(default)]
    pub failed: u64,
    pub held_up: Option<String>,
    pub error: Option<String>,
    pub created_by: Option<String>,
    pub created_at: Option<Time>,
    pub changed_at: Option<Time>,
}

impl Job {
    pub fn seen(&self) -> u64 {
        self.done + self.skipped + self.failed
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "cancelled" | "failed")
    }
}
