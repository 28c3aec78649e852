#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use bridge_protocol::RouteTable;

fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

const SAMPLE: &str = r#"
[database]
url = "postgres://bridge:hunter2@db/bridge"

[signing]
keyring_file = "KEYRING"

[webhook]
n8n_base_url = "http://n8n:5678/"
allow_private = ["10.20.0.0/16"]

[encryption]
master_keys = "2026-a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

[[auth.issuers]]
issuer = "https://login.example.com/realms/x"
audience = "bridge"
tenants = { "Acme Inc." = "acme" }
default_scopes = "publish read"
"#;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keyring.toml"), "").unwrap();
        Self { dir }
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("bridge.toml");
        let keyring = self.dir.path().join("keyring.toml");
        std::fs::write(&path, text.replace("KEYRING", keyring.to_str().unwrap())).unwrap();
        path
    }

    /// Faults as text without the scratch directory's name.
    fn faults(&self, text: &str, variables: &[(&str, &str)]) -> String {
        let faults = Config::load(Some(self.config(text)), env(variables)).unwrap_err();
        faults.to_string().replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn the_embedded_defaults_fill_every_section() {
    let (config, warnings) = Config::load_for(Role::Operator, None, env(&[])).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(config.publisher.max_payload_bytes, 15 * 1024 * 1024);
    assert_eq!(config.topic_names().namespace, "workflows");
}

#[test]
fn zero_is_taken_where_it_says_no_limit_or_nobody() {
    for name in [
        "BRIDGE_PUBLISHER__CREDENTIAL_CHANGES_PER_MINUTE",
        "BRIDGE_PUBLISHER__ROUTE_CHANGES_PER_MINUTE",
        "BRIDGE_TELEMETRY__TENANTS_NAMED",
    ] {
        let loaded = Config::load_for(Role::Operator, None, env(&[(name, "0")]));
        assert!(loaded.is_ok(), "{name}: {:?}", loaded.err());
    }
}

#[test]
fn a_canary_flies_as_often_as_its_alerts_expect() {
    let files = Files::new();
    let faults = files.faults(&format!("{SAMPLE}\n[canary]\ninterval_s = 241\n"), &[]);
    assert!(faults.contains("canary.interval_s") && faults.contains("240 or less"), "{faults}");
}

#[test]
fn a_sample_file_is_read_and_printed_without_secrets() {
    let files = Files::new();
    let (config, _) = Config::load(Some(files.config(SAMPLE)), env(&[])).unwrap();
    let defaults = config.route_defaults();
    assert_eq!(defaults.n8n_base_url.as_deref(), Some("http://n8n:5678/"));
    assert!(defaults.queue_enabled && !defaults.strict && defaults.default_url.is_empty());
    RouteTable::new(defaults).unwrap();
    assert_eq!(config.callback_base_url(), None);
    let printed = config.masked();
    for secret in ["hunter2", "AQEBAQEBAQEBAQEBAQE"] {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!format!("{config:?}").contains(secret));
    }
    assert!(printed.contains("postgres://bridge:***@db/bridge"), "{printed}");
    let again: Table = printed.parse().unwrap();
    assert_eq!(again["encryption"]["master_keys"].as_str(), Some("***"));
    assert_eq!(again["auth"]["issuers"][0]["tenants"]["Acme Inc."].as_str(), Some("acme"));
    let vault = config.vault().unwrap();
    assert_eq!(vault.ids().collect::<Vec<_>>(), ["2026-a"]);
    let access = config.access();
    assert_eq!(access.issuer, "http://localhost:8000");
    assert_eq!(access.issuers[0].algorithms, ["RS256", "ES256", "EdDSA"]);
    assert_eq!(access.issuers[0].default_scopes.unwrap().to_string(), "publish read");
}

