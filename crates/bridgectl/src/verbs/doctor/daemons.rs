//! The daemons' own word on how they are.

use bridge_service::clock::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta};
use http::header::DATE;
use serde::Deserialize;
use url::Url;

use super::{Report, said};

/// A date of HTTP has whole seconds.
const MOST_SKEW: TimeDelta = TimeDelta::seconds(4);

#[derive(Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    status: String,
    #[serde(default)]
    detail: String,
}

pub async fn publisher(http: &reqwest::Client, url: &Url, report: &mut Report) {
    let mend =
        "start bridge-publisher, or give its address (--url, BRIDGE_URL); its log says why it does not start";
    match ask(http, url).await {
        Ok((health, date)) => {
            told("publisher", &health, report);
            let skew = date.map(|date| SystemClock.now() - date).filter(|skew| skew.abs() > MOST_SKEW);
            if let Some(skew) = skew {
                let what = format!(
                    "this machine's clock and the publisher's are {} s apart",
                    skew.num_seconds().abs()
                );
                report.finding("clock", what, "run a time service (chrony, ntpd) on both machines");
            }
        }
        Err(what) => report.finding("publisher", what, mend),
    }
}

/// `alive`: how many beat in the database. One that beats needs no port that can be reached from here.
pub async fn consumer(http: &reqwest::Client, url: &Url, alive: Option<usize>, report: &mut Report) {
    match (ask(http, url).await, alive) {
        (Ok((health, _)), _) => told("consumer", &health, report),
        (Err(what), Some(1..)) => {
            report.note("consumer", format!("not asked for its health, but it beats: {what}"));
        }
        (Err(what), _) => {
            let mend = "start bridge-consumer, or give its address with --consumer-url";
            report.finding("consumer", what, mend);
        }
    }
}

async fn ask(http: &reqwest::Client, base: &Url) -> Result<(Health, Option<bridge_protocol::Time>), String> {
    let url = format!("{}/health/ready", base.as_str().trim_end_matches('/'));
    let unreachable = |error| format!("{base} does not answer: {}", said(error));
    let answer = http.get(&url).send().await.map_err(unreachable)?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| date.to_utc());
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    let health = serde_json::from_str(&text)
        .map_err(|_| format!("{url} answered {status}, not as a daemon of the bridge does"))?;
    Ok((health, date))
}

fn told(daemon: &'static str, health: &Health, report: &mut Report) {
    let bad: Vec<&Dependency> = health.dependencies.iter().filter(|part| part.status != "ok").collect();
    if bad.is_empty() && health.status == "ok" {
        report.ok(daemon, "ready");
        return;
    }
    if bad.is_empty() {
        let what = format!("it says that it is {}", health.status);
        report.finding(daemon, what, "its log says why");
    }
    for Dependency { name, status, detail } in bad {
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        report.finding(daemon, format!("{name} is {status}{detail}"), mend(name));
    }
}

fn mend(dependency: &str) -> &'static str {
    match dependency {
        "postgres" => {
            "start Postgres and check DATABASE_URL of the daemon; the check of Postgres above says more"
        }
        "pulsar" | "broker" | "subscriptions" | "topics" => {
            "start the broker, check PULSAR_SERVICE_URL and its token, and run bridgectl topics apply"
        }
        "keyring" | "signing" => {
            "give it a keyring it can use (signing.keyring_file); it is read again without a restart"
        }
        _ => "its log says why, under the same name",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::human::doctor::text;

    #[test]
    fn each_dependency_that_is_not_well_is_a_finding() {
        let health: Health = serde_json::from_str(
            r#"{"status":"degraded","dependencies":[{"name":"postgres","status":"ok","age_ms":12},
                {"name":"pulsar","status":"down","age_ms":3000,"detail":"connection refused"}]}"#,
        )
        .unwrap();
        let mut report = Report::default();
        told("publisher", &health, &mut report);
        told("consumer", &serde_json::from_str(r#"{"status":"ok"}"#).unwrap(), &mut report);
        insta::assert_snapshot!(text(&report));
    }
}
