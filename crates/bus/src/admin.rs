//! The broker's administration over REST.

mod backlog;
mod error;
mod http;
mod namespaces;
mod objects;
mod permissions;

pub use backlog::TopicBacklog;
pub use error::{AdminError, Problem};
pub use namespaces::{BacklogQuota, InactiveTopics, NamespacePolicies, NewNamespace, Retention};
pub use objects::Peeked;
pub use permissions::AuthPolicies;

use std::time::Duration;

use crate::auth::Credentials;
use crate::config::{BrokerAuth, Tls};

/// Speaks to the broker's `/admin/v2`. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Admin {
    base: String,
    credentials: Credentials,
    timeout: Duration,
    http: reqwest::Client,
}

impl Admin {
    /// `timeout` bounds each call as a whole, redirects included.
    pub fn new(http_url: &str, auth: BrokerAuth, tls: Tls, timeout: Duration) -> Result<Self, AdminError> {
        crate::client::install_crypto();
        let base = http_url.trim_end_matches('/').to_owned();
        let parsed = url::Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none_or(|url| url.host_str().is_none()) {
            return Err(AdminError::new("set up", &base, Problem::BadUrl));
        }
        let mut builder = reqwest::Client::builder();
        if tls.ca_file.is_some() {
            let certificates = tls.certificates_now();
            let bad = |error| AdminError::new("set up", &base, Problem::Certificates(error));
            builder = builder.tls_certs_only(certificates.map_err(bad)?);
        }
        let http = builder
            .connect_timeout(timeout)
            .timeout(timeout)
            // Followed by hand: the library drops the credential on the way to another host.
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .build()
            .map_err(|error| AdminError::new("set up", &base, Problem::Transport(error)))?;
        let credentials = Credentials::new(&auth, &tls, timeout);
        Ok(Self { base, credentials, timeout, http })
    }
}
