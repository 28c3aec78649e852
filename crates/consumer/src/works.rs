//! What every delivery needs, put together once at start.

use std::collections::HashMap;
use std::time::Duration;

use bridge_protocol::{RouteTable, TenantId, TopicNames, WebhookSecret};
use bridge_service::clock::SharedClock;
use bridge_service::keyring::SharedKeyring;
use bridge_store::Store;
use bridge_webhook::{Slots, WebhookClient};
use tokio_util::sync::CancellationToken;

use crate::payload::LargePayloads;
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
    pub large: LargePayloads,
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
}

/// A parked message waits at most this long.
pub const LONGEST_PARK: Duration = Duration::from_secs(300);

impl Works {
    pub fn secrets_of(&self, tenant: &TenantId) -> &[WebhookSecret] {
        self.secrets.get(tenant).map_or(&[], Vec::as_slice)
    }
}
