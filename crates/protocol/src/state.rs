//! The states of an execution and the moves between them.

use crate::closed_set::closed_set;

closed_set! {
    /// Where an execution stands. The codes are stored.
    pub enum State ("state") {
        /// Durable; nothing has been fired yet.
        Accepted = 0 => "accepted",
        /// A consumer holds the lease and may be firing.
        Running = 1 => "running",
        /// Fired; the result comes by callback.
        Waiting = 2 => "waiting",
        /// An attempt failed and another one is due.
        Retrying = 3 => "retrying",
        Succeeded = 4 => "succeeded",
        Failed = 5 => "failed",
        DeadLettered = 6 => "dead_lettered",
        Cancelled = 7 => "cancelled",
        Expired = 8 => "expired",
    }
}

closed_set! {
    /// What a success rests on.
    pub enum Evidence ("evidence") {
        /// n8n said that the workflow was started; its outcome is unknown.
        Started = 0 => "started",
        /// The webhook's answer met the success rule.
        Response = 1 => "response",
        /// The workflow reported its result.
        Callback = 2 => "callback",
    }
}

impl State {
    pub const fn is_terminal(self) -> bool {
        use State::*;
        matches!(self, Succeeded | Failed | DeadLettered | Cancelled | Expired)
    }

    /// What a caller may still do with an execution in this state, by the names of the API's routes.
    pub const fn allowed(self) -> &'static [&'static str] {
        use State::*;
        match self {
            Accepted | Running | Waiting | Retrying => &["wait", "cancel"],
            Succeeded | Failed | Cancelled | Expired => &["result", "replay"],
            DeadLettered => &["result", "replay", "discard"],
        }
    }

    /// Whether the move is one of the machine's. Nothing leaves a terminal state.
    pub const fn can_become(self, next: State) -> bool {
        use State::*;
        match self {
            Accepted => matches!(next, Running | DeadLettered | Cancelled | Expired),
            // To itself: another consumer takes over a lapsed lease. Back to accepted: nothing was sent of the first attempt.
            Running => matches!(
                next,
                Accepted | Running | Waiting | Retrying | Succeeded | Failed | DeadLettered | Cancelled
            ),
            Waiting => matches!(next, Retrying | Succeeded | Failed | DeadLettered | Cancelled),
            // To succeeded: the callback of an earlier attempt arrives after all.
            Retrying => matches!(next, Running | Succeeded | DeadLettered | Cancelled | Expired),
            Succeeded | Failed | DeadLettered | Cancelled | Expired => false,
        }
    }
}
