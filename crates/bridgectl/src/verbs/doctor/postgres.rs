//! Postgres: reachable, of a known version, with our schema, its clock, its room.

use bridge_service::Config;
use bridge_service::clock::{Clock, SystemClock};
use bridge_service::heartbeat::ALIVE_WITHIN;
use bridge_store::{Examined, LiveMember, Pulse, Store};
use chrono::TimeDelta;

use super::Report;
use crate::Failure;
use crate::verbs::migrate;

const POSTGRES: &str = "postgres";
/// The oldest release the statements were made for.
const OLDEST: i32 = 150_000;
/// Leases, delays and tokens are compared across machines.
const MOST_SKEW: TimeDelta = TimeDelta::seconds(2);
/// Later than that the relay would have taken it.
const OVERDUE: TimeDelta = TimeDelta::seconds(60);

/// The daemons that beat in it; None: nobody knows.
pub async fn check(config: &Config, report: &mut Report) -> Option<Vec<LiveMember>> {
    let store = match migrate::open(config) {
        Ok(store) => store,
        Err(failure) => {
            let mend = "set DATABASE_URL (database.url) to postgres://user:password@host:5432/database";
            report.finding(POSTGRES, failure.to_string(), mend);
            return None;
        }
    };
    let members = look(&store, report).await;
    store.close().await;
    members
}

async fn look(store: &Store, report: &mut Report) -> Option<Vec<LiveMember>> {
    let asked = SystemClock.now();
    let examined = match store.examine().await {
        Ok(examined) => examined,
        Err(error) => {
            let what = Failure::because(crate::Exit::Unavailable, error).to_string();
            let mend =
                "start Postgres, let this machine connect (pg_hba.conf, firewall), and check DATABASE_URL";
            report.finding(POSTGRES, what, mend);
            return None;
        }
    };
    let answered = SystemClock.now();
    server(&examined, report);
    // Its clock was read at some time between the two.
    let middle = asked + (answered - asked) / 2;
    skew(examined.now - middle, (answered - asked) / 2, report);
    if !schema(&examined, report) {
        return None;
    }
    if let Err(error) = store.check().await {
        let what = Failure::because(crate::Exit::Failed, error).to_string();
        let mend = "let DATABASE_URL lead to Postgres itself, or to a pooler in session mode";
        report.finding(POSTGRES, what, mend);
    }
    match store.pulse().await {
        Ok(pulse) => timers(&pulse, report),
        Err(error) => unread(error, report),
    }
    match store.live_members(ALIVE_WITHIN).await {
        Ok(members) => Some(members),
        Err(error) => {
            unread(error, report);
            None
        }
    }
}

fn unread(error: bridge_store::StoreError, report: &mut Report) {
    let what = Failure::because(crate::Exit::Failed, error).to_string();
    let mend = "run bridgectl migrate, and let the role of DATABASE_URL read and write the tables";
    report.finding(POSTGRES, what, mend);
}

fn server(examined: &Examined, report: &mut Report) {
    let Examined { version, connections, max_connections, .. } = examined;
    if examined.version_number < OLDEST {
        report.finding(POSTGRES, format!("release {version} is too old"), "upgrade Postgres to 15 or newer");
    } else {
        report.ok(
            POSTGRES,
            format!("release {version}, {connections} of {max_connections} connections in use"),
        );
    }
    if examined.in_recovery {
        let mend = "let DATABASE_URL lead to the primary (target_session_attrs=read-write, or its own name)";
        report.finding(POSTGRES, "it is a standby and cannot be written to", mend);
    }
    // A daemon takes some twenty.
    if max_connections - connections < 20 {
        let what = format!("only {} connections are left", max_connections - connections);
        report.finding(
            POSTGRES,
            what,
            "raise max_connections, or lower database.pool_size and batch_connections",
        );
    }
}

fn skew(skew: TimeDelta, unsure: TimeDelta, report: &mut Report) {
    let seconds = skew.num_milliseconds() as f64 / 1000.0;
    let than = if seconds > 0.0 { "behind" } else { "ahead of" };
    let what = format!("this machine's clock is {:.1} s {than} Postgres's", seconds.abs());
    if skew.abs() > MOST_SKEW + unsure {
        report.finding("clock", what, "run a time service (chrony, ntpd) on both machines");
    } else {
        report.ok("clock", what);
    }
}

/// Whether there is one that can be asked.
fn schema(examined: &Examined, report: &mut Report) -> bool {
    let known = examined.schema_known;
    match examined.schema {
        None => {
            report.finding("schema", "there is none in this database", "run bridgectl migrate");
            false
        }
        Some(found) if found < known => {
            let what = format!("it is at {found}, this version needs {known}");
            report.finding("schema", what, "run bridgectl migrate, then restart the daemons");
            false
        }
        Some(found) if found > known => {
            let what = format!("it is at {found}, newer than this bridgectl, which knows {known}");
            report.finding("schema", what, "use the bridgectl of the daemons' release");
            true
        }
        Some(found) => {
            report.ok("schema", format!("current, {found}"));
            true
        }
    }
}

fn timers(pulse: &Pulse, report: &mut Report) {
    let late = pulse.oldest_due.map(|due| pulse.now - due).filter(|late| *late > OVERDUE);
    match late {
        Some(late) => {
            let late = crate::human::span(late.num_seconds());
            let mend = "start a publisher; if one runs, its log says why the relay rests (broker away, Postgres slow)";
            report.finding("timers", format!("the oldest is overdue for {late}: nobody rings them"), mend);
        }
        None => report.ok("timers", "none is overdue"),
    }
    if !pulse.synchronous_standby {
        report.note(POSTGRES, "no synchronous standby: a failover may lose the last commits");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::human::doctor::text;

    fn examined() -> Examined {
        Examined {
            version: "15.8".to_owned(),
            version_number: 150_008,
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
            in_recovery: false,
            connections: 12,
            max_connections: 100,
            schema: Some(3),
            schema_known: 3,
        }
    }

    #[test]
    fn a_database_in_order_is_so_in_every_respect() {
        let mut report = Report::default();
        server(&examined(), &mut report);
        skew(TimeDelta::milliseconds(140), TimeDelta::milliseconds(3), &mut report);
        assert!(schema(&examined(), &mut report));
        let now = examined().now;
        let pulse = Pulse { now, oldest_due: Some(now), synchronous_standby: false, notices_waiting: false };
        timers(&pulse, &mut report);
        insta::assert_snapshot!(text(&report));
    }

    #[test]
    fn what_is_wrong_says_how_to_mend_it() {
        let mut report = Report::default();
        let old = Examined {
            version: "13.1".to_owned(),
            version_number: 130_001,
            in_recovery: true,
            connections: 95,
            schema: Some(2),
            ..examined()
        };
        server(&old, &mut report);
        skew(TimeDelta::milliseconds(-9200), TimeDelta::milliseconds(3), &mut report);
        assert!(!schema(&old, &mut report));
        assert!(!schema(&Examined { schema: None, ..examined() }, &mut report));
        assert!(schema(&Examined { schema: Some(4), ..examined() }, &mut report));
        let now = examined().now;
        let late = Some(now - TimeDelta::minutes(5));
        timers(
            &Pulse { now, oldest_due: late, synchronous_standby: true, notices_waiting: false },
            &mut report,
        );
        insta::assert_snapshot!(text(&report));
    }
}
