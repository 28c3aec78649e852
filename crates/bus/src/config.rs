//! What the bus needs to know about the broker.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Credentials;

/// How the daemons prove who they are at the broker.
#[derive(Clone, Default)]
pub enum BrokerAuth {
    #[default]
    None,
    Token(String),
    /// Read again for every connection, so that a rotated token needs no restart.
    TokenFile(PathBuf),
    /// Client credentials at an OAuth2 issuer.
    OAuth2 {
        issuer_url: String,
        audience: Option<String>,
        scope: Option<String>,
        client_id: String,
        client_secret_file: PathBuf,
    },
}

impl fmt::Debug for BrokerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token(***)"),
            Self::TokenFile(path) => write!(f, "TokenFile({})", path.display()),
            Self::OAuth2 { issuer_url, client_id, .. } => write!(f, "OAuth2({issuer_url}, {client_id})"),
        }
    }
}

/// How the broker proves who it is, over pulsar+ssl:// and https://.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The PEM file of the authorities to trust; None takes the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct BusConfig {
    /// `pulsar://host:6650` or `pulsar+ssl://host:6651`.
    pub service_url: String,
    /// `http://host:8080`.
    pub http_url: String,
    pub auth: BrokerAuth,
    pub tls: Tls,
    /// How long the broker may take to answer one request.
    pub operation_timeout: Duration,
    pub connection_timeout: Duration,
    /// Interval of the pings on each connection.
    pub keep_alive: Duration,
    /// Messages sent and not yet receipted, over all topics.
    pub produce_in_flight: usize,
    /// A producer that published nothing for this long is closed.
    pub idle_producer: Duration,
    /// Consumers that share one client and so one connection.
    pub consumers_per_client: usize,
    pub subscription: String,
    /// Messages that may wait in this process unread, shared by all topics.
    pub receive_budget: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            service_url: "pulsar://127.0.0.1:6650".into(),
            http_url: "http://127.0.0.1:8080".into(),
            auth: BrokerAuth::None,
            tls: Tls::default(),
            operation_timeout: Duration::from_secs(30),
            connection_timeout: Duration::from_secs(10),
            // hazard 14: the library notices a dead peer only after 60 + 30 seconds by default.
            keep_alive: Duration::from_secs(20),
            produce_in_flight: 512,
            idle_producer: Duration::from_secs(600),
            consumers_per_client: 250,
            subscription: "bridge-consumer".into(),
            receive_budget: 65_536,
        }
    }
}

impl BusConfig {
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::new(&self.auth, &self.tls, self.connection_timeout)
    }

    /// How many messages the broker may push ahead to one of `topics` consumers.
    pub(crate) fn receive_batch(&self, topics: usize) -> u32 {
        let share = self.receive_budget / topics.max(1);
        // The clamp keeps it far below u32::MAX.
        share.clamp(16, 1000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receive_budget_is_shared_within_bounds() {
        let config = BusConfig::default();
        assert_eq!(config.receive_batch(0), 1000);
        assert_eq!(config.receive_batch(4), 1000);
        assert_eq!(config.receive_batch(400), 163);
        assert_eq!(config.receive_batch(1_000_000), 16);
    }

    #[test]
    fn debug_hides_the_token() {
        let config = BusConfig { auth: BrokerAuth::Token("geheim".into()), ..BusConfig::default() };
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