#[test]
fn the_environment_wins_and_a_bridge_name_wins_over_a_plain_one() {
    let files = Files::new();
    let secret = files.dir.path().join("url");
    std::fs::write(&secret, "postgres://from-a-file/bridge\n").unwrap();
    let (config, warnings) = Config::load(
        Some(files.config(SAMPLE)),
        env(&[
            ("DATABASE_URL", "postgres://plain/bridge"),
            ("BRIDGE_DATABASE__URL_FILE", secret.to_str().unwrap()),
            ("FASTAPI_BRIDGE_PORT", "9123"),
            ("FASTAPI_BRIDGE_WEBHOOK_URL", "https://hooks.example/x"),
            ("BRIDGE_WEBHOOK__ALLOW_PRIVATE", "10.0.0.0/8, 127.0.0.1"),
            ("BRIDGE_CONSUMER__GLOBAL_SLOTS", "1024"),
            ("PULSAR_AUTH_TOKEN", ""),
            ("DEALSCALE_PULSAR_QUEUE_ENABLED", "false"),
            ("BRIDGE_CALLBACK_BASE_URL", "http://bridge:8000/"),
            ("BRIDGE_TOKEN_FILE", "/not/a/key"),
            ("BRIDGE_TEST_DATABASE_URL", "x"),
            ("BRIDGE_PUBLISHER_PORT", "tcp://10.0.0.1:8000"),
            ("BRIDGE_PUBLISHER_SERVICE_HOST", "10.0.0.1"),
        ]),
    )
    .unwrap();
    assert_eq!(config.database.url.as_ref().unwrap().expose(), "postgres://from-a-file/bridge");
    assert_eq!(config.publisher.bind.to_string(), "0.0.0.0:9123");
    assert_eq!(config.webhook.default_url.as_deref(), Some("https://hooks.example/x"));
    assert_eq!(config.webhook.allow_private, ["10.0.0.0/8", "127.0.0.1"]);
    assert_eq!(config.consumer.global_slots, 1024);
    assert_eq!(config.callback_base_url().as_deref(), Some("http://bridge:8000"));
    assert!(!config.route_defaults().queue_enabled);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn workflows_have_urls_of_their_own_in_the_environment() {
    let files = Files::new();
    let variables = env(&[
        ("N8N_WEBHOOK_LEAD_ENRICHMENT", " https://n8n.example/webhook/lead "),
        ("N8N_WEBHOOK_PORT_SYNC", "http://ports/{workflow_id}"),
        ("N8N_WEBHOOK_EMPTY", ""),
        // n8n's own, and what Kubernetes says of a service called n8n-webhook.
        ("N8N_WEBHOOK_URL", "https://n8n.example/"),
        ("N8N_WEBHOOK_SERVICE_HOST", "10.0.0.7"),
        ("N8N_WEBHOOK_SERVICE_PORT_HTTP", "5678"),
        ("N8N_WEBHOOK_PORT", "tcp://10.0.0.7:5678"),
        ("N8N_WEBHOOK_PORT_5678_TCP_ADDR", "10.0.0.7"),
    ]);
    let (config, warnings) = Config::load(Some(files.config(SAMPLE)), variables).unwrap();
    let overrides = config.route_defaults().overrides;
    let mut names: Vec<_> = overrides.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["LEAD_ENRICHMENT", "PORT_SYNC"]);
    assert_eq!(overrides["LEAD_ENRICHMENT"], "https://n8n.example/webhook/lead");
    assert_eq!(warnings.iter().map(|warning| &*warning.place).collect::<Vec<_>>(), ["N8N_WEBHOOK_URL"]);
    let trusted = config.webhook_client().trusted_hosts;
    assert!(trusted.contains("ports:80") && trusted.contains("n8n.example:443"), "{trusted:?}");
    assert!(config.masked().contains("LEAD_ENRICHMENT = \"https://n8n.example/webhook/lead\""));
}

#[test]
fn callbacks_come_back_to_the_public_address_unless_n8n_knows_another() {
    let files = Files::new();
    let of = |variables: Vec<(&str, &str)>| {
        let (config, _) = Config::load(Some(files.config(SAMPLE)), env(&variables)).unwrap();
        config.callback_base_url()
    };
    let public = ("BRIDGE_PUBLIC_URL", "https://bridge.example/");
    assert_eq!(of(vec![public]).as_deref(), Some("https://bridge.example"));
    let inner = ("BRIDGE_CALLBACK_BASE_URL", "http://publisher:8000/bridge/");
    assert_eq!(of(vec![public, inner]).as_deref(), Some("http://publisher:8000/bridge"));
}

