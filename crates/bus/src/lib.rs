//! The bus: everything that speaks to Pulsar, and the only crate that names the `pulsar` client.
//!
//! [`Producers`] publish and wait for the broker's receipt, [`Subscriptions`] receive and acknowledge,
//! [`Admin`] speaks the broker's REST interface and [`topics`] provisions tenants from a file.
//!
//! The client library has traps that lose messages or hang for ever. Each is described where it is handled,
//! in comments that begin with `hazard N`; `grep -rn 'hazard' crates/bus` lists them all.

pub mod admin;
mod auth;
mod client;
mod config;
mod detached;
mod fault;
mod handshake;
mod jitter;
mod message_id;
mod producers;
pub mod roles;
mod subscriptions;
mod tls;
pub mod topics;

pub use admin::{Admin, AdminError, TopicBacklog};
pub use auth::CredentialError;
pub use config::{BrokerAuth, BusConfig, Tls};
pub use message_id::MessageId;
pub use producers::{Outgoing, Producers, PublishError};
pub use subscriptions::{Delivery, Subscriptions, TopicHealth, TopicPlan};
pub use tls::TlsError;
pub use topics::TopicsFile;
