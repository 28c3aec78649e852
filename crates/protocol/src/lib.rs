//! What every part of the bridge agrees on: ids, lanes, topic names, signed messages, webhook
//! signatures, the state machine and the decisions taken from it.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and chance are arguments.

mod closed_set;

mod answer;
mod api_key;
mod ids;
mod keyring;
mod keyring_file;
mod lane;
mod message;
mod reason;
mod rejection;
mod retry;
mod route;
mod route_table;
mod scope;
mod standard_webhooks;
mod state;
mod timer;
mod topic;

pub use answer::{Answer, SuccessRule, Verdict, classify};
pub use api_key::{ApiKey, ClientId, ClientSecret};
pub use closed_set::UnknownName;
pub use ids::{ExecutionId, IdError, TenantId, WorkflowId};
pub use keyring::{Keyring, SignError};
pub use keyring_file::KeyringError;
pub use lane::Lane;
pub use message::{Claims, LEEWAY, MAX_MESSAGE_BYTES, PayloadHash, VERSION};
pub use reason::Reason;
pub use rejection::{Forged, Rejection, Stale};
pub use retry::RetryPolicy;
pub use route::{Mode, OnUnknown, Route, RouteEntry};
pub use route_table::{Decision, RouteError, RouteTable, RouteTableError, Target, is_credential_name};
pub use scope::{Scope, Scopes};
pub use standard_webhooks::{WebhookSecret, WebhookSecretError, verify_webhook_signature, webhook_signature};
pub use state::{Evidence, State};
pub use timer::{Backlog, TimerDecision, TimerInput, TimerPolicy, on_timer};
pub use topic::{TopicAddress, TopicNames, TopicNamesError, logical_topic};

/// A point in time. Durations are `std::time::Duration`.
pub type Time = chrono::DateTime<chrono::Utc>;
