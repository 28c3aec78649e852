//! What no type can say: rules about one value's meaning, and rules that tie several keys together.

use super::{Config, Role, faults::ConfigFaults};
use bridge_protocol::{Lane, TenantId};
use ipnet::IpNet;
use std::{net::IpAddr, path::Path};
use toml::{Table, Value};
use url::Url;

/// Every number of the configuration is a limit, a size or a time: none works as zero.
pub(super) fn numbers(table: &Table, faults: &mut ConfigFaults) {
    for (section, keys) in table {
        let Some(keys) = keys.as_table() else { continue };
        for (key, value) in keys {
            let place = format!("{section}.{key}");
            if value.as_integer().is_some_and(|number| number < 1) && !faults.names(&place) {
                faults.add(place, "must be 1 or more");
            }
        }
    }
}

pub(super) fn check(config: &Config, role: Role, faults: &mut ConfigFaults) {
    urls(config, faults);
    broker(config, faults);
    times(config, faults);
    sizes(config, faults);
    for range in &config.webhook.allow_private {
        if self::range(range).is_none() {
            faults
                .add("webhook.allow_private", format!("{range:?} is not an address range, e.g. 10.0.0.0/8"));
        }
    }
    if role == Role::Daemon {
        required(config, faults);
    }
}

/// What a daemon cannot start without.
fn required(config: &Config, faults: &mut ConfigFaults) {
    if config.database.url.is_none() && !faults.names("database.url_file") {
        faults.add("database.url", "is not set; give it in the file, DATABASE_URL or BRIDGE_DATABASE__URL");
    }
    match &config.signing.keyring_file {
        None => faults.add("signing.keyring_file", "is not set; name the file that holds the keys"),
        Some(file) => readable("signing.keyring_file", file, faults),
    }
    if config.webhook.default_url.is_none() && config.webhook.n8n_base_url.is_none() {
        let what =
            "is not set; give FASTAPI_BRIDGE_WEBHOOK_URL, or N8N_BASE_URL for {base}/webhook/{workflow_id}";
        faults.add("webhook.default_url", what);
    } else if let Err(error) = config.route_table() {
        for fault in error.faults {
            faults.add(if fault.starts_with("route ") { "routes" } else { "webhook.default_url" }, fault);
        }
    }
    if config.tenants.is_empty() && !faults.iter().any(|fault| fault.place.starts_with("tenants")) {
        faults.add("tenants", "is empty; the configuration file needs at least one [[tenants]]");
    }
    for tenant in &config.tenants {
        if tenant.webhook_secrets.is_empty() {
            let place = format!("tenants.{}.webhook_secrets", tenant.id);
            faults.add(place, "is empty; webhooks are signed with it, give one whsec_ secret");
        }
    }
}

fn urls(config: &Config, faults: &mut ConfigFaults) {
    if let Some(url) = &config.database.url {
        let scheme = Url::parse(url.expose()).map(|url| url.scheme().to_owned());
        if !matches!(scheme.as_deref(), Ok("postgres" | "postgresql")) {
            faults.add("database.url", "must be postgres://user:password@host:port/database");
        }
    }
    match Url::parse(&config.pulsar.service_url) {
        Ok(url) if matches!(url.scheme(), "pulsar" | "pulsar+ssl") && url.has_host() => {}
        _ => faults.add("pulsar.service_url", "must be pulsar://host:6650 or pulsar+ssl://host:6651"),
    }
    let web = [
        ("pulsar.http_url", Some(&config.pulsar.http_url)),
        ("pulsar.oauth2_issuer_url", config.pulsar.oauth2_issuer_url.as_ref()),
        ("publisher.public_url", config.publisher.public_url.as_ref()),
        ("webhook.n8n_base_url", config.webhook.n8n_base_url.as_ref()),
        ("telemetry.otlp_endpoint", config.telemetry.otlp_endpoint.as_ref()),
    ];
    for (place, url) in web.into_iter().filter_map(|(place, url)| Some((place, url?))) {
        if let Err(what) = http_url(url) {
            faults.add(place, what);
        }
    }
}

fn http_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(())
    } else {
        Err(format!("{text:?} must begin with http:// or https:// and name a host"))
    }
}

