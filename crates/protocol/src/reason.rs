//! Why an execution ended without success.

use crate::closed_set::closed_set;

closed_set! {
    /// A closed set: dashboards and filters depend on these names.
    pub enum Reason ("reason") {
        /// The last allowed attempt failed.
        AttemptsExhausted = 0 => "attempts_exhausted",
        /// The webhook's answer says that a repetition would not help.
        PermanentAnswer = 1 => "permanent_answer",
        /// The request went out, no answer came back, and the route forbids a repetition.
        UnknownOutcome = 2 => "unknown_outcome",
        /// The stored payload cannot be read or is not the one that was signed.
        PayloadUnreadable = 3 => "payload_unreadable",
        /// The stored payload was removed by retention.
        PayloadGone = 4 => "payload_gone",
        Expired = 5 => "expired",
        /// A consumer vanished while it was firing, and no other attempt may follow.
        LeaseLapsed = 6 => "lease_lapsed",
        /// The workflow never reported its result.
        CallbackTimedOut = 7 => "callback_timed_out",
        /// The workflow reported a failure.
        ReportedFailure = 8 => "reported_failure",
        /// The webhook's address is not allowed.
        BlockedAddress = 9 => "blocked_address",
    }
}
