//! Dead letters.

use serde::Deserialize;

use super::Time;

#[derive(Deserialize)]
pub struct DeadLetters {
    pub dead_letters: Vec<DeadLetter>,
    #[serde(default)]
    pub partial: bool,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
pub struct DeadLetter {
    pub execution_id: String,
    pub workflow_id: String,
    pub lane: String,
    pub reason: String,
    #[serde(default)]
    pub attempt: u16,
    pub dead_lettered_at: Time,
    pub http_status: Option<u16>,
    pub error: Option<String>,
    pub replayed_as: Option<String>,
    pub discarded: Option<PutAway>,
}

#[derive(Deserialize)]
pub struct PutAway {
    pub at: Time,
    pub by: String,
    pub note: String,
}

#[derive(Deserialize)]
pub struct Discarded {
    pub execution_id: String,
    pub changed: bool,
}
