//! default -> file -> environment: the layers are laid over one another as tables, checked against the shape of
//! the embedded defaults. That shape is the one list of all keys.

use super::faults::{ConfigFaults, Warning};
use super::overrides::{OVERRIDE, Overrides};
use crate::suggest::did_you_mean;
use std::collections::HashSet;
use toml::{Table, Value};

pub(super) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What once stood in the file and lives in the database now, with what to do about it.
const MOVED: [(&str, &str); 2] = [
    (
        "tenants",
        "tenants live in the database now; take [[tenants]] out and run `bridgectl tenant create` for each",
    ),
    ("routes", "routes live in the database now; take [[routes]] out and run `bridgectl route apply`"),
];

/// Names of ours that are not keys of the configuration.
const NOT_KEYS: [&str; 3] = ["BRIDGE_CONFIG", "BRIDGE_FAILPOINT", "BRIDGE_URL"];
const NOT_KEYS_BY_PREFIX: [&str; 2] = ["BRIDGE_TOKEN", "BRIDGE_TEST_"];

/// Names users of the older bridge, of Pulsar and of OpenTelemetry already have. Of two names of one key the later wins.
const PLAIN: [(&str, &str, &str); 32] = [
    ("DATABASE_URL", "database", "url"),
    ("DATABASE_URL_FILE", "database", "url_file"),
    ("PULSAR_SERVICE_URL", "pulsar", "service_url"),
    ("PULSAR_HTTP_URL", "pulsar", "http_url"),
    ("PULSAR_TENANT", "pulsar", "tenant"),
    ("PULSAR_NAMESPACE", "pulsar", "namespace"),
    ("PULSAR_AUTH_TOKEN", "pulsar", "auth_token"),
    ("PULSAR_AUTH_TOKEN_FILE", "pulsar", "auth_token_file"),
    ("PULSAR_ADMIN_TOKEN", "pulsar", "admin_token"),
    ("PULSAR_ADMIN_TOKEN_FILE", "pulsar", "admin_token_file"),
    ("PULSAR_OAUTH2_ISSUER_URL", "pulsar", "oauth2_issuer_url"),
    ("PULSAR_OAUTH2_AUDIENCE", "pulsar", "oauth2_audience"),
    ("PULSAR_OAUTH2_CLIENT_ID", "pulsar", "oauth2_client_id"),
    ("PULSAR_OAUTH2_CLIENT_SECRET_FILE", "pulsar", "oauth2_client_secret_file"),
    ("PULSAR_OAUTH2_SCOPE", "pulsar", "oauth2_scope"),
    ("BRIDGE_MASTER_KEYS", "encryption", "master_keys"),
    ("BRIDGE_MASTER_KEYS_FILE", "encryption", "master_keys_file"),
    ("FASTAPI_BRIDGE_PORT", "publisher", "bind"),
    ("BRIDGE_PUBLIC_URL", "publisher", "public_url"),
    ("FASTAPI_BRIDGE_WEBHOOK_URL", "webhook", "default_url"),
    ("N8N_BASE_URL", "webhook", "n8n_base_url"),
    ("BRIDGE_CALLBACK_BASE_URL", "webhook", "callback_base_url"),
    ("DEALSCALE_PULSAR_QUEUE_ENABLED", "webhook", "queue_enabled"),
    ("RUST_LOG", "telemetry", "log_level"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry", "otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry", "otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry", "otlp_protocol"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "telemetry", "otlp_protocol"),
    ("OTEL_TRACES_SAMPLER_ARG", "telemetry", "sample_ratio"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "telemetry", "span_queue"),
    ("BRIDGE_JAEGER_URL", "telemetry", "jaeger_url"),
    ("BRIDGE_KEYRING_FILE", "signing", "keyring_file"),
];

pub(super) struct Layers {
    /// Sections with their effective values, each of the default's type.
    pub table: Table,
    pub faults: ConfigFaults,
    pub warnings: Vec<Warning>,
    /// URLs of single workflows.
    pub overrides: Overrides,
    /// The defaults alone.
    pub shape: Table,
}

impl Layers {
    pub fn new() -> Self {
        // Unwrap safety: the embedded file is parsed by a test of this crate.
        let shape: Table = DEFAULTS.parse().expect("config.default.toml is valid TOML");
        Self {
            table: shape.clone(),
            faults: ConfigFaults::default(),
            warnings: Vec::new(),
            overrides: Overrides::default(),
            shape,
        }
    }

    /// Lays a file's text over the defaults.
    pub fn file(&mut self, name: &str, text: &str) {
        let file: Table = match text.parse() {
            Ok(file) => file,
            Err(error) => return self.faults.add(name, format!("is not valid TOML: {}", error.message())),
        };
        let mut set = HashSet::new();
        for (section, value) in file {
            if let Some(what) = moved(&section) {
                self.faults.add(&section, what);
                continue;
            }
            let (Some(_), Value::Table(keys)) = (self.shape.get(&section), &value) else {
                let hint = did_you_mean(&section, self.shape.keys().map(String::as_str));
                self.faults.add(&section, format!("is not a section of the configuration{hint}"));
                continue;
            };
            for (key, value) in keys {
                self.set(&mut set, &section, key, value.clone(), &format!("{section}.{key}"));
            }
        }
    }

    /// Lays the environment over what is there; a `BRIDGE_` name wins over a plain one.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for (name, value) in variables {
            if let Some(known) = PLAIN.iter().position(|(plain, ..)| *plain == name) {
                // Compose files pass unset variables on as empty ones.
                if !value.trim().is_empty() {
                    plain.push((known, name, value));
                }
            } else if let Some(id) = name.strip_prefix(OVERRIDE) {
                self.overrides.add(id, &value, &mut self.faults, &mut self.warnings);
            } else if name.starts_with("BRIDGE_") && !is_not_a_key(&name, &value) {
                ours.push((name, value));
            }
        }
        let mut set = HashSet::new();
        plain.sort_unstable();
        for (known, name, value) in plain {
            let (_, section, key) = PLAIN[known];
            if name == "FASTAPI_BRIDGE_PORT" {
                self.port(&name, &value);
            } else {
                self.set_text(&mut set, section, key, &value, &name);
            }
        }
        let mut set = HashSet::new();
        for (name, value) in ours {
            let path = name["BRIDGE_".len()..].to_ascii_lowercase();
            match path.split_once("__") {
                Some((section, key)) if moved(section).is_none() => {
                    self.set_text(&mut set, section, key, &value, &name)
                }
                Some((section, _)) => self.faults.add(&name, moved(section).unwrap_or_default()),
                None => self.unknown_name(&name),
            }
        }
    }

    /// Kubernetes sets `<SERVICE>_PORT=tcp://...` for a service called fastapi-bridge.
    fn port(&mut self, name: &str, value: &str) {
        if value.contains("://") {
            let what = format!("{value} comes from Kubernetes and is ignored; set publisher.bind");
            self.warnings.push(Warning { place: name.to_owned(), what });
            return;
        }
        let Ok(port) = value.trim().parse::<u16>() else {
            return self
                .faults
                .add(name, format!("{value:?} is not a port; give a number, for example 8000"));
        };
        let section = self.table.get_mut("publisher").and_then(Value::as_table_mut);
        let Some(bind) = section.and_then(|section| section.get_mut("bind")) else { return };
        if let Some((host, _)) = bind.as_str().and_then(|text| text.rsplit_once(':')) {
            *bind = Value::String(format!("{host}:{port}"));
        }
    }

    fn unknown_name(&mut self, name: &str) {
        let keys = self.shape.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
        let names: Vec<String> = keys
            .flat_map(|(section, keys)| keys.keys().map(move |key| format!("BRIDGE_{section}__{key}")))
            .map(|name| name.to_ascii_uppercase())
            .collect();
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        self.faults.add(name, format!("is no setting of the bridge (BRIDGE_<SECTION>__<KEY>){hint}"));
    }

    fn set_text(&mut self, set: &mut HashSet<String>, section: &str, key: &str, text: &str, place: &str) {
        let Some(default) = self.shape.get(section).and_then(|keys| keys.get(key)) else {
            return self.unknown_name(place);
        };
        let parsed = match default {
            Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
            Value::Float(_) => {
                text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
            }
            Value::Boolean(_) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(Value::Boolean(true)),
                "false" | "0" | "no" | "off" => Some(Value::Boolean(false)),
                _ => None,
            },
            // A list of tables has no plain form.
            Value::Array(_) if (section, key) == ("auth", "issuers") => match super::issuers::from_text(text)
            {
                Ok(list) => Some(list),
                Err(what) => return self.faults.add(place, what),
            },
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
            }
            _ => Some(Value::String(text.to_owned())),
        };
        match parsed {
            Some(value) => self.set(set, section, key, value, place),
            None => self.faults.add(place, format!("must be {}", kind(default))),
        }
    }

    /// Sets one key if it exists and has the default's type. `set` holds the keys this layer has set already.
    fn set(&mut self, set: &mut HashSet<String>, section: &str, key: &str, value: Value, place: &str) {
        let Some(keys) = self.shape.get(section).and_then(Value::as_table) else { return };
        let Some(default) = keys.get(key) else {
            let hint = did_you_mean(key, keys.keys().map(String::as_str));
            return self.faults.add(place, format!("is not a key of [{section}]{hint}"));
        };
        // People write 1 for 1.0.
        let value = match (default, value) {
            (Value::Float(_), Value::Integer(whole @ -1_000_000..=1_000_000)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        if !default.same_type(&value) {
            return self.faults.add(place, format!("must be {}, not {}", kind(default), kind(&value)));
        }
        let Some(effective) = self.table.get_mut(section).and_then(Value::as_table_mut) else { return };
        // A secret and its file replace each other, unless one layer sets both: then a rule complains.
        let twin = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
        if keys.contains_key(&twin) && !set.contains(&format!("{section}.{twin}")) {
            effective.insert(twin, Value::String(String::new()));
        }
        effective.insert(key.to_owned(), value);
        set.insert(format!("{section}.{key}"));
    }
}

fn moved(section: &str) -> Option<&'static str> {
    MOVED.iter().find(|(name, _)| *name == section).map(|(_, what)| *what)
}

fn is_not_a_key(name: &str, value: &str) -> bool {
    // Kubernetes describes every service of the namespace; one may well be called bridge-something.
    let from_kubernetes = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT")
            && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP")));
    NOT_KEYS.contains(&name)
        || NOT_KEYS_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
        || (from_kubernetes && !name.contains("__"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
