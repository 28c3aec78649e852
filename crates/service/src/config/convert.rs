//! What each crate gets from the configuration, in its own terms.

use super::{AuthSettings, Canary, Config};
use crate::vault::{Vault, VaultError};
use bridge_bus::{BrokerAuth, BusConfig, Tls};
use bridge_protocol::{Defaults, TenantId, TopicNames, override_name};
use bridge_store::StoreConfig;
use bridge_webhook::{BreakerConfig, SlotLimits, WebhookConfig};
use ipnet::IpNet;
use std::time::Duration;
use url::Url;

/// n8n closes an idle connection after 5 s; it must not be used at that moment.
const POOL_IDLE: Duration = Duration::from_secs(4);

impl Config {
    /// `application` is what Postgres shows for the connections.
    pub fn store(&self, application: &str) -> StoreConfig {
        let (database, retention) = (&self.database, &self.retention);
        StoreConfig {
            url: database.url.as_ref().map_or_else(String::new, |url| url.expose().to_owned()),
            pool_size: database.pool_size,
            statement_timeout: database.statement_timeout_ms.get(),
            batch_rows: database.batch_rows,
            batch_bytes: database.batch_bytes,
            batch_connections: database.batch_connections,
            queue_rows: database.queue_rows,
            partitions_ahead_days: retention.partitions_ahead_days.get(),
            executions_days: retention.executions_days.get(),
            payloads_days: retention.payloads_days.get(),
            idempotency_days: retention.idempotency_days.get(),
            application_name: application.to_owned(),
        }
    }

    /// For the daemons.
    pub fn bus(&self) -> BusConfig {
        let pulsar = &self.pulsar;
        BusConfig {
            service_url: pulsar.service_url.clone(),
            http_url: pulsar.http_url.clone(),
            auth: self.broker_auth(),
            tls: self.tls(),
            operation_timeout: pulsar.operation_timeout_ms.get(),
            connection_timeout: pulsar.connection_timeout_ms.get(),
            keep_alive: pulsar.keep_alive_ms.get(),
            produce_in_flight: pulsar.produce_in_flight,
            idle_producer: pulsar.idle_producer_ms.get(),
            consumers_per_client: pulsar.consumers_per_client,
            subscription: pulsar.subscription.clone(),
            receive_budget: pulsar.receive_budget,
        }
    }

    /// How the broker proves who it is.
    pub fn tls(&self) -> Tls {
        Tls { ca_file: self.pulsar.tls_ca_file.clone() }
    }

    /// How the daemons log in at the broker.
    pub fn broker_auth(&self) -> BrokerAuth {
        let pulsar = &self.pulsar;
        if let (Some(issuer), Some(client), Some(secret)) =
            (&pulsar.oauth2_issuer_url, &pulsar.oauth2_client_id, &pulsar.oauth2_client_secret_file)
        {
            return BrokerAuth::OAuth2 {
                issuer_url: issuer.clone(),
                audience: pulsar.oauth2_audience.clone(),
                scope: pulsar.oauth2_scope.clone(),
                client_id: client.clone(),
                client_secret_file: secret.clone(),
            };
        }
        match (&pulsar.auth_token, &pulsar.auth_token_file) {
            (Some(token), _) => BrokerAuth::Token(token.expose().to_owned()),
            (None, Some(file)) => BrokerAuth::TokenFile(file.clone()),
            (None, None) => BrokerAuth::None,
        }
    }

    /// How the operator's commands log in at the broker's admin REST: with their own token, else as the daemons do.
    pub fn admin_auth(&self) -> BrokerAuth {
        match (&self.pulsar.admin_token, &self.pulsar.admin_token_file) {
            (Some(token), _) => BrokerAuth::Token(token.expose().to_owned()),
            (None, Some(file)) => BrokerAuth::TokenFile(file.clone()),
            (None, None) => self.broker_auth(),
        }
    }

    pub fn webhook_client(&self) -> WebhookConfig {
        let webhook = &self.webhook;
        WebhookConfig {
            connect_timeout: webhook.connect_timeout_ms.get(),
            pool_idle_timeout: POOL_IDLE,
            max_idle_per_host: self.consumer.host_slots,
            max_answer_bytes: webhook.max_answer_bytes,
            // Checked when the configuration was read.
            allow_private: webhook
                .allow_private
                .iter()
                .filter_map(|range| super::rules::range(range))
                .collect(),
            trusted_hosts: self.trusted_hosts().collect(),
            own_urls: self.own_urls(),
            ..WebhookConfig::default()
        }
    }

    /// What seals the secrets in the database.
    ///
    /// # Errors
    /// None for a configuration that was loaded for a daemon: loading has tried it.
    pub fn vault(&self) -> Result<Vault, VaultError> {
        Vault::from_text(self.encryption.master_keys.as_ref().map_or("", |keys| keys.expose()))
    }

