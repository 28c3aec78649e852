//! What the end of an execution counts, whoever writes it: its consumer, the relay, a report, a cancellation.

use std::time::Duration;

use bridge_protocol::{Evidence, Lane, Reason, State};
use metrics::{counter, histogram};

/// An execution that has ended, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub lane: Lane,
    pub state: State,
    /// Of an end without success.
    pub reason: Option<Reason>,
    /// Of a success.
    pub evidence: Option<Evidence>,
    /// Since its acceptance.
    pub took: Duration,
}

impl Ended {
    /// Once it is committed, and once.
    pub fn count(&self) {
        let (lane, took) = (self.lane.as_str(), self.took.as_secs_f64());
        histogram!("bridge_execution_seconds", "lane" => lane, "state" => self.state.as_str()).record(took);
        histogram!("workflow_execution_duration", "lane" => lane).record(took);
        let status = match self.state {
            State::Succeeded => "success",
            State::Cancelled => "cancelled",
            _ => "error",
        };
        counter!("workflow_executions_total", "lane" => lane, "status" => status).increment(1);
        if let Some(evidence) = self.evidence {
            counter!("bridge_evidence_total", "lane" => lane, "evidence" => evidence.as_str()).increment(1);
        }
        if let Some(reason) = self.reason {
            counter!("workflow_errors_total", "lane" => lane, "reason" => reason.as_str()).increment(1);
            if self.state == State::DeadLettered {
                counter!("bridge_dead_letters_total", "lane" => lane, "reason" => reason.as_str())
                    .increment(1);
            }
        }
    }
}