#[test]
fn a_port_injected_by_kubernetes_is_a_warning() {
    let files = Files::new();
    let variables = env(&[("FASTAPI_BRIDGE_PORT", "tcp://10.0.0.7:8000")]);
    let (config, warnings) = Config::load(Some(files.config(SAMPLE)), variables).unwrap();
    assert_eq!(config.publisher.bind.port(), 8000);
    assert_eq!(
        warnings[0].to_string(),
        "FASTAPI_BRIDGE_PORT: tcp://10.0.0.7:8000 comes from Kubernetes and is ignored; set publisher.bind"
    );
}

#[test]
fn every_fault_is_said_at_once() {
    let files = Files::new();
    let text = r#"
colour = 1
[databse]
url = "x"
[database]
url = "mysql://db"
pool_size = 0
batch_rows = "many"
statment_timeout_ms = 1
[pulsar]
tenant = "Deal Scale"
service_url = "http://broker"
oauth2_client_id = "bridge"
tls_ca_file = "/does/not/exist.pem"
auth_token = "x"
[signing]
algorithm = "rsa"
[publisher]
bind = "everywhere"
max_delay_s = 700000
result_wait_max_s = 601
job_page = 1001
trusted_proxies = ["10.0.0.0/8", "proxy"]
[encryption]
master_keys = "one:AAAA two"
[auth]
audience = " "
jwks_refresh_s = 5
max_token_bytes = 100000
token_cache = 0
directory_poll_ms = 6000
[relay]
batch = 5000000000
[webhook]
callback_base_url = "bridge:8000"
n8n_base_url = "http://user:geheim@n8n"
allow_private = ["ten"]
allow_hosts = ["n8n.internal", "n8n.internal:80", "127.0.0.1:5678", "[::1]:1", "http://x", "*.internal", "a/b", ""]
[retention]
payloads_days = 8
[[tenants]]
id = "acme"
[[routes]]
tenant = "acme"
workflow = "x"
"#;
    insta::assert_snapshot!("faults_of_a_file", files.faults(text, &[]));
}

#[test]
fn every_fault_of_the_environment_is_said_by_its_name() {
    let files = Files::new();
    let variables = [
        ("BRIDGE_DATABASE__POOLSIZE", "3"),
        ("BRIDGE_DATABASE__QUEUE_ROWS", "few"),
        ("BRIDGE_WEBHOOK_URL", "http://x"),
        ("BRIDGE_TENANTS__0__ID", "x"),
        ("BRIDGE_ROUTES__0__LANE", "x"),
        ("BRIDGE_PUBLISHER__JOB_PAGE", "70000"),
        ("N8N_WEBHOOK_", "http://x/"),
        ("N8N_WEBHOOK_LEAD", "x"),
        ("N8N_WEBHOOK_LEAD_A", "http://{workflow_id}/"),
        ("N8N_WEBHOOK_LEAD_B", "http://n8n/one"),
        ("N8N_WEBHOOK_lead-b", "http://n8n/two"),
        ("FASTAPI_BRIDGE_PORT", "http"),
        ("FASTAPI_BRIDGE_WEBHOOK_URL", "https://{workflow_id}.example/x"),
    ];
    insta::assert_snapshot!("faults_of_the_environment", files.faults(SAMPLE, &variables));
}

#[test]
fn a_daemon_says_what_it_misses() {
    let faults = Config::load(None, env(&[])).unwrap_err();
    insta::assert_snapshot!("what_a_daemon_misses", faults);
    let faults = Config::load(Some("/does/not/exist.toml".into()), env(&[])).unwrap_err();
    assert!(faults.to_string().contains("/does/not/exist.toml: cannot be read"), "{faults}");
}

