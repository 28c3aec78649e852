//! What every part of the bridge agrees on: ids, lanes, topic names, signed messages, webhook
//! signatures, the state machine and the decisions taken from it.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and chance are arguments.

mod closed_set;

mod answer;
mod api_key;
mod callback_token;
mod completion;
mod decision;
mod hold;
mod ids;
mod keyring;
mod keyring_file;
mod lane;
mod message;
mod notice;
mod reason;
mod rejection;
mod retry;
mod route;
mod route_changes;
mod route_name;
mod route_table;
mod scope;
mod signed;
mod standard_webhooks;
mod state;
mod tenant_routes;
mod timer;
mod topic;
mod web_url;

pub use answer::{Answer, SuccessRule, Verdict, classify};
pub use api_key::{ApiKey, ClientId, ClientSecret};
pub use callback_token::CallbackToken;
pub use closed_set::UnknownName;
pub use completion::Completion;
pub use decision::{Asked, Decision, RouteError};
pub use hold::Hold;
pub use ids::{ExecutionId, IdError, TenantId, WorkflowId};
pub use keyring::{Keyring, SignError};
pub use keyring_file::KeyringError;
pub use lane::Lane;
pub use message::{Claims, LEEWAY, MAX_MESSAGE_BYTES, PayloadHash, VERSION};
pub use notice::Notice;
pub use reason::Reason;
pub use rejection::{Forged, Rejection, Stale};
pub use retry::RetryPolicy;
pub use route::{BodyShape, Mode, OnFailure, OnUnknown, Route, is_credential_name};
pub use route_name::{RouteName, TypeError};
pub use route_table::{Defaults, RouteTable, RouteTableError, Target, override_name};
pub use scope::{Scope, Scopes};
pub use signed::Signed;
pub use standard_webhooks::{WebhookSecret, WebhookSecretError, verify_webhook_signature, webhook_signature};
pub use state::{Evidence, State};
pub use timer::{Backlog, TimerDecision, TimerInput, TimerPolicy, on_timer};
pub use topic::{TopicAddress, TopicNames, TopicNamesError, logical_topic};
pub use web_url::check_webhook_url;

/// A point in time. Durations are `std::time::Duration`.
pub type Time = chrono::DateTime<chrono::Utc>;
