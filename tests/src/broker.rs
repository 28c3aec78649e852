//! The broker as an operator, a snoop or a forger uses it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_bus::{Admin, BrokerAuth, BusConfig, MessageId, Outgoing, Producers, Tls, TopicsFile, topics};
use bridge_protocol::{Lane, TenantId, TopicNames};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::parts::{Pulsar, repository};
use crate::wait::eventually;

/// A subscription that nobody reads: what was published stays visible to `peek`.
const WITNESS: &str = "witness";

pub struct Broker {
    pub admin: Admin,
    pub names: TopicNames,
    config: BusConfig,
    producers: OnceCell<Producers>,
    stop: CancellationToken,
}

impl Broker {
    pub fn new(pulsar: &Pulsar) -> anyhow::Result<Self> {
        let auth = BrokerAuth::TokenFile(pulsar.admin_token.clone());
        let config = BusConfig {
            service_url: pulsar.service_url.clone(),
            http_url: pulsar.http_url.clone(),
            auth: auth.clone(),
            ..BusConfig::default()
        };
        Ok(Self {
            admin: Admin::new(&pulsar.http_url, auth, Tls::default(), Duration::from_secs(20))?,
            names: TopicNames::default(),
            config,
            producers: OnceCell::new(),
            stop: CancellationToken::new(),
        })
    }

    /// What `bridgectl topics apply` does.
    pub async fn provision(&self, tenants: &[TenantId]) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(repository().join("pulsar/topics.yml"))?;
        topics::apply(&self.admin, &TopicsFile::parse(&text)?, &self.names, tenants, false).await?;
        Ok(())
    }

    /// From now on `seen` shows what is published on the topic.
    pub async fn witness(&self, topic: &str) -> anyhow::Result<()> {
        Ok(self.admin.create_subscription(topic, WITNESS).await?)
    }

    /// The bodies published since `witness`, oldest first.
    pub async fn seen(&self, topic: &str) -> anyhow::Result<Vec<String>> {
        let mut bodies = Vec::new();
        for nth in 1.. {
            let Some(peeked) = self.admin.peek(topic, WITNESS, nth).await? else { break };
            bodies.push(String::from_utf8_lossy(&peeked.body).into_owned());
        }
        Ok(bodies)
    }

    /// `seen` shows nothing of what was published before.
    pub async fn forget(&self, topic: &str) -> anyhow::Result<()> {
        Ok(self.admin.skip_all(topic, WITNESS).await?)
    }

    /// Waits for a notice on the dead-letter topic of the lane: the claims of the signed message.
    pub async fn notice(&self, tenant: &TenantId, lane: Lane, wanted: impl Fn(&Value) -> bool) -> Value {
        let topic = self.names.dead_letter(tenant, lane);
        eventually(&format!("a notice on {topic}"), async || {
            let notices = self.notices(tenant, lane).await.map_err(|error| format!("{error:#}"))?;
            notices.iter().find(|notice| wanted(notice)).cloned().ok_or(format!("{notices:?}"))
        })
        .await
    }

    /// All that were seen so far.
    pub async fn notices(&self, tenant: &TenantId, lane: Lane) -> anyhow::Result<Vec<Value>> {
        let bodies = self.seen(&self.names.dead_letter(tenant, lane)).await?;
        Ok(bodies.iter().filter_map(|body| claims(body)).collect())
    }

    /// Publishes anything, as a forger would.
    pub async fn send(&self, topic: &str, body: &str) -> anyhow::Result<MessageId> {
        let producers = self
            .producers
            .get_or_init(async || Producers::start(self.config.clone(), self.stop.clone()))
            .await;
        eventually("the test's own producer", async || producers.is_up().then_some(()).ok_or("down")).await;
        let outgoing = Outgoing { body: body.to_owned(), properties: Vec::new() };
        Ok(producers.publish(topic, outgoing).await?)
    }
}

/// Read without a look at the signature; with the names that people look for beside `sub` and `tid`.
fn claims(token: &str) -> Option<Value> {
    let json = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: Value = serde_json::from_slice(&json).ok()?;
    claims["execution_id"] = claims["sub"].clone();
    claims["tenant_id"] = claims["tid"].clone();
    Some(claims)
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
