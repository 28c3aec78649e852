//! What every delivery needs, put together once at start.

use std::collections::HashMap;
use std::time::Duration;

use bridge_protocol::{ExecutionId, RouteTable, TenantId, TopicNames, WebhookSecret};
use bridge_service::clock::SharedClock;
use bridge_service::keyring::SharedKeyring;
use bridge_store::Store;
use bridge_webhook::{Slots, WebhookClient};
use tokio_util::sync::CancellationToken;

use crate::rejected::PerMinute;

pub struct Works {
    pub store: Store,
    pub keyring: SharedKeyring,
    pub names: TopicNames,
    pub routes: RouteTable,
    pub secrets: HashMap<TenantId, Vec<WebhookSecret>>,
    pub slots: Slots,
    pub client: WebhookClient,
    pub clock: SharedClock,
    pub rejected: PerMinute,
    pub settings: Settings,
    /// Cancelled: nothing new is claimed.
    pub soft: CancellationToken,
}

pub struct Settings {
    pub subscription: String,
    pub slot_wait: Duration,
    pub lease_margin: Duration,
    /// How long a statement is repeated while Postgres is away.
    pub write_patience: Duration,
    pub max_result_bytes: usize,
    pub callback_base: Option<String>,
}

/// A parked message waits at most this long.
pub const LONGEST_PARK: Duration = Duration::from_secs(300);

impl Works {
    pub fn secrets_of(&self, tenant: &TenantId) -> &[WebhookSecret] {
        self.secrets.get(tenant).map_or(&[], Vec::as_slice)
    }

    pub fn callback_url(&self, id: ExecutionId) -> Option<String> {
        let base = self.settings.callback_base.as_deref()?.trim_end_matches('/');
        Some(format!("{base}/pulsar/executions/{id}/result"))
    }
}
