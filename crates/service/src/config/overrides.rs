//! `N8N_WEBHOOK_<ID>`: the operator's URL of a single workflow, the id in upper case and with `_` for all but letters
//! and digits.

use super::faults::{ConfigFaults, Warning};
use bridge_protocol::{check_webhook_url, override_name};
use std::collections::BTreeMap;

pub(super) const OVERRIDE: &str = "N8N_WEBHOOK_";

/// By id, each with the URL and the variable that gave it.
#[derive(Default)]
pub(super) struct Overrides(BTreeMap<String, (String, String)>);

impl Overrides {
    pub fn add(&mut self, id: &str, url: &str, faults: &mut ConfigFaults, warnings: &mut Vec<Warning>) {
        let (name, url) = (format!("{OVERRIDE}{id}"), url.trim());
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        // Compose files pass unset variables on as empty ones.
        if url.is_empty() || (is_from_kubernetes(id) && !is_url) {
            return;
        }
        if id == "URL" {
            let what = "is a setting of n8n itself and no workflow's; a workflow called url takes a route";
            return warnings.push(Warning { place: name, what: what.to_owned() });
        }
        if id.is_empty() {
            return faults.add(name, "names no workflow; write N8N_WEBHOOK_<ID>");
        }
        if let Err(what) = check_webhook_url(url) {
            return faults.add(name, what);
        }
        let id = override_name(id);
        if let Some((_, other)) = self.0.get(&id) {
            let what =
                format!("names the same workflows as {other}: both read {OVERRIDE}{id}; keep one of them");
            return faults.add(name, what);
        }
        self.0.insert(id, (url.to_owned(), name));
    }

    pub fn urls(self) -> BTreeMap<String, String> {
        self.0.into_iter().map(|(id, (url, _))| (id, url)).collect()
    }
}

/// Kubernetes describes every service of the namespace, and n8n's own are often called n8n-webhook.
fn is_from_kubernetes(id: &str) -> bool {
    id == "SERVICE_HOST" || id.starts_with("SERVICE_PORT") || id == "PORT" || id.starts_with("PORT_")
}
