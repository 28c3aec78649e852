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
pub mod jaeger;
pub mod parts;
pub mod register;
pub mod secrets;
pub mod seed;
pub mod settings;
pub mod sql;
pub mod wait;
pub mod world;

pub use api::{Answer, Api};
pub use chaos::ChaosProxy;
pub use endpoint::{Endpoint, Fired, Reply};
pub use parts::{Part, Pulsar};
pub use sql::Sql;
pub use wait::{eventually, eventually_within};
pub use world::World;

/// A short random word, so that tests that run side by side never meet.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}", rand::random::<u32>())
}

/// For plain HTTP to this machine; without the system's certificates, whose reading takes longer than many a test.
pub fn http_client() -> reqwest::Client {
    // Another test of this process may have been first to install it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30));
    builder.tls_certs_only(std::iter::empty()).no_proxy().build().unwrap()
}
