//! What every delivery needs, put together once at start.

use std::sync::Arc;
use std::time::Duration;

use bridge_fire::Webhooks;
use bridge_protocol::{TenantId, TopicNames};
use bridge_service::directory::Tenant;
use bridge_service::keyring::SharedKeyring;
use bridge_service::tally::Tally;
use bridge_store::Store;
use tokio_util::sync::CancellationToken;

use crate::data_keys::DataKeys;
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;
use crate::said::{HoldsMet, Said};

pub struct Works {
    pub store: Store,
    pub keyring: SharedKeyring,
    pub names: TopicNames,
    /// Routes, tenants, slots and the client.
    pub hooks: Webhooks,
    pub data_keys: DataKeys,
    pub rejected: PerMinute,
    pub said: Said,
    /// Which holds stopped something a moment ago.
    pub holds: HoldsMet,
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
    /// Results are stored sealed, as payloads are.
    pub seal_results: bool,
    /// Where n8n reports results; None: nobody said.
    pub callback_base: Option<String>,
}

/// A parked message waits at most this long.
pub const LONGEST_PARK: Duration = Duration::from_secs(300);

impl Works {
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.hooks.tenant(id)
    }
}
