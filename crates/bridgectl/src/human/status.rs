//! The whole on one screen: who is there, what is stuck, how much waits.

use crate::answers::Time;
use crate::answers::status::{Member, Status};

/// A timer that is overdue for longer shows that nobody rings.
const OVERDUE_S: i64 = 60;

pub fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    if let Some(members) = &status.members {
        lines.push(daemons(members, status));
        lines.push(String::new());
        let breakers = breakers(members, status.now);
        if !breakers.is_empty() {
            lines.extend(breakers);
            lines.push(String::new());
        }
    }
    let mut fact = |name: &str, value: String| lines.push(format!("{name:13}{value}"));
    match (&status.tenant_id, status.tenants) {
        (Some(tenant), _) => fact("tenant", tenant.clone()),
        (None, Some(count)) => fact("tenants", count.to_string()),
        (None, None) => {}
    }
    let more = if status.live_more { " or more" } else { "" };
    fact("live", format!("{}{more} executions have not ended", status.live));
    fact("oldest due", oldest(status));
    fact(
        "given up",
        format!("{} in 24 h{}", status.dead_letters_24h, hint(status.dead_letters_24h, "dlq list")),
    );
    fact("jobs", format!("{} running{}", status.jobs_running, hint(status.jobs_running, "job list")));
    fact("holds", format!("{}{}", status.holds, hint(status.holds, "holds")));
    if status.notices_waiting + status.follow_ups_waiting > 0 {
        let (notices, tellings) = (status.notices_waiting, status.follow_ups_waiting);
        fact("to be told", format!("{notices} dead-letter notices, {tellings} on_failure workflows"));
    }
    lines.join("\n")
}

/// Only an operator sees it for all tenants; a list is one tenant's.
fn hint(count: u64, verb: &str) -> String {
    if count > 0 { format!("   bridgectl {verb}") } else { String::new() }
}

fn oldest(status: &Status) -> String {
    let Some(due) = status.oldest_due else { return "nothing is overdue".to_owned() };
    let late = (status.now - due).num_seconds().max(0);
    let alarm = if late > OVERDUE_S { ": no publisher rings the timers, or all are too busy" } else { "" };
    format!("since {}{alarm}", super::span(late))
}

fn daemons(members: &[Member], status: &Status) -> String {
    if members.is_empty() {
        return "no daemon was heard of for a day".to_owned();
    }
    let age = |at: Time| super::span((status.now - at).num_seconds().max(0));
    let rows: Vec<_> = members
        .iter()
        .map(|member| {
            vec![
                member.kind.clone(),
                member.host.clone(),
                member.version.clone(),
                format!("up {}", age(member.started_at)),
                format!("{} ago", age(member.seen_at)),
                note(member, status),
            ]
        })
        .collect();
    super::table(&["DAEMON", "HOST", "VERSION", "AGE", "HEARD", "NOTE"], &rows)
}

fn note(member: &Member, status: &Status) -> String {
    let mut notes = Vec::new();
    if !member.alive {
        notes.push("SILENT: it fell without a farewell".to_owned());
    }
    notes.extend(member.detail.slots_free.map(|free| format!("{free} slots free")));
    if member.alive && member.detail.topics_lost_count > 0 {
        notes.push(format!("{} topics without a connection", member.detail.topics_lost_count));
    }
    if let (Some(routes), Some(current)) = (member.detail.routes, status.routes_revision)
        && member.alive
        && routes < current
    {
        notes.push(format!("routes at {routes}, {current} is current"));
    }
    notes.join(", ")
}

fn breakers(members: &[Member], now: Time) -> Vec<String> {
    let mut lines = Vec::new();
    for member in members.iter().filter(|member| member.alive) {
        for breaker in &member.detail.breakers {
            let for_s = match (breaker.until, breaker.retry_after_ms) {
                (Some(until), _) => Some((until - now).num_seconds().max(0)),
                (None, Some(ms)) => i64::try_from(ms / 1000).ok(),
                (None, None) => None,
            };
            let again =
                for_s.map(|seconds| format!(", tried again in {}", super::span(seconds))).unwrap_or_default();
            let Member { kind, host, .. } = member;
            let failures = breaker.failures;
            lines.push(format!(
                "breaker open: {} failed {failures} times in a row{again} ({kind} {host})",
                breaker.endpoint
            ));
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_whole_on_one_screen() {
        let answer = r#"{"now":"2026-11-21T12:00:00Z","live":1204,"live_more":false,"oldest_due":"2026-11-21T11:57:00Z",
            "dead_letters_24h":3,"notices_waiting":1,"follow_ups_waiting":0,"jobs_running":1,"holds":2,"routes_revision":9,"tenants":14,
            "members":[
              {"id":"a","kind":"publisher","version":"0.1.0","host":"bridge-1","started_at":"2026-11-18T12:00:00Z",
               "seen_at":"2026-11-21T11:59:58Z","alive":true,"detail":{"signing":"k1","routes":9}},
              {"id":"b","kind":"consumer","version":"0.1.0","host":"bridge-2","started_at":"2026-11-21T11:20:00Z",
               "seen_at":"2026-11-21T11:59:57Z","alive":true,"detail":{"slots_free":500,"routes":8,"topics_lost_count":1,
               "breakers":[{"endpoint":"https://n8n.example.com:443","failures":20,"retry_after_ms":9000}]}},
              {"id":"c","kind":"consumer","version":"0.0.9","host":"bridge-3","started_at":"2026-11-01T11:20:00Z",
               "seen_at":"2026-11-21T10:10:00Z","alive":false,"detail":{}}]}"#;
        insta::assert_snapshot!(text(&serde_json::from_str(answer).unwrap()));
    }

    #[test]
    fn a_tenant_sees_its_own_numbers() {
        let answer = r#"{"tenant_id":"acme","now":"2026-11-21T12:00:00Z","live":0,"live_more":false,"dead_letters_24h":0,
            "notices_waiting":0,"follow_ups_waiting":0,"jobs_running":0,"holds":0}"#;
        insta::assert_snapshot!(text(&serde_json::from_str(answer).unwrap()));
    }
}