#[test]
fn issuers_come_from_the_environment_as_json() {
    let files = Files::new();
    let json = r#"[{"issuer": "http://127.0.0.1:4444", "audience": "bridge", "jwks_url": "http://localhost:4444/keys",
        "default_scopes": ["read"], "tenants": null, "admin": true}]"#;
    let toml = r#"[{ issuer = "https://one.example", audience = "a" }, { issuer = "https://two.example", audience = "b" }]"#;
    let issuers = |text: &str| {
        let (config, _) =
            Config::load(Some(files.config(SAMPLE)), env(&[("BRIDGE_AUTH__ISSUERS", text)])).unwrap();
        config.auth.issuers
    };
    let one = &issuers(json)[0];
    assert_eq!((one.issuer.as_str(), one.admin), ("http://127.0.0.1:4444", true));
    assert_eq!((one.tenant_claim.as_str(), one.tenants.as_ref()), ("tenant_id", None));
    assert_eq!(issuers(toml)[1].issuer, "https://two.example");
    assert_eq!(issuers(&json[1..json.len() - 1])[0], *one, "one issuer needs no list");
    assert!(issuers(" ").is_empty(), "the environment replaces the file's list");
}

#[test]
fn every_fault_of_every_issuer_is_said_at_once() {
    let files = Files::new();
    let json = r#"[
        {"issuer": "http://login.example.com", "audience": "", "algorithms": ["HS256", "none"], "colour": 1},
        {"audience": 5, "algorithms": [], "tenant_claim": ""},
        "https://login.example.com",
        {"issuer": "https://user:geheim@x.example", "audience": "a", "discovery_url": "ftp://x", "jwks_url": "http://10.0.0.1/k",
         "tenants": {"Acme": "Acme Inc"}, "default_scopes": "publish fly", "admin": "yes"},
        {"issuer": "https://two.example", "audience": "a", "default_scopes": ["admin"]},
        {"issuer": "https://two.example", "audience": "a"}
    ]"#;
    let faults = files.faults(SAMPLE, &[("BRIDGE_AUTH__ISSUERS", json)]);
    assert!(!faults.contains("geheim"), "{faults}");
    insta::assert_snapshot!("faults_of_issuers", faults);
    for text in ["https://login.example.com", "[1, ", "7", "true"] {
        let faults = files.faults(SAMPLE, &[("BRIDGE_AUTH__ISSUERS", text)]);
        assert!(faults.contains("BRIDGE_AUTH__ISSUERS: must be a JSON array of objects"), "{faults}");
    }
}

#[test]
fn master_keys_come_from_the_environment_or_a_file_and_are_never_shown() {
    let files = Files::new();
    let path = files.dir.path().join("master-keys");
    std::fs::write(&path, "# no\n2026-b:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n").unwrap();
    let variables = [("BRIDGE_MASTER_KEYS_FILE", path.to_str().unwrap())];
    let faults = files.faults(SAMPLE, &variables);
    assert!(faults.contains("encryption.master_keys: master key 1 does not begin with an id"), "{faults}");
    assert!(!faults.contains("AgICAgIC"), "{faults}");
    std::fs::write(&path, "2026-b:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n").unwrap();
    let (config, _) = Config::load(Some(files.config(SAMPLE)), env(&variables)).unwrap();
    assert_eq!(config.vault().unwrap().ids().collect::<Vec<_>>(), ["2026-b"], "the environment wins");
    assert!(!config.masked().contains("AgICAgIC"));

    let both = [variables[0], ("BRIDGE_MASTER_KEYS", "x:y")];
    let faults = files.faults(SAMPLE, &both);
    assert!(
        faults.contains("encryption.master_keys: give master_keys or master_keys_file, not both"),
        "{faults}"
    );
    let faults = files.faults(SAMPLE, &[("BRIDGE_MASTER_KEYS_FILE", "/does/not/exist")]);
    assert!(faults.contains("encryption.master_keys_file: /does/not/exist cannot be read"), "{faults}");
    assert!(!faults.contains("is not set"), "{faults}");
}

#[test]
fn allowed_hosts_are_trusted_beside_the_operators_own() {
    let files = Files::new();
    let variables = [("BRIDGE_WEBHOOK__ALLOW_HOSTS", "crm.internal, 10.1.2.3:5678")];
    let (config, _) = Config::load(Some(files.config(SAMPLE)), env(&variables)).unwrap();
    let mut trusted: Vec<_> = config.webhook_client().trusted_hosts.into_iter().collect();
    trusted.sort();
    assert_eq!(trusted, ["10.1.2.3:5678", "crm.internal", "n8n:5678"]);
}
