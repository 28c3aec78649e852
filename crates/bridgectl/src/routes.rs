//! Which routes of the bridge each verb asks. The client refuses any other while it is tested, and a whole-process test
//! compares the list with the bridge's own.

use http::Method;

pub struct Line {
    pub verb: &'static str,
    pub method: Method,
    /// A part in braces stands for one segment.
    pub path: &'static str,
}

const fn line(verb: &'static str, method: Method, path: &'static str) -> Line {
    Line { verb, method, path }
}

#[rustfmt::skip]
pub const ALL: &[Line] = &[
    line("status", Method::GET, "/pulsar/admin/status"),
    line("status", Method::GET, "/pulsar/status"),
    line("publish", Method::POST, "/pulsar/publish"),
    line("execution list", Method::GET, "/pulsar/executions"),
    line("execution tail", Method::GET, "/pulsar/executions"),
    line("execution show", Method::GET, "/pulsar/executions/{id}"),
    line("execution wait", Method::GET, "/pulsar/executions/{id}/result"),
    line("execution cancel", Method::POST, "/pulsar/executions/{id}/cancel"),
    line("execution replay", Method::POST, "/pulsar/executions/{id}/replay"),
    line("replay", Method::POST, "/pulsar/replay"),
    line("cancel", Method::POST, "/pulsar/cancel"),
    line("job list", Method::GET, "/pulsar/jobs"),
    line("job show", Method::GET, "/pulsar/jobs/{id}"),
    line("job watch", Method::GET, "/pulsar/jobs/{id}"),
    line("job pause", Method::POST, "/pulsar/jobs/{id}/pause"),
    line("job resume", Method::POST, "/pulsar/jobs/{id}/resume"),
    line("job cancel", Method::POST, "/pulsar/jobs/{id}/cancel"),
    line("dlq list", Method::GET, "/pulsar/dead-letters"),
    line("dlq show", Method::GET, "/pulsar/dead-letters/{id}"),
    line("dlq replay", Method::POST, "/pulsar/executions/{id}/replay"),
    line("dlq discard", Method::POST, "/pulsar/dead-letters/{id}/discard"),
    line("hold", Method::PUT, "/pulsar/holds/{id}"),
    line("release", Method::DELETE, "/pulsar/holds/{id}"),
    line("holds", Method::GET, "/pulsar/holds"),
    line("route apply", Method::GET, "/pulsar/workflows"),
    line("route apply", Method::PUT, "/pulsar/workflows"),
    line("route list", Method::GET, "/pulsar/workflows"),
    line("route show", Method::GET, "/pulsar/workflows/{workflow_id}"),
    line("route show", Method::GET, "/pulsar/types/{type}"),
    line("route show", Method::GET, "/pulsar/default-route"),
    line("route set", Method::PUT, "/pulsar/workflows/{workflow_id}"),
    line("route set", Method::PUT, "/pulsar/types/{type}"),
    line("route set", Method::PUT, "/pulsar/default-route"),
    line("route delete", Method::DELETE, "/pulsar/workflows/{workflow_id}"),
    line("route delete", Method::DELETE, "/pulsar/types/{type}"),
    line("route delete", Method::DELETE, "/pulsar/default-route"),
    line("credential put", Method::PUT, "/pulsar/credentials/{name}"),
    line("credential list", Method::GET, "/pulsar/credentials"),
    line("credential delete", Method::DELETE, "/pulsar/credentials/{name}"),
    line("tenant create", Method::GET, "/pulsar/tenants/{id}"),
    line("tenant create", Method::PUT, "/pulsar/tenants/{id}"),
    line("tenant create", Method::GET, "/pulsar/clients"),
    line("tenant create", Method::POST, "/pulsar/clients"),
    line("tenant apply", Method::GET, "/pulsar/tenants"),
    line("tenant apply", Method::PUT, "/pulsar/tenants/{id}"),
    line("tenant apply", Method::GET, "/pulsar/clients"),
    line("tenant apply", Method::POST, "/pulsar/clients"),
    line("tenant show", Method::GET, "/pulsar/tenants/{id}"),
    line("tenant list", Method::GET, "/pulsar/tenants"),
    line("tenant suspend", Method::PUT, "/pulsar/tenants/{id}"),
    line("tenant resume", Method::PUT, "/pulsar/tenants/{id}"),
    line("tenant delete", Method::GET, "/pulsar/tenants/{id}"),
    line("tenant delete", Method::GET, "/pulsar/tenants/{id}/export"),
    line("tenant delete", Method::DELETE, "/pulsar/tenants/{id}"),
    line("client create", Method::POST, "/pulsar/clients"),
    line("client list", Method::GET, "/pulsar/clients"),
    line("client rotate", Method::POST, "/pulsar/clients/{id}/rotate"),
    line("client revoke", Method::DELETE, "/pulsar/clients/{id}"),
    line("key rotate webhook", Method::POST, "/pulsar/keys/rotate"),
    line("key rotate data", Method::POST, "/pulsar/keys/rotate"),
    line("key rotate issuer", Method::POST, "/pulsar/keys/rotate"),
    line("key rotate master", Method::POST, "/pulsar/keys/rotate"),
    line("key destroy data", Method::POST, "/pulsar/keys/destroy"),
    line("audit list", Method::GET, "/pulsar/audit"),
    line("audit export", Method::GET, "/pulsar/audit"),
    line("audit refusals", Method::GET, "/pulsar/audit/refusals"),
    line("topics apply", Method::GET, "/pulsar/tenants"),
    line("doctor", Method::GET, "/health/ready"),
    line("doctor", Method::GET, "/pulsar/tenants"),
];

/// Whether some verb asks this. A bridge may answer below a path of its proxy, so only the end counts.
pub fn known(method: &Method, path: &str) -> bool {
    let asked: Vec<&str> = path.split('/').skip(1).collect();
    ALL.iter().any(|line| {
        let parts: Vec<&str> = line.path.split('/').skip(1).collect();
        let end = asked.len().checked_sub(parts.len()).and_then(|from| asked.get(from..));
        let fits =
            |end: &[&str]| parts.iter().zip(end).all(|(part, asked)| part.starts_with('{') || part == asked);
        line.method == *method && end.is_some_and(fits)
    })
}

/// For documentation and tests: what `bridgectl routes` prints.
pub fn as_json() -> String {
    let lines: Vec<_> = ALL
        .iter()
        .map(|line| {
            serde_json::json!({ "verb": line.verb, "method": line.method.as_str(), "path": line.path })
        })
        .collect();
    serde_json::Value::Array(lines).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_known_by_method_and_path() {
        assert!(known(&Method::GET, "/pulsar/executions/019aa5c1-0000-7000-8000-000000000001"));
        assert!(known(&Method::GET, "/below/pulsar/executions"));
        assert!(known(&Method::PUT, "/pulsar/workflows/crm%2Fsync"));
        assert!(!known(&Method::DELETE, "/pulsar/executions"));
        assert!(!known(&Method::GET, "/pulsar/nothing"));
    }
}