fn broker(config: &Config, faults: &mut ConfigFaults) {
    let pulsar = &config.pulsar;
    if let Err(error) = TenantId::parse(&pulsar.tenant) {
        faults.add("pulsar.tenant", error.to_string());
    }
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=".contains(&byte))
    };
    if let Err(error) = config.topic_names().check() {
        faults.add("pulsar.namespace", error.to_string());
    }
    if !plain(&pulsar.subscription) {
        faults.add("pulsar.subscription", "must be letters, digits and -_.:= and must not be empty");
    }
    if pulsar.auth_token.is_some() && pulsar.auth_token_file.is_some() {
        faults.add("pulsar.auth_token", "give auth_token or auth_token_file, not both");
    }
    if pulsar.admin_token.is_some() && pulsar.admin_token_file.is_some() {
        faults.add("pulsar.admin_token", "give admin_token or admin_token_file, not both");
    }
    for (place, file) in [
        ("pulsar.auth_token_file", &pulsar.auth_token_file),
        ("pulsar.admin_token_file", &pulsar.admin_token_file),
        ("pulsar.oauth2_client_secret_file", &pulsar.oauth2_client_secret_file),
    ] {
        if let Some(file) = file {
            readable(place, file, faults);
        }
    }
    let oauth2 = [
        ("pulsar.oauth2_issuer_url", pulsar.oauth2_issuer_url.is_some()),
        ("pulsar.oauth2_client_id", pulsar.oauth2_client_id.is_some()),
        ("pulsar.oauth2_client_secret_file", pulsar.oauth2_client_secret_file.is_some()),
    ];
    if oauth2.iter().any(|(_, set)| *set) {
        for (place, _) in oauth2.iter().filter(|(_, set)| !set) {
            faults.add(
                *place,
                "is not set; the login by OAuth 2 needs issuer, client id and client secret file",
            );
        }
        if pulsar.auth_token.is_some() || pulsar.auth_token_file.is_some() {
            faults
                .add("pulsar.auth_token", "is set beside the oauth2_ keys; the broker takes one of the two");
        }
    }
}

fn times(config: &Config, faults: &mut ConfigFaults) {
    let retention = &config.retention;
    if config.publisher.max_delay_s.get() >= retention.payloads_days.duration() {
        faults.add(
            "publisher.max_delay_s",
            format!("a payload is kept for {} days; a delay must be shorter", retention.payloads_days.get()),
        );
    }
    if retention.payloads_days > retention.executions_days {
        faults.add("retention.payloads_days", "must not be longer than retention.executions_days");
    }
    if retention.idempotency_days > retention.executions_days {
        faults.add("retention.idempotency_days", "must not be longer than retention.executions_days");
    }
    if config.relay.patience_ms > config.relay.max_patience_ms {
        faults.add("relay.patience_ms", "must not be longer than relay.max_patience_ms");
    }
    if config.breaker.open_ms > config.breaker.max_open_ms {
        faults.add("breaker.open_ms", "must not be longer than breaker.max_open_ms");
    }
    if config.signing.message_lifetime_s.get() <= config.relay.max_patience_ms.get() {
        faults.add(
            "signing.message_lifetime_s",
            "must be longer than relay.max_patience_ms, or messages die before their timer rings",
        );
    }
    let longest = Lane::ALL.iter().map(|lane| lane.webhook_timeout()).max().unwrap_or_default();
    if config.signing.message_lifetime_s.get() <= longest {
        faults.add("signing.message_lifetime_s", "must be longer than the longest webhook time limit");
    }
}

fn sizes(config: &Config, faults: &mut ConfigFaults) {
    let publisher = &config.publisher;
    if publisher.inflight_bytes < publisher.max_payload_bytes {
        faults
            .add("publisher.inflight_bytes", "must hold at least one payload of publisher.max_payload_bytes");
    }
    if u32::try_from(publisher.inflight_bytes / 1024).is_err() {
        faults.add("publisher.inflight_bytes", "must be below 4 TiB");
    }
    if config.webhook.max_result_bytes > config.webhook.max_answer_bytes {
        faults.add("webhook.max_result_bytes", "must not be larger than webhook.max_answer_bytes");
    }
    if config.consumer.host_slots > config.consumer.global_slots {
        faults.add("consumer.host_slots", "must not be larger than consumer.global_slots");
    }
    if config.signing.issuer.trim().is_empty() {
        faults.add("signing.issuer", "must not be empty");
    }
}

fn readable(place: &str, file: &Path, faults: &mut ConfigFaults) {
    if let Err(error) = std::fs::File::open(file) {
        faults.add(place, format!("{} cannot be read: {error}", file.display()));
    }
}

/// Keys that are read before the sections can be built.
pub(super) fn secret_file(table: &mut Table, section: &str, key: &str, faults: &mut ConfigFaults) {
    let Some(keys) = table.get_mut(section).and_then(Value::as_table_mut) else { return };
    let twin = format!("{key}_file");
    let text = |keys: &Table, key: &str| keys.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (direct, file) = (text(keys, key), text(keys, &twin));
    if file.is_empty() {
        return;
    }
    if !direct.is_empty() {
        return faults.add(format!("{section}.{key}"), format!("give {key} or {twin}, not both"));
    }
    if let Some(secret) = super::entries::read_secret(&format!("{section}.{twin}"), Path::new(&file), faults)
    {
        keys.insert(key.to_owned(), Value::String(secret.expose().to_owned()));
    }
}

/// An address range, or one address.
pub(super) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
