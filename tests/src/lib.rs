//! What the integration tests stand on: real parts, the real daemons as processes, a webhook endpoint that behaves
//! as it is told, and a proxy that loses answers. A test waits for a state, never for a time.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test helpers: a failed step fails its test"
)]

pub mod api;
pub mod broker;
pub mod chaos;
pub mod daemon;
pub mod endpoint;
pub mod parts;
pub mod seed;
pub mod settings;
pub mod sql;
pub mod wait;
pub mod world;

pub use api::{Answer, Api};
pub use chaos::ChaosProxy;
pub use endpoint::{Endpoint, Fired, Reply};
pub use parts::Part;
pub use sql::Sql;
pub use wait::{eventually, eventually_within};
pub use world::World;

/// A short random word, so that tests that run side by side never meet.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}", rand::random::<u32>())
}

/// The process's one TLS provider, without which no HTTP client is built.
pub fn install_tls() {
    // Another test of this process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
}
