//! What ends an execution that went well.

use crate::closed_set::closed_set;

closed_set! {
    /// Who says that the workflow is done.
    pub enum Completion ("completion") {
        /// The webhook's answer.
        Response = 0 => "response",
        /// The workflow itself, by a request of its own.
        Callback = 1 => "callback",
    }
}
