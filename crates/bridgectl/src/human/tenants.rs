//! Tenants and their limits.

use crate::answers::admin::{Limits, Tenant};

pub fn list(tenants: &[Tenant]) -> String {
    if tenants.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = tenants
        .iter()
        .map(|tenant| {
            let created = tenant.created_at.map(super::time).unwrap_or_default();
            vec![tenant.tenant_id.clone(), tenant.state.clone(), created, limits(&tenant.limits)]
        })
        .collect();
    super::table(&["TENANT", "STATE", "CREATED", "LIMITS"], &rows)
}

pub fn one(tenant: &Tenant) -> String {
    let mut lines = vec![
        format!("tenant   {}", tenant.tenant_id),
        format!("state    {}", tenant.state),
        format!("limits   {}", limits(&tenant.limits)),
    ];
    lines.extend(tenant.live.map(|live| format!("live     {live} executions have not ended")));
    if let Some(usage) = &tenant.usage {
        let (executions, bytes) = (usage.executions_today, usage.payload_bytes_today);
        lines.push(format!("today    {executions} executions, {bytes} payload bytes"));
    }
    lines.extend(tenant.created_at.map(|at| format!("created  {}", super::time(at))));
    lines.join("\n")
}

pub fn limits(limits: &Limits) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = limits.requests_per_second {
        let burst = limits.burst.map(|burst| format!(" (burst {burst})")).unwrap_or_default();
        parts.push(format!("{rate} requests/s{burst}"));
    }
    parts.extend(limits.open_executions.map(|open| format!("{open} open executions")));
    parts.extend(limits.payload_bytes_per_day.map(|bytes| format!("{bytes} payload bytes a day")));
    parts.extend(limits.result_ttl_s.map(|seconds| format!("results kept {seconds} s")));
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// What an act that must hold at once says about whether it does.
pub fn in_force(in_effect: bool) -> &'static str {
    match in_effect {
        true => "in force on every daemon",
        false => "not every daemon has confirmed it yet; each takes it over when it next reads the directory",
    }
}
