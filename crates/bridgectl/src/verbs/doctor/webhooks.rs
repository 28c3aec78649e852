//! The hosts that workflows are fired at: does anything answer there? No webhook is called.

use std::collections::{BTreeMap, BTreeSet};

use bridge_service::Config;
use url::Url;

use super::{Report, said};

const N8N: &str = "n8n";

pub async fn check(http: &reqwest::Client, config: &Config, report: &mut Report) {
    let mut places: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let webhook = &config.webhook;
    let named = webhook.overrides.values().map(|url| (url, "N8N_WEBHOOK_<ID>"));
    let named = named.chain(webhook.default_url.iter().map(|url| (url, "FASTAPI_BRIDGE_WEBHOOK_URL")));
    for (url, name) in named.chain(webhook.n8n_base_url.iter().map(|url| (url, "N8N_BASE_URL"))) {
        // The operator's own templates: what stands in braces is in the path.
        if let Ok(url) = Url::parse(&url.replace("{workflow_id}", "x")) {
            places.entry(url.origin().ascii_serialization()).or_default().insert(name);
        }
    }
    if places.is_empty() {
        let mend =
            "set N8N_BASE_URL to the address of n8n, or FASTAPI_BRIDGE_WEBHOOK_URL to one webhook for all";
        report.finding(N8N, "there is no address to fire at", mend);
    }
    for (origin, names) in places {
        match http.head(&origin).send().await {
            Ok(answer) => report.ok(N8N, format!("{origin} answers ({})", answer.status().as_u16())),
            Err(error) => {
                let names = Vec::from_iter(names).join(", ");
                let mend = format!("start n8n, let this machine reach it, or correct {names}");
                report.finding(N8N, format!("{origin} does not answer: {}", said(error)), mend);
            }
        }
    }
    if let Some(base) = &config.webhook.n8n_base_url {
        healthz(http, base, report).await;
    }
}

/// n8n's own word on whether it is well.
async fn healthz(http: &reqwest::Client, base: &str, report: &mut Report) {
    let url = format!("{}/healthz", base.trim_end_matches('/'));
    match http.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => report.ok(N8N, format!("{base} is well")),
        Ok(answer) => {
            let status = answer.status().as_u16();
            let mend = "n8n's log says more; N8N_BASE_URL must be n8n's address without /webhook";
            report.finding(N8N, format!("{url} answered {status}"), mend);
        }
        // That nothing answers there was said.
        Err(_) => {}
    }
}
