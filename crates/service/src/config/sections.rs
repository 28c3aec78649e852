//! The sections of the configuration, each with the keys of `config.default.toml`.

use super::issuers::Issuer;
use super::value::{Days, Millis, Seconds, Secret, SecretUrl, optional};
use bridge_protocol::Lane;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    #[serde(deserialize_with = "optional")]
    pub url: Option<SecretUrl>,
    #[serde(deserialize_with = "optional")]
    pub url_file: Option<PathBuf>,
    pub pool_size: u32,
    pub statement_timeout_ms: Millis,
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub batch_connections: usize,
    pub queue_rows: usize,
    pub accept_patience_ms: Millis,
    pub write_patience_ms: Millis,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulsar {
    pub service_url: String,
    pub http_url: String,
    pub tenant: String,
    pub namespace: String,
    pub subscription: String,
    #[serde(deserialize_with = "optional")]
    pub auth_token: Option<Secret>,
    #[serde(deserialize_with = "optional")]
    pub auth_token_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    pub admin_token: Option<Secret>,
    #[serde(deserialize_with = "optional")]
    pub admin_token_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    pub oauth2_issuer_url: Option<String>,
    #[serde(deserialize_with = "optional")]
    pub oauth2_audience: Option<String>,
    #[serde(deserialize_with = "optional")]
    pub oauth2_client_id: Option<String>,
    #[serde(deserialize_with = "optional")]
    pub oauth2_client_secret_file: Option<PathBuf>,
    #[serde(deserialize_with = "optional")]
    pub oauth2_scope: Option<String>,
    #[serde(deserialize_with = "optional")]
    pub tls_ca_file: Option<PathBuf>,
    pub operation_timeout_ms: Millis,
    pub connection_timeout_ms: Millis,
    pub keep_alive_ms: Millis,
    pub produce_in_flight: usize,
    pub idle_producer_ms: Millis,
    pub consumers_per_client: usize,
    pub receive_budget: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningAlgorithm {
    Hmac,
    Eddsa,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    pub algorithm: SigningAlgorithm,
    #[serde(deserialize_with = "optional")]
    pub keyring_file: Option<PathBuf>,
    pub message_lifetime_s: Seconds,
    pub issuer: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    pub bind: SocketAddr,
    #[serde(deserialize_with = "optional")]
    pub public_url: Option<String>,
    pub max_payload_bytes: usize,
    pub inflight_requests: usize,
    pub inflight_bytes: usize,
    pub max_connections: usize,
    pub header_timeout_ms: Millis,
    pub body_timeout_ms: Millis,
    pub write_timeout_ms: Millis,
    pub handoff: usize,
    pub batch_rows: usize,
    pub max_delay_s: Seconds,
    pub credential_changes_per_minute: u32,
    pub route_changes_per_minute: u32,
    pub result_wait_max_s: Seconds,
    pub waiters: usize,
    pub result_turn_ms: Millis,
    pub job_per_second: u32,
    pub job_page: u16,
    pub jobs_at_once: usize,
    pub jobs_open: u32,
    pub job_lease_ms: Millis,
    pub job_pause_ms: Millis,
    pub native_slot_wait_ms: Millis,
    pub native_payload_bytes: usize,
    pub drain_ms: Millis,
    pub trusted_proxies: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub token_lifetime_s: Seconds,
    pub audience: String,
    /// Read entry by entry, after the section.
    #[serde(skip_deserializing)]
    pub issuers: Vec<Issuer>,
    pub jwks_refresh_s: Seconds,
    pub jwks_min_refresh_s: Seconds,
    pub fetch_timeout_ms: Millis,
    pub max_token_bytes: usize,
    pub token_cache: usize,
    pub token_requests_per_minute: u32,
    pub directory_poll_ms: Millis,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    #[serde(deserialize_with = "optional")]
    pub master_keys: Option<Secret>,
    #[serde(deserialize_with = "optional")]
    pub master_keys_file: Option<PathBuf>,
    pub payloads: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub poll_ms: Millis,
    pub batch: u32,
    pub patience_ms: Millis,
    pub max_patience_ms: Millis,
    pub backlog_max_age_ms: Millis,
    pub takeover_grace_ms: Millis,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    pub bind: SocketAddr,
    pub topic_permits: usize,
    pub global_slots: usize,
    pub host_slots: usize,
    pub default_max_concurrency: u32,
    pub slot_wait_ms: Millis,
    pub lease_margin_ms: Millis,
    pub drain_ms: Millis,
    pub heal_after_ms: Millis,
    pub forged_per_minute: u32,
    pub large_payload_bytes: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    #[serde(deserialize_with = "optional")]
    pub default_url: Option<String>,
    #[serde(deserialize_with = "optional")]
    pub n8n_base_url: Option<String>,
    /// From N8N_WEBHOOK_<ID>, by the id as it stands in that name.
    #[serde(skip_deserializing)]
    pub overrides: BTreeMap<String, String>,
    #[serde(deserialize_with = "optional")]
    pub callback_base_url: Option<String>,
    pub connect_timeout_ms: Millis,
    pub max_answer_bytes: usize,
    pub max_result_bytes: usize,
    pub allow_private: Vec<String>,
    pub allow_hosts: Vec<String>,
    pub strict_routes: bool,
    pub queue_enabled: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub failures: u32,
    pub open_ms: Millis,
    pub max_open_ms: Millis,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub executions_days: Days,
    pub payloads_days: Days,
    pub idempotency_days: Days,
    pub partitions_ahead_days: Days,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Human,
}

/// Which steps of executions are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepLog {
    All,
    Problems,
}

/// By OpenTelemetry's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    #[serde(rename = "grpc")]
    Grpc,
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log_format: LogFormat,
    pub log_level: String,
    pub step_log: StepLog,
    pub tenants_named: usize,
    #[serde(deserialize_with = "optional")]
    pub otlp_endpoint: Option<String>,
    pub otlp_protocol: OtlpProtocol,
    #[serde(deserialize_with = "optional")]
    pub otlp_headers: Option<Secret>,
    pub sample_ratio: f64,
    pub span_queue: usize,
    pub trace_age_s: Seconds,
    #[serde(deserialize_with = "optional")]
    pub jaeger_url: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    pub enabled: bool,
    pub interval_s: Seconds,
    pub timeout_s: Seconds,
    pub lanes: Vec<Lane>,
    pub tenant: String,
    #[serde(deserialize_with = "optional")]
    pub url: Option<String>,
}

impl Canary {
    /// What it publishes to, in every lane.
    pub const WORKFLOW: &'static str = "bridge-canary";
}
