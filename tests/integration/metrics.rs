//! What `/metrics` says: everything that is counted is in the catalogue, what happened is counted where it happened, and
//! asking is quick while the bridge has work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_protocol::{Scopes, TenantId};
use bridge_service::catalogue::{By, Kind, METRICS, Metric, Values};
use bridge_tests::daemon::Daemon;
use bridge_tests::endpoint::{Endpoint, Reply};
use bridge_tests::parts::repository;
use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{World, eventually};
use http::Method;
use serde_json::json;

fn known(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The sources of the crates without the catalogue's table.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("catalogue/table.rs")
        {
            found.push(path);
        }
    }
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The arguments of each call of a macro.
fn calls<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let opening = format!("{name}!(");
    text.match_indices(&opening)
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let rest = &text[at + opening.len()..];
            let mut depth = 1;
            let end = rest.find(|c| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            });
            &rest[..end.unwrap_or_default()]
        })
        .collect()
}

#[test]
fn everything_that_is_counted_is_in_the_catalogue_and_the_other_way_round() {
    let mut files = Vec::new();
    sources(&repository().join("crates"), &mut files);
    let mut counted = BTreeSet::new();
    let mut faults = Vec::new();
    let mut all = String::new();
    for file in files {
        let text = code(&file);
        for (kind, name) in
            [(Kind::Counter, "counter"), (Kind::Gauge, "gauge"), (Kind::Histogram, "histogram")]
        {
            for call in calls(&text, name) {
                // The table's rows, one by one.
                if call.starts_with("self.name") {
                    continue;
                }
                let mut words = call.split('"').skip(1).step_by(2);
                let literal = call.trim_start().starts_with('"');
                let Some(metric) = words.next().filter(|_| literal) else {
                    faults.push(format!(
                        "{}: {name}!({call}) is not named where it is counted",
                        file.display()
                    ));
                    continue;
                };
                counted.insert(metric.to_owned());
                let Some(known) = known(metric) else {
                    faults.push(format!("{}: {metric} is not in the catalogue", file.display()));
                    continue;
                };
                let labels: BTreeSet<&str> = call
                    .match_indices("\" =>")
                    .map(|(at, _)| &call[call[..at].rfind('"').unwrap() + 1..at])
                    .collect();
                let expected: BTreeSet<&str> = known.labels.iter().map(|(label, _)| *label).collect();
                if known.kind != kind || labels != expected {
                    faults.push(format!(
                        "{}: {metric} is a {name} with {labels:?}, in the catalogue a {:?} with {expected:?}",
                        file.display(),
                        known.kind
                    ));
                }
            }
        }
        all.push_str(&text);
    }
    assert!(counted.len() > 80, "{counted:?}");
    for metric in METRICS {
        // One is shown without a macro.
        if !counted.contains(metric.name) && !all.contains(&format!("\"{}\"", metric.name)) {
            faults.push(format!("{} is in the catalogue and nobody counts it", metric.name));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn only_the_bounded_metric_names_tenants() {
    let naming: Vec<&str> = METRICS
        .iter()
        .filter(|metric| {
            metric.labels.iter().any(|(label, _)| matches!(*label, "tenant" | "tenant_id" | "workflow"))
        })
        .map(|metric| metric.name)
        .collect();
    assert_eq!(naming, ["bridge_tenant_executions_total"]);
}

/// Series with their values.
pub struct Scrape {
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    pub async fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        let text = daemon.metrics().await?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap_or(f64::NAN)))
            .collect();
        Ok(Self { text, series })
    }

    /// The sum of the series with this name and these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name
                && labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        };
        self.series.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.series.keys().any(|series| series.split('{').next() == Some(name))
    }

    fn check(&self, by: By) {
        let described: BTreeSet<&str> =
            self.text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        for series in self.series.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let metric = known(name).or_else(|| known(base?)).unwrap_or_else(|| panic!("{name} is unknown"));
            assert!(metric.by == By::Both || metric.by == by, "{name} is not {by:?}'s");
            assert!(described.contains(metric.name), "{name} has no HELP");
            for (label, value) in
                labels.trim_end_matches('}').split(',').filter_map(|one| one.split_once('='))
            {
                let value = value.trim_matches('"');
                let Some((_, values)) = metric.labels.iter().find(|(known, _)| *known == label) else {
                    assert_eq!((label, metric.kind), ("le", Kind::Histogram), "{series}");
                    continue;
                };
                if let Values::Closed(values) = values {
                    assert!(values.contains(&value), "{series}: {value} is not one of {values:?}");
                }
            }
        }
    }
}

