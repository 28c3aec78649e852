//! What no type can say: rules about one value's meaning, and rules that tie several keys together.

use super::{Config, Role, faults::ConfigFaults};
use crate::vault::VaultError;
use bridge_protocol::{Lane, TenantId, check_webhook_url};
use ipnet::IpNet;
use std::{net::IpAddr, path::Path, time::Duration};
use toml::{Table, Value};
use url::Url;

/// What fits into one header line anywhere.
const MAX_TOKEN_BYTES: usize = 65_536;
const SLOWEST_POLL: Duration = Duration::from_secs(2);
/// Longer, and something on the way cuts the connection.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// A page is read and worked on in one go.
const LARGEST_PAGE: u16 = 1000;
const RAREST_CANARY: Duration = Duration::from_secs(240);

/// Where zero says something: no limit, or nobody.
const MAY_BE_ZERO: [&str; 3] = [
    "publisher.credential_changes_per_minute",
    "publisher.route_changes_per_minute",
    "telemetry.tenants_named",
];

/// Every other number of the configuration is a limit, a size or a time that does not work as zero.
pub(super) fn numbers(table: &Table, faults: &mut ConfigFaults) {
    for (section, keys) in table {
        let Some(keys) = keys.as_table() else { continue };
        for (key, value) in keys {
            let place = format!("{section}.{key}");
            let least = i64::from(!MAY_BE_ZERO.contains(&place.as_str()));
            if value.as_integer().is_some_and(|number| number < least) && !faults.names(&place) {
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
    secrets(config, faults);
    canary(config, faults);
    super::otlp::check(&config.telemetry, faults);
    let ranges = [
        ("webhook.allow_private", &config.webhook.allow_private),
        ("publisher.trusted_proxies", &config.publisher.trusted_proxies),
    ];
    for (place, list) in ranges {
        for text in list.iter().filter(|text| range(text).is_none()) {
            faults.add(place, format!("{text:?} is not an address range, e.g. 10.0.0.0/8"));
        }
    }
    for text in config.webhook.allow_hosts.iter().filter(|text| !is_host(text)) {
        let what = format!("{text:?} is neither host nor host:port; a URL or a pattern is not taken");
        faults.add("webhook.allow_hosts", what);
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
    }
    let has_keys = config.encryption.master_keys.is_some();
    if !has_keys && !faults.iter().any(|fault| fault.place.starts_with("encryption.")) {
        let what = "is not set; give id:key in BRIDGE_MASTER_KEYS or a file (BRIDGE_MASTER_KEYS_FILE), the key from \
                    `openssl rand -base64 32`";
        faults.add("encryption.master_keys", what);
    }
}

/// Who may call and what seals.
fn secrets(config: &Config, faults: &mut ConfigFaults) {
    if config.encryption.master_keys.is_some()
        && let Err(VaultError::Text(wrong)) = config.vault()
    {
        wrong.into_iter().for_each(|what| faults.add("encryption.master_keys", what));
    }
    if config.auth.audience.trim().is_empty() {
        faults.add("auth.audience", "must not be empty");
    }
    if config.auth.jwks_min_refresh_s > config.auth.jwks_refresh_s {
        faults.add("auth.jwks_min_refresh_s", "must not be longer than auth.jwks_refresh_s");
    }
    if config.auth.directory_poll_ms.get() > SLOWEST_POLL {
        faults.add(
            "auth.directory_poll_ms",
            "must be 2000 or less: a revocation waits for it, and callers are refused when it is late",
        );
    }
    if config.auth.max_token_bytes > MAX_TOKEN_BYTES {
        faults.add("auth.max_token_bytes", format!("must be {MAX_TOKEN_BYTES} or less"));
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
        ("webhook.callback_base_url", config.webhook.callback_base_url.as_ref()),
    ];
    for (place, url) in web.into_iter().filter_map(|(place, url)| Some((place, url?))) {
        if let Err(what) = http_url(url) {
            faults.add(place, what);
        }
    }
    let webhooks = [
        ("webhook.default_url", config.webhook.default_url.as_ref()),
        ("webhook.n8n_base_url", config.webhook.n8n_base_url.as_ref()),
    ];
    for (place, url) in webhooks.into_iter().filter_map(|(place, url)| Some((place, url?))) {
        if let Err(what) = check_webhook_url(url) {
            faults.add(place, what);
        }
    }
}

pub(super) fn http_url(text: &str) -> Result<(), String> {
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
        ("pulsar.tls_ca_file", &pulsar.tls_ca_file),
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
    if publisher.result_wait_max_s.get() > LONGEST_WAIT {
        faults.add("publisher.result_wait_max_s", format!("must be {} or less", LONGEST_WAIT.as_secs()));
    }
    if publisher.job_page > LARGEST_PAGE {
        faults.add("publisher.job_page", format!("must be {LARGEST_PAGE} or less"));
    }
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

fn canary(config: &Config, faults: &mut ConfigFaults) {
    let canary = &config.canary;
    if let Err(error) = TenantId::parse(&canary.tenant) {
        faults.add("canary.tenant", error.to_string());
    }
    // One that came back within five minutes takes a lost one's alert back.
    if canary.interval_s.get() > RAREST_CANARY {
        let what =
            format!("must be {} or less: the alerts expect one in five minutes", RAREST_CANARY.as_secs());
        faults.add("canary.interval_s", what);
    }
    if canary.timeout_s > canary.interval_s {
        faults.add("canary.timeout_s", "must not be longer than canary.interval_s");
    }
    if let Some(url) = &canary.url
        && let Err(what) = http_url(url)
    {
        faults.add("canary.url", what);
    }
    if canary.enabled && canary.url.is_none() && config.callback_base_url().is_none() {
        let what =
            "is not set; give the publisher's address as consumers reach it, or webhook.callback_base_url";
        faults.add("canary.url", what);
    }
    if canary.enabled && canary.lanes.is_empty() {
        faults.add("canary.lanes", "must name a lane, or set canary.enabled to false");
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

/// `host` or `host:port`, as a URL parser writes it.
fn is_host(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let Some(url) = Url::parse(&format!("http://{text}/")).ok().filter(|_| plain) else { return false };
    let port = url.port_or_known_default().map(|port| format!(":{port}"));
    let host = port.as_deref().and_then(|port| text.strip_suffix(port)).unwrap_or(text);
    url.host_str().is_some_and(|parsed| parsed.eq_ignore_ascii_case(host))
}

/// An address range, or one address.
pub(super) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
