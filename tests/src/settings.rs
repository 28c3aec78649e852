//! The configuration a world runs with: everything that makes a person wait in production is short here.

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::ApiKey;

use crate::parts::Pulsar;

/// One tenant of a world.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: String,
    /// An API key with every scope of a tenant.
    pub token: String,
    pub webhook_secret: String,
}

impl Tenant {
    pub fn new() -> Self {
        let secret = STANDARD.encode(rand::random::<[u8; 32]>());
        Self {
            id: crate::unique("t"),
            token: ApiKey::generate(rand::rng()).expose().to_owned(),
            webhook_secret: format!("whsec_{secret}"),
        }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::new()
    }
}

pub struct Settings {
    pub tenants: Vec<Tenant>,
    /// Workflow and the TOML lines of its route, for every tenant.
    pub routes: Vec<(String, String)>,
    /// Keys as in the configuration file, `section.key`, with their TOML values.
    pub overrides: Vec<(String, String)>,
}

/// A route whose retries follow at once.
pub const QUICK_RETRY: &str = "retry = { max_attempts = 4, base_ms = 20, factor = 1.5, max_ms = 100 }";

const SHORT: &[(&str, &str)] = &[
    ("database.accept_patience_ms", "3000"),
    ("database.write_patience_ms", "15000"),
    ("pulsar.operation_timeout_ms", "10000"),
    ("pulsar.connection_timeout_ms", "3000"),
    ("pulsar.keep_alive_ms", "5000"),
    ("relay.poll_ms", "50"),
    ("relay.patience_ms", "1500"),
    ("relay.max_patience_ms", "4000"),
    ("relay.backlog_max_age_ms", "200"),
    ("relay.takeover_grace_ms", "200"),
    ("consumer.slot_wait_ms", "300"),
    ("consumer.lease_margin_ms", "2000"),
    ("consumer.heal_after_ms", "5000"),
    ("consumer.drain_ms", "10000"),
    ("publisher.drain_ms", "5000"),
    ("auth.directory_poll_ms", "100"),
    ("webhook.connect_timeout_ms", "1000"),
    // A test that wants the breaker says so: here one endpoint stands for all webhooks.
    ("breaker.failures", "100000"),
    ("breaker.open_ms", "500"),
    ("breaker.max_open_ms", "1000"),
    ("telemetry.log_level", "\"info\""),
];

pub struct Places {
    pub database_url: String,
    pub pulsar: Pulsar,
    pub publisher_port: u16,
    pub consumer_port: u16,
    pub webhook_url: String,
    pub keyring_file: String,
    pub master_keys_file: String,
}

impl Settings {
    pub fn toml(&self, places: &Places) -> String {
        let mut keys: Vec<(String, String)> =
            SHORT.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut set = |key: &str, value: String| {
            keys.retain(|(known, _)| known != key);
            keys.push((key.to_owned(), value));
        };
        set("database.url", format!("{:?}", places.database_url));
        set("pulsar.service_url", format!("{:?}", places.pulsar.service_url));
        set("pulsar.http_url", format!("{:?}", places.pulsar.http_url));
        set("pulsar.tenant", format!("{:?}", self.tenants[0].id));
        set("publisher.bind", format!("\"127.0.0.1:{}\"", places.publisher_port));
        set("publisher.public_url", format!("\"http://127.0.0.1:{}\"", places.publisher_port));
        set("consumer.bind", format!("\"127.0.0.1:{}\"", places.consumer_port));
        set("signing.keyring_file", format!("{:?}", places.keyring_file));
        set("encryption.master_keys_file", format!("{:?}", places.master_keys_file));
        set("webhook.default_url", format!("{:?}", places.webhook_url));
        for (key, value) in &self.overrides {
            set(key, value.clone());
        }
        let mut text = String::new();
        for (key, value) in keys {
            writeln!(text, "{key} = {value}").unwrap();
        }
        text
    }
}

pub fn keyring(kid: &str) -> String {
    format!("signing = {kid:?}\n{}", key_entry(kid))
}

/// One more key for a ring.
pub fn key_entry(kid: &str) -> String {
    let secret = STANDARD.encode(rand::random::<[u8; 32]>());
    format!("[[keys]]\nkid = {kid:?}\nalg = \"HS256\"\nsecret = {secret:?}\n")
}

/// A ring that signs, and one that only verifies.
pub fn eddsa_keyrings(kid: &str) -> (String, String) {
    let pem = |arguments: &[&str], input: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let private = pem(&["genpkey", "-algorithm", "ed25519"], "");
    let public = pem(&["pkey", "-pubout"], &private);
    let entry = format!("[[keys]]\nkid = {kid:?}\nalg = \"EdDSA\"\npublic_pem = {public:?}\n");
    (format!("signing = {kid:?}\n{entry}private_pem = {private:?}\n"), entry)
}

/// A text of master keys with one key.
pub fn master_keys(id: &str) -> String {
    format!("{id}:{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}
