//! What every delivery needs, put together once at start.

use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::{RouteTable, TenantId, TopicNames};
use bridge_service::Directory;
use bridge_service::clock::SharedClock;
use bridge_service::directory::Tenant;
use bridge_service::keyring::SharedKeyring;
use bridge_service::tally::Tally;
use bridge_store::Store;
use bridge_webhook::{Slots, WebhookClient};
use tokio_util::sync::CancellationToken;

use crate::bar::Said;
use crate::data_keys::DataKeys;
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;

pub struct Works {
    pub store: Store,
    pub keyring: SharedKeyring,
    pub names: TopicNames,
    pub routes: RouteTable,
    /// Tenants with their secrets, credentials and data keys, as of a moment ago.
    pub directory: Directory,
    pub data_keys: DataKeys,
    pub slots: Slots,
    pub client: WebhookClient,
    pub clock: SharedClock,
    pub rejected: PerMinute,
    pub said: Said,
    pub tally: Tally,
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
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.directory.snapshot().tenant(id).cloned()
    }
}
