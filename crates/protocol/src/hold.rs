//! Holds: accepted as ever, not fired.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Lane, TenantId, WorkflowId};

const LONGEST_ID: usize = 64;
const LONGEST_REASON: usize = 500;

/// What an operator stopped for a while. It stops all of the tenant's work that fits every one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub tenant: TenantId,
    pub id: String,
    pub workflow: Option<WorkflowId>,
    pub lane: Option<Lane>,
    /// The webhook's: `host` for all of its ports, or `host:port`.
    pub host: Option<String>,
    pub reason: String,
}

impl Hold {
    /// `host` is the webhook's as `host:port`; without it no hold by host fits.
    pub fn fits(&self, workflow: &WorkflowId, lane: Lane, host: Option<&str>) -> bool {
        self.workflow.as_ref().is_none_or(|held| held == workflow)
            && self.lane.is_none_or(|held| held == lane)
            && self.host.as_deref().is_none_or(|held| host.is_some_and(|host| is_host_of(held, host)))
    }

    /// The field at fault and what to do about it.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, what: String| faults.push((field.to_owned(), what));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=LONGEST_ID).contains(&self.id.len()) || !self.id.bytes().all(plain) {
            fault("id", format!("must be 1 to {LONGEST_ID} letters, digits and . _ -"));
        }
        if self.host.as_deref().is_some_and(|host| !is_host(host)) {
            fault(
                "host",
                "must be a host or host:port as in the webhook's URL, without scheme and path".to_owned(),
            );
        }
        let reason = self.reason.trim();
        if reason.is_empty() || self.reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
            fault(
                "reason",
                format!("must say in 1 to {LONGEST_REASON} bytes, on one line, why work stops here"),
            );
        }
        faults
    }
}

/// `held` may leave the port open.
fn is_host_of(held: &str, host: &str) -> bool {
    if held.eq_ignore_ascii_case(host) {
        return true;
    }
    // An IPv6 address holds colons itself, in brackets.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    held.eq_ignore_ascii_case(name)
}

fn is_host(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let Some(url) = Url::parse(&format!("http://{text}/")).ok().filter(|_| plain) else { return false };
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        _ => text,
    };
    url.host_str().is_some_and(|parsed| parsed.eq_ignore_ascii_case(host))
}
