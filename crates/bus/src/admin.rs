//! The broker's administration over REST.

mod backlog;
mod error;
mod http;
mod namespaces;
mod objects;

pub use backlog::TopicBacklog;
pub use error::{AdminError, Problem};
pub use namespaces::{BacklogQuota, InactiveTopics, NamespacePolicies, Retention};
pub use objects::Peeked;

use std::time::Duration;

use crate::auth::Bearer;
use crate::config::BrokerAuth;

/// Speaks to the broker's `/admin/v2`. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Admin {
    base: String,
    bearer: Bearer,
    timeout: Duration,
    http: reqwest::Client,
}

impl Admin {
    /// `timeout` bounds each call as a whole, redirects included.
    pub fn new(http_url: &str, auth: BrokerAuth, timeout: Duration) -> Result<Self, AdminError> {
        crate::client::install_crypto();
        let base = http_url.trim_end_matches('/').to_owned();
        let parsed = url::Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none_or(|url| url.host_str().is_none()) {
            return Err(AdminError::new("set up", &base, Problem::BadUrl));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(timeout)
            .timeout(timeout)
            // Followed by hand: the library drops the credential on the way to another host.
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| AdminError::new("set up", &base, Problem::Transport(error)))?;
        Ok(Self { base, bearer: Bearer::new(auth), timeout, http })
    }
}
