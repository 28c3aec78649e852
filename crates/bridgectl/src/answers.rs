//! What the bridge answers, as far as people are shown it. Fields that a newer bridge adds are
//! passed over, so an older bridgectl keeps working.

pub mod admin;
pub mod dead_letters;
pub mod holds;
pub mod jobs;
pub mod routes;
pub mod status;
pub mod traces;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

pub type Time = DateTime<Utc>;

#[derive(Deserialize)]
pub struct Problem {
    pub title: Option<String>,
    pub detail: Option<String>,
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

#[derive(Deserialize)]
pub struct FieldError {
    pub field: Option<String>,
    pub message: String,
}

#[derive(Deserialize)]
pub struct Published {
    pub execution_id: String,
    pub status: String,
    pub tenant_id: String,
    pub workflow_id: String,
    pub lane: String,
    pub topic: Option<String>,
    pub route: Option<RouteTaken>,
    #[serde(default)]
    pub replayed: bool,
    pub replay_of: Option<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
pub struct RouteTaken {
    pub mode: Option<String>,
    pub decided_by: Option<String>,
    pub reason: Option<String>,
}

#[derive(Deserialize)]
pub struct Execution {
    pub execution_id: String,
    pub tenant_id: String,
    pub workflow_id: String,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub lane: String,
    pub topic: Option<String>,
    pub state: String,
    pub evidence: Option<String>,
    /// What the state means where the word alone misleads.
    pub summary: Option<String>,
    pub waiting_on: Option<WaitingOn>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    pub accepted_at: Time,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub due_at: Option<Time>,
    pub published_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub message_id: Option<String>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
    pub route: Option<RouteTaken>,
    pub completion: Option<String>,
    /// The workflow that is told when it ends badly.
    pub on_failure: Option<String>,
    /// The execution whose bad end this one tells of.
    pub caused_by: Option<String>,
    pub trace: Option<Trace>,
    pub metadata: Option<Box<RawValue>>,
    pub replay_of: Option<String>,
    pub replayed_as: Option<String>,
}

#[derive(Deserialize)]
pub struct Attempt {
    pub attempt: u16,
    pub claimed_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub http_status: Option<u16>,
    pub outcome: Option<String>,
    pub error: Option<String>,
    pub message_id: Option<String>,
}

#[derive(Deserialize)]
pub struct Trace {
    pub id: String,
    /// Where it is shown, when the bridge knows.
    pub url: Option<String>,
}

#[derive(Deserialize)]
pub struct WaitingOn {
    pub kind: String,
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub detail: Option<String>,
}

#[derive(Deserialize)]
pub struct Listing {
    pub executions: Vec<Listed>,
    #[serde(default)]
    pub partial: bool,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
pub struct Listed {
    pub execution_id: String,
    pub workflow_id: String,
    pub lane: String,
    pub state: String,
    pub evidence: Option<String>,
    #[serde(default)]
    pub attempt: u16,
    pub accepted_at: Time,
    pub finished_at: Option<Time>,
    pub reason: Option<String>,
    pub replayed_as: Option<String>,
}

#[derive(Deserialize)]
pub struct Cancelled {
    pub execution_id: String,
    pub state: String,
    pub was: Option<String>,
    /// What a cancellation cannot do.
    pub note: Option<String>,
}

/// How an execution ended, or that it has not.
#[derive(Deserialize)]
pub struct Outcome {
    pub execution_id: String,
    pub state: String,
    pub evidence: Option<String>,
    pub attempt: Option<u16>,
    pub result: Option<Box<RawValue>>,
    pub content_type: Option<String>,
    /// `base64`: the result is no text.
    pub encoding: Option<String>,
    #[serde(default)]
    pub truncated: bool,
    pub error: Option<String>,
    pub reason: Option<String>,
    pub http_status: Option<u16>,
    pub n8n_execution_id: Option<String>,
    pub finished_at: Option<Time>,
}

impl Outcome {
    pub fn has_ended(&self) -> bool {
        self.state.parse::<bridge_protocol::State>().is_ok_and(bridge_protocol::State::is_terminal)
    }
}