    /// Who may call, for the one who checks it.
    pub fn access(&self) -> AuthSettings {
        let auth = &self.auth;
        AuthSettings {
            issuer: self.issuer(),
            audience: auth.audience.clone(),
            token_lifetime: auth.token_lifetime_s.get(),
            issuers: auth.issuers.clone(),
            jwks_refresh: auth.jwks_refresh_s.get(),
            jwks_min_refresh: auth.jwks_min_refresh_s.get(),
            fetch_timeout: auth.fetch_timeout_ms.get(),
            max_token_bytes: auth.max_token_bytes,
            token_cache: auth.token_cache,
            token_requests_per_minute: auth.token_requests_per_minute,
        }
    }

    /// The built-in issuer's name. All publishers must have the same, or each takes only its own tokens.
    fn issuer(&self) -> String {
        match &self.publisher.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://localhost:{}", self.publisher.bind.port()),
        }
    }

    /// The proxies whose X-Forwarded-For is believed.
    pub fn trusted_proxies(&self) -> Vec<IpNet> {
        self.publisher.trusted_proxies.iter().filter_map(|text| super::rules::range(text)).collect()
    }

    /// What the operator's own URLs begin with, where he does not allow the whole host.
    fn own_urls(&self) -> Vec<Url> {
        let webhook = &self.webhook;
        let of_n8n =
            webhook.n8n_base_url.iter().map(|base| format!("{}/webhook/", base.trim_end_matches('/')));
        let urls = webhook.default_url.iter().chain(webhook.overrides.values()).cloned().chain(of_n8n);
        let begin = |url: String| Url::parse(url.split("{workflow_id}").next()?).ok();
        let allowed = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
            webhook
                .allow_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(&with_port))
        };
        urls.filter_map(begin).filter(|url| !allowed(url)).collect()
    }

    /// The hosts of the operator's own URLs, each with its port, and those he allows.
    fn trusted_hosts(&self) -> impl Iterator<Item = String> {
        let webhook = &self.webhook;
        let urls = webhook.default_url.iter().chain(&webhook.n8n_base_url).chain(webhook.overrides.values());
        let own = urls.filter_map(|url| {
            let url = Url::parse(url).ok()?;
            let host = url.host_str()?;
            Some(format!("{host}:{}", url.port_or_known_default()?))
        });
        own.chain(self.webhook.allow_hosts.iter().cloned())
    }

    pub fn breaker(&self) -> BreakerConfig {
        let breaker = &self.breaker;
        BreakerConfig {
            failures: breaker.failures,
            open: breaker.open_ms.get(),
            max_open: breaker.max_open_ms.get(),
        }
    }

    pub fn slot_limits(&self) -> SlotLimits {
        let consumer = &self.consumer;
        SlotLimits {
            global: consumer.global_slots,
            per_host: consumer.host_slots,
            per_workflow: consumer.default_max_concurrency as usize,
            global_wait: consumer.slot_wait_ms.get(),
        }
    }

    /// The names of the topics, from the namespace and the built-in lanes.
    pub fn topic_names(&self) -> TopicNames {
        TopicNames { namespace: self.pulsar.namespace.clone(), ..TopicNames::default() }
    }

    /// How what has no route is fired.
    pub fn route_defaults(&self) -> Defaults {
        let webhook = &self.webhook;
        Defaults {
            default_url: webhook.default_url.clone().unwrap_or_default(),
            n8n_base_url: webhook.n8n_base_url.clone(),
            overrides: webhook.overrides.clone().into_iter().collect(),
            queue_enabled: webhook.queue_enabled,
            strict: webhook.strict_routes,
        }
    }

    /// The canary's webhook is the publisher's own: the operator's URL of one workflow, as `N8N_WEBHOOK_<ID>` names others.
    pub(super) fn route_canary(&mut self) {
        let base = self.canary.url.clone().or_else(|| self.callback_base_url());
        if let Some(base) = base.filter(|_| self.canary.enabled) {
            let url = format!("{}/internal/canary", base.trim_end_matches('/'));
            self.webhook.overrides.entry(override_name(Canary::WORKFLOW)).or_insert(url);
        }
    }

    /// Whose executions are no traffic. `None`: no canary flies.
    pub fn canary_tenant(&self) -> Option<TenantId> {
        TenantId::parse(&self.canary.tenant).ok().filter(|_| self.canary.enabled)
    }

    /// Where workflows report their results, as n8n reaches it. `None`: nobody may be asked for a callback.
    pub fn callback_base_url(&self) -> Option<String> {
        let url = self.webhook.callback_base_url.as_ref().or(self.publisher.public_url.as_ref())?;
        Some(url.trim_end_matches('/').to_owned())
    }
}