/// Prometheus's own opinion, where it is installed.
fn promtool(text: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let fetched = repository().join(".bridge/cache/prometheus/usr/bin/promtool");
    let mut command = Command::new(if fetched.exists() { fetched.as_path() } else { Path::new("promtool") });
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("promtool is not installed; its check is left out");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn what_happens_is_counted_where_it_happens() -> anyhow::Result<()> {
    let world = World::build().route("flaky", QUICK_RETRY).route("broken", QUICK_RETRY).start().await?;
    let (publisher, consumer) = (Scrape::of(&world.publisher).await?, Scrape::of(&world.consumer).await?);
    // Before anything happened.
    for (scrape, by) in [(&publisher, By::Publisher), (&consumer, By::Consumer)] {
        scrape.check(by);
        promtool(&scrape.text);
        for metric in METRICS.iter().filter(|metric| metric.labels.is_empty()) {
            assert_eq!(
                scrape.has(metric.name) || scrape.has(&format!("{}_count", metric.name)),
                metric.by == By::Both || metric.by == by,
                "{}",
                metric.name
            );
        }
    }
    assert_eq!(consumer.sum("bridge_accept_to_fire_seconds_count", &[]), 0.0);

    world.endpoint.script("flaky", [Reply::Status(500), Reply::Status(200)]);
    world.endpoint.script("broken", [Reply::Status(400)]);
    for lane in ["short", "long", "ai", "analytics"] {
        world.api.accepted(json!({ "workflow_id": "good", "lane": lane, "payload": {} })).await?;
    }
    world.api.fire("flaky").await?;
    let broken = world.api.fire("broken").await?;
    world.api.expect(&broken, "dead_lettered");
    world.settle().await?;

    let (publisher, consumer) = (Scrape::of(&world.publisher).await?, Scrape::of(&world.consumer).await?);
    for (scrape, by) in [(&publisher, By::Publisher), (&consumer, By::Consumer)] {
        scrape.check(by);
        promtool(&scrape.text);
    }
    let lane = |lane| [("lane", lane)];
    for name in ["short", "ai", "analytics"] {
        assert_eq!(consumer.sum("bridge_accept_to_fire_seconds_count", &lane(name)), 1.0, "{name}");
        assert_eq!(consumer.sum("bridge_evidence_total", &lane(name)), 1.0, "{name}");
    }
    // First attempts alone.
    assert_eq!(consumer.sum("bridge_accept_to_fire_seconds_count", &[]), 6.0);
    assert!(consumer.sum("bridge_accept_to_fire_seconds_sum", &[]) < 60.0);
    assert_eq!(consumer.sum("bridge_execution_seconds_count", &[("state", "succeeded")]), 5.0);
    assert_eq!(consumer.sum("bridge_dead_letters_total", &[("reason", "permanent_answer")]), 1.0);
    assert_eq!(consumer.sum("bridge_evidence_total", &[("evidence", "response")]), 5.0);
    assert_eq!(consumer.sum("n8n_requests_total", &[("status", "2xx")]), 5.0);
    assert_eq!(consumer.sum("n8n_requests_total", &[]), 7.0);
    assert_eq!(consumer.sum("workflow_executions_total", &[("status", "success")]), 5.0);
    assert_eq!(consumer.sum("workflow_errors_total", &[]), 1.0);
    assert_eq!(consumer.sum("workflow_execution_duration_count", &[]), 6.0);
    assert_eq!(consumer.sum("bridge_global_slots", &[]), 512.0);
    let tenant = world.tenant();
    assert_eq!(publisher.sum("bridge_tenant_executions_total", &[("tenant", tenant.as_str())]), 6.0);
    for scrape in [&publisher, &consumer] {
        assert_eq!(scrape.sum("bridge_info", &[]), 1.0);
        assert!(scrape.sum("bridge_credential_expires_seconds", &[("kind", "broker_token")]) >= 0.0);
    }
    world.finish().await
}

#[tokio::test]
async fn what_lives_and_who_is_there_is_shown() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.endpoint.script("slow", [Reply::Held]);
    let held = world.api.accepted(json!({ "workflow_id": "slow", "lane": "ai", "payload": {} })).await?;
    world.api.until(&held, "running").await;
    let delayed =
        world.api.accepted(json!({ "workflow_id": "later", "payload": {}, "delay_seconds": 3600 })).await?;
    eventually("the running and the delayed execution to be counted", async || {
        let scrape = Scrape::of(&world.publisher).await.map_err(|error| error.to_string())?;
        let live = |lane, state| scrape.sum("bridge_live_executions", &[("lane", lane), ("state", state)]);
        let seen = (
            live("ai", "running"),
            live("long", "accepted"),
            scrape.sum("n8n_queue_size", &[("lane", "long")]),
            scrape.sum("workflow_active", &[("lane", "ai")]),
            scrape.sum("bridge_members", &[("daemon", "publisher")]),
            scrape.sum("bridge_members", &[("daemon", "consumer")]),
        );
        let good = seen == (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
            && scrape.sum("bridge_oldest_running_seconds", &[("lane", "ai")]) > 0.0
            && scrape.sum("bridge_oldest_unclaimed_seconds", &[]) == 0.0
            && scrape.sum("bridge_signing_key_age_seconds", &[]) > 0.0
            && scrape.sum("bridge_store_pool_connections", &[("pool", "watch")]) == 1.0;
        if good { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    world.endpoint.release("slow");
    let answer = world.api.post(&format!("/pulsar/executions/{delayed}/cancel"), &json!({})).await?;
    assert!(answer.status.is_success(), "{answer:?}");
    world.api.expect(&delayed, "cancelled");
    let scrape = Scrape::of(&world.publisher).await?;
    assert_eq!(scrape.sum("bridge_execution_seconds_count", &[("state", "cancelled")]), 1.0);
    world.finish().await
}

/// A publisher, because only it names tenants at all.
#[tokio::test]
async fn five_thousand_tenants_are_as_many_series_as_a_few() -> anyhow::Result<()> {
    const TENANTS: usize = 5_000;
    let world = World::build().without_consumer().set("telemetry.tenants_named", "5").start().await?;
    let crowd = format!("INSERT INTO tenants (id) SELECT 'crowd-' || n FROM generate_series(1, {TENANTS}) n");
    world.sql.rows(&crowd).await?;
    let names: Vec<String> = (1..=TENANTS).map(|number| format!("crowd-{number}")).collect();
    let ids = names.iter().map(|name| TenantId::parse(name)).collect::<Result<_, _>>()?;
    let everybodys = world.registrar.new_key(ids, Scopes::ALL_OF_TENANT).await?;
    world.directory_is_current().await;
    let api = world.api.with_token(&everybodys);
    // None of it is due: the broker knows nothing of these tenants.
    let publish = async |names: &[String]| -> anyhow::Result<()> {
        let of =
            |name| json!({ "tenant_id": name, "workflow_id": "w", "payload": {}, "delay_seconds": 86_400 });
        let batch = json!(names.iter().map(of).collect::<Vec<_>>());
        let answer = api.call(Method::POST, "/pulsar/publish/batch", Some(&batch)).await?;
        let taken = answer.json.as_array().into_iter().flatten().filter(|item| item["status"] == 202).count();
        anyhow::ensure!(taken == names.len(), "{taken} of {}: {answer:?}", names.len());
        Ok(())
    };
    let series = async || -> anyhow::Result<(BTreeSet<String>, usize)> {
        let scrape = Scrape::of(&world.publisher).await?;
        let (named, others): (BTreeSet<_>, BTreeSet<_>) =
            scrape.series.into_keys().partition(|series| series.contains("tenant="));
        Ok((others, named.len()))
    };
    publish(&names[..20]).await?;
    let few = series().await?;
    for thousand in names[20..].chunks(1000) {
        publish(thousand).await?;
    }
    let many = series().await?;
    assert_eq!((few.1, many.1), (6, 6), "five by name, and the others");
    let new: Vec<&String> = many.0.difference(&few.0).filter(|series| series.contains("crowd")).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(many.0.len() <= few.0.len() + 20, "{:?}", many.0.difference(&few.0));
    world.leave().await
}

/// How soon they are answered, of twenty at least nineteen.
const LIMIT: Duration = Duration::from_millis(100);
/// And so many times what an answer takes for which nothing has to be known: that is the machine's affair, which runs
/// other tests beside this one.
const AND_TIMES: u32 = 4;
const LIVE: &str = "/health/live";

/// What the answers took, each in its order, by daemon and path.
pub type Answers = BTreeMap<(String, &'static str), Vec<Duration>>;

fn nineteen_of_twenty(times: &[Duration]) -> Duration {
    times[times.len() * 19 / 20 - 1]
}

/// Beside the daemons' answers those of an endpoint of this process.
pub async fn answers(daemons: &[&Daemon]) -> anyhow::Result<Answers> {
    let (http, own) = (bridge_tests::http_client(), Endpoint::start().await?);
    let mut times = Answers::new();
    let own = own.url();
    let own = own.trim_end_matches("/{workflow_id}");
    for _ in 0..25 {
        for daemon in daemons {
            for (of, url, path) in [
                (daemon.name(), &*daemon.url(), LIVE),
                (daemon.name(), &*daemon.url(), "/metrics"),
                (daemon.name(), &*daemon.url(), "/health/ready"),
                ("this process", own, LIVE),
            ] {
                let begun = Instant::now();
                // Whatever it says: who is not ready says so at once.
                http.get(format!("{url}{path}")).send().await?.bytes().await?;
                times.entry((of.to_owned(), path)).or_default().push(begun.elapsed());
            }
        }
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    Ok(times)
}

/// Asks the daemons for their metrics and their health and fails when any of it waits for something: it may take longer
/// than `idle`, when nothing was amiss, only by what the machine does to it.
pub async fn answers_at_once(daemons: &[&Daemon], idle: &Answers) -> anyhow::Result<()> {
    for ((of, path), took) in &answers(daemons).await? {
        let before = nineteen_of_twenty(&idle[&(of.clone(), *path)]);
        eprintln!("{of} {path}: {:?}, before {before:?}", nineteen_of_twenty(took));
        let limit = LIMIT + AND_TIMES * before;
        assert!(nineteen_of_twenty(took) <= limit, "{of} {path}, before {before:?}: {took:?}");
    }
    Ok(())
}

#[tokio::test]
async fn metrics_and_health_answer_at_once_while_there_is_work() -> anyhow::Result<()> {
    let world = World::start().await?;
    let asked = AtomicBool::new(false);
    let load = async {
        // As long as somebody asks, but no more than can be worked off afterwards.
        for _ in 0..60 {
            if asked.load(Ordering::Relaxed) {
                break;
            }
            // What is too much is refused.
            futures::future::join_all((0..8).map(|_| world.api.fire("load"))).await;
        }
    };
    let asking = async {
        let answers = answers(&[&world.publisher, &world.consumer]).await;
        asked.store(true, Ordering::Relaxed);
        answers
    };
    let ((), times) = tokio::join!(load, asking);
    let times = times?;
    // A process with much to do takes its time for anything, and for these answers no more.
    for ((of, path), took) in times.iter().filter(|((_, path), _)| *path != LIVE) {
        let busy = nineteen_of_twenty(&times[&(of.clone(), LIVE)]);
        eprintln!("{of} {path}: {:?} beside {busy:?}", nineteen_of_twenty(took));
        assert!(
            nineteen_of_twenty(took) <= LIMIT + AND_TIMES * busy,
            "{of} {path} beside {busy:?}: {took:?}"
        );
    }
    world.finish().await
}

/// While the broker says nothing: `broker_faults` asks too.
#[tokio::test]
async fn metrics_and_health_answer_at_once_while_postgres_says_nothing() -> anyhow::Result<()> {
    // However long it takes here: a database that is given up is another test's.
    let world = World::build()
        .behind_proxy()
        .set("database.accept_patience_ms", "20000")
        .set("database.write_patience_ms", "60000")
        .start()
        .await?;
    let proxy = world.proxy.as_ref().unwrap();
    world.endpoint.script("w", [Reply::Slow(Duration::from_millis(300))]);
    let api = world.api.clone();
    let idle = answers(&[&world.publisher, &world.consumer]).await?;
    proxy.stall();
    // Both daemons are in the middle of something.
    let meanwhile =
        tokio::spawn(async move { futures::future::join_all((0..8).map(|_| api.fire("w"))).await });
    answers_at_once(&[&world.publisher, &world.consumer], &idle).await?;
    proxy.pass();
    // Those that lost their patience were told so.
    drop(meanwhile.await?);
    world.finish().await
}
