//! The broker's administration: reachable, of a known version, ours to use; and each tenant's half as topics.yml says.

use bridge_protocol::TenantId;
use bridge_service::Config;

use super::Report;
use crate::broker::{Broker, failed};
use crate::{Exit, Failure};

const BROKER: &str = "broker";
const TOPICS: &str = "topics";
/// The oldest release it was tried with.
const OLDEST: u32 = 3;
/// Differences that are told one by one.
const TOLD: usize = 20;

pub async fn check(config: &Config, tenants: &[TenantId], report: &mut Report) {
    let mut broker = match Broker::open(config, None) {
        Ok(broker) => broker,
        Err(failure) => {
            report.finding(BROKER, failure.to_string(), "correct PULSAR_HTTP_URL and the files it needs");
            return;
        }
    };
    if let Err(error) = broker.admin.ready().await {
        refused(&failed(error), report);
        return;
    }
    match broker.admin.version().await {
        Ok(version) => release(&version, report),
        Err(error) => refused(&failed(error), report),
    }
    if let Err(failure) = broker.ask_clusters().await {
        refused(&failure, report);
        return;
    }
    if tenants.is_empty() {
        report.note(TOPICS, "not looked at: there is no tenant");
        return;
    }
    match broker.apply(tenants, true).await {
        Ok(changes) => {
            report.ok(BROKER, "our credential may administer it");
            differences(&changes, tenants.len(), report);
        }
        Err(failure) => refused(&failure, report),
    }
}

fn refused(failure: &Failure, report: &mut Report) {
    let mend = match failure.exit {
        Exit::Unauthorized => {
            "give the provisioning role's token (PULSAR_ADMIN_TOKEN_FILE), and let the broker know the role as a superuser"
        }
        Exit::Unavailable => "start the broker, and check PULSAR_HTTP_URL and the way to it",
        _ => "the message says which call failed; check PULSAR_HTTP_URL and the broker's log",
    };
    report.finding(BROKER, failure.to_string(), mend);
}

fn release(version: &str, report: &mut Report) {
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(major) if major < OLDEST => {
            report.finding(BROKER, format!("release {version} is too old"), "upgrade Pulsar to 3.0 or newer");
        }
        Some(_) => report.ok(BROKER, format!("release {version}")),
        None => report.note(BROKER, format!("says that its release is {version:?}")),
    }
}

/// What `topics apply` would do is what is not as it should be.
fn differences(changes: &[String], tenants: usize, report: &mut Report) {
    let of = if tenants == 1 { "1 tenant".to_owned() } else { format!("{tenants} tenants") };
    if changes.is_empty() {
        report.ok(
            TOPICS,
            format!("namespaces, policies, rights, topics and subscriptions of {of} are as they should be"),
        );
        return;
    }
    let mut what = format!("for {of} {} changes are needed:", changes.len());
    for change in changes.iter().take(TOLD) {
        what.push_str(&format!("\n{change}"));
    }
    if changes.len() > TOLD {
        what.push_str(&format!("\nand {} more", changes.len() - TOLD));
    }
    report.finding(TOPICS, what, "bridgectl topics apply does all of it; it is safe to repeat");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::human::doctor::text;

    #[test]
    fn a_broker_in_order_and_one_that_is_not() {
        let mut report = Report::default();
        release("4.0.3", &mut report);
        differences(&[], 14, &mut report);
        release("2.8.1", &mut report);
        release("", &mut report);
        refused(&Failure::new(Exit::Unauthorized, "cannot list clusters: status 403"), &mut report);
        differences(
            &["create subscription bridge-consumer on persistent://acme/workflows/x".to_owned()],
            1,
            &mut report,
        );
        insta::assert_snapshot!(text(&report));
    }
}
