//! The configuration of all daemons: `config.default.toml` -> a file -> the environment.

mod convert;
mod entries;
mod faults;
mod issuers;
mod layers;
mod otlp;
mod overrides;
mod rules;
mod sections;
mod value;

#[cfg(test)]
mod tests;

pub use faults::{ConfigFaults, Fault, Warning};
pub use issuers::{AuthSettings, Issuer};
pub use otlp::otlp_headers;
pub use sections::{
    Auth, Breaker, Canary, Consumer, Database, Encryption, LogFormat, OtlpProtocol, Publisher, Pulsar, Relay,
    Retention, Signing, SigningAlgorithm, StepLog, Telemetry, Webhook,
};
pub use value::{Days, Millis, Seconds, Secret, SecretUrl};

use layers::Layers;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use toml::{Table, Value};

/// The embedded defaults, commented key by key.
pub const DEFAULTS: &str = layers::DEFAULTS;

/// Who reads the configuration: a daemon needs all of it, an operator's command only what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Daemon,
    Operator,
}

#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub database: Database,
    pub pulsar: Pulsar,
    pub signing: Signing,
    pub publisher: Publisher,
    pub auth: Auth,
    pub encryption: Encryption,
    pub relay: Relay,
    pub consumer: Consumer,
    pub webhook: Webhook,
    pub breaker: Breaker,
    pub retention: Retention,
    pub telemetry: Telemetry,
    pub canary: Canary,
}

impl Config {
    /// Reads and checks the whole configuration of a daemon.
    ///
    /// # Errors
    /// All faults at once; a daemon prints them and leaves with [`ConfigFaults::EXIT_CODE`].
    pub fn load(
        path: Option<PathBuf>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Warning>), ConfigFaults> {
        Self::load_for(Role::Daemon, path, environment)
    }

    /// Like [`Config::load`], for a reader that may not need every value.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load_for(
        role: Role,
        path: Option<PathBuf>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Warning>), ConfigFaults> {
        let mut layers = Layers::new();
        if let Some(path) = path {
            let name = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => layers.file(&name, &text),
                Err(error) => layers.faults.add(name, format!("cannot be read: {error}")),
            }
        }
        layers.environment(environment);
        let Layers { mut table, mut faults, warnings, overrides, shape } = layers;
        rules::numbers(&table, &mut faults);
        rules::secret_file(&mut table, "database", "url", &mut faults);
        rules::secret_file(&mut table, "encryption", "master_keys", &mut faults);
        let Some(mut config) = Self::build(&table, &shape, &mut faults) else { return Err(faults) };
        config.webhook.overrides = overrides.urls();
        config.route_canary();
        rules::check(&config, role, &mut faults);
        if faults.is_empty() { Ok((config, warnings)) } else { Err(faults) }
    }

    fn build(table: &Table, shape: &Table, faults: &mut ConfigFaults) -> Option<Self> {
        let database = section(table, shape, "database", faults);
        let pulsar = section(table, shape, "pulsar", faults);
        let signing = section(table, shape, "signing", faults);
        let publisher = section(table, shape, "publisher", faults);
        let auth = Self::auth(table, shape, faults);
        let encryption = section(table, shape, "encryption", faults);
        let relay = section(table, shape, "relay", faults);
        let consumer = section(table, shape, "consumer", faults);
        let webhook = section(table, shape, "webhook", faults);
        let breaker = section(table, shape, "breaker", faults);
        let retention = section(table, shape, "retention", faults);
        let telemetry = section(table, shape, "telemetry", faults);
        let canary = section(table, shape, "canary", faults);
        Some(Self {
            database: database?,
            pulsar: pulsar?,
            signing: signing?,
            publisher: publisher?,
            auth: auth?,
            encryption: encryption?,
            relay: relay?,
            consumer: consumer?,
            webhook: webhook?,
            breaker: breaker?,
            retention: retention?,
            telemetry: telemetry?,
            canary: canary?,
        })
    }

    /// The issuers are a list of tables: each is read on its own, like every other entry of a list.
    fn auth(table: &Table, shape: &Table, faults: &mut ConfigFaults) -> Option<Auth> {
        let mut keys = table.get("auth")?.as_table()?.clone();
        let issuers = match keys.remove("issuers") {
            Some(Value::Array(entries)) => issuers::read(&entries, faults),
            _ => Vec::new(),
        };
        let mut auth: Auth = entries::entry("auth", &Value::Table(keys), shape.get("auth"), faults)?;
        auth.issuers = issuers;
        Some(auth)
    }

    /// The effective values for `--check-config`, secrets masked.
    pub fn masked(&self) -> String {
        toml::to_string_pretty(self)
            .unwrap_or_else(|error| format!("# the configuration cannot be printed: {error}\n"))
    }
}

fn section<T: DeserializeOwned>(
    table: &Table,
    shape: &Table,
    name: &str,
    faults: &mut ConfigFaults,
) -> Option<T> {
    entries::entry(name, table.get(name)?, shape.get(name), faults)
}
