//! One table from the files of a run: measured, ratio, aim.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde::de::DeserializeOwned;

use crate::sample::Sample;
use crate::{latency, load, look, spans, verify, wait};

mod table;

use table::Table;

/// Aims, as ratios to what the same Postgres does in the same run.
const AIM_ACCEPT: f64 = 0.5;
const AIM_CHAIN: f64 = 0.2;
const AIM_FIRE_COMMITS: f64 = 15.0;
const AIM_RESIDENT_MIB: f64 = 64.0;
const AIM_MANY_TENANTS: f64 = 0.9;
const AIM_TENANTS_SECONDS: f64 = 120.0;
const AIM_TRACED: f64 = 0.9;
const AIM_UNTRACED_PERCENT: f64 = 1.0;
const AIM_PROBE_MS: f64 = 100.0;
const AIM_LOOK: f64 = 1.5;
const AIM_WAITERS_MIB: f64 = 200.0;
const AIM_WAITERS_PERCENT: f64 = 10.0;

/// Reads what bench/run.sh wrote into one directory.
#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    dir: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let files = Files(&args.dir);
    let commits = pgbench(&files.text("pgbench-64.txt")?).context("pgbench-64.txt has no result")?;
    let one = pgbench(&files.text("pgbench-1.txt")?).context("pgbench-1.txt has no result")?;
    let mut table = Table::default();
    table.row("Postgres: 1 KB INSERT commits/s, 64 clients", format!("{:.0}", commits.per_second), "", "");
    table.row("Postgres: one fsynced commit, 1 client", format!("{:.2} ms", one.latency_ms), "", "");
    accept(&files, &mut table, commits.per_second)?;
    chain(&files, &mut table, commits.per_second)?;
    open_loop(&files, &mut table, one.latency_ms)?;
    tenants(&files, &mut table)?;
    history(&files, &mut table)?;
    waiters(&files, &mut table)?;
    tracing(&files, &mut table)?;
    probes(&files, &mut table)?;
    processes(&files, &mut table)?;
    println!("{table}");
    accounting(&files)
}

/// A: what probes and scrapers waited while the daemons were as busy as they can be.
fn probes(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    for (name, what) in
        [("accept", "A: publisher"), ("chain", "B: publisher"), ("chain-consumer", "B: consumer")]
    {
        let file = format!("probe-{name}.json");
        if !files.has(&file) {
            continue;
        }
        let waited: latency::Summary = files.json(&file)?;
        let met = waited.p99 as f64 / 1000.0 <= AIM_PROBE_MS;
        let what = format!("{what} under full load, /metrics and health, {} answers", waited.count);
        table.row(&what, waited.to_string(), "", &aim(format!("p99 <= {AIM_PROBE_MS} ms"), met));
    }
    Ok(())
}

/// A: the publisher alone, the consumer not started.
fn accept(files: &Files<'_>, table: &mut Table, commits: f64) -> anyhow::Result<()> {
    if !files.has("accept-verify.json") {
        return Ok(());
    }
    for connections in [64, 256] {
        let load: load::Summary = files.json(&format!("accept-{connections}.json"))?;
        let name = format!("A: durable 202s/s, {connections} connections");
        table.ratio(name, load.per_second, commits, AIM_ACCEPT);
        table.row("", format!("202: {}", load.latency_micros), "", "");
    }
    let drain: verify::Summary = files.json("accept-verify.json")?;
    let drained = drain.delivered() as f64 / drain.seconds_of_deliveries.max(0.001);
    table.row("consumer draining A's backlog, fired/s", format!("{drained:.0}"), "", "");
    Ok(())
}

/// B: accepted in a closed loop and fired, until the last one has arrived.
fn chain(files: &Files<'_>, table: &mut Table, commits: f64) -> anyhow::Result<()> {
    if !files.has("chain-verify.json") {
        return Ok(());
    }
    let load: load::Summary = files.json("chain.json")?;
    let verify: verify::Summary = files.json("chain-verify.json")?;
    let sustained = verify.delivered() as f64 / verify.seconds_to_last_delivery.max(0.001);
    table.ratio("B: published and fired, sustained/s".to_owned(), sustained, commits, AIM_CHAIN);
    let accepted = format!("accepted {:.0}/s for {:.0} s", load.per_second, load.seconds);
    let all = format!("{accepted}, all fired after {:.1} s", verify.seconds_to_last_delivery);
    table.row("", all, "", "");
    Ok(())
}

/// C: 200 a second, each due at its own time.
fn open_loop(files: &Files<'_>, table: &mut Table, commit_ms: f64) -> anyhow::Result<()> {
    if !files.has("open-verify.json") {
        return Ok(());
    }
    let load: load::Summary = files.json("open.json")?;
    let verify: verify::Summary = files.json("open-verify.json")?;
    let rate = load.rate.unwrap_or_default();
    table.row(&format!("C: {rate}/s open loop, request to 202"), load.latency_micros.to_string(), "", "");
    let fire = verify.request_to_fire_micros;
    let commits = fire.p99 as f64 / 1000.0 / commit_ms.max(0.001);
    table.row(
        &format!("C: {rate}/s open loop, request to fire"),
        fire.to_string(),
        &format!("p99 = {commits:.1} commits"),
        &aim(format!("<= {AIM_FIRE_COMMITS}"), commits <= AIM_FIRE_COMMITS),
    );
    table.row("C: 202 to fire", verify.accepted_to_fire_micros.to_string(), "", "");
    Ok(())
}

/// D: the same load by one tenant and by many, twice in turn; published only, then fired too.
fn tenants(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    if !files.has("tenants-chain-verify.json") {
        return Ok(());
    }
    let seconds: f64 =
        files.text("tenants.seconds")?.trim().parse().context("tenants.seconds is no number")?;
    let many = files.text("tokens")?.lines().count();
    table.row(
        &format!("D: making {many} tenants, each with topics and a credential"),
        format!("{seconds:.0} s"),
        "",
        &aim(format!("< {AIM_TENANTS_SECONDS} s"), seconds < AIM_TENANTS_SECONDS),
    );
    let rate = |name: &str| -> anyhow::Result<f64> {
        let first: load::Summary = files.json(&format!("{name}-1.json"))?;
        let second: load::Summary = files.json(&format!("{name}-2.json"))?;
        Ok((first.per_second + second.per_second) / 2.0)
    };
    let (one, all) = (rate("accept-one")?, rate("accept-many")?);
    table.ratio(format!("D: 202s/s, {many} tenants against one's {one:.0}"), all, one, AIM_MANY_TENANTS);
    let (one, all) = (rate("chain-one")?, rate("chain-many")?);
    table.row(
        &format!("D: the same while all are fired, one's {one:.0}"),
        format!("{all:.0}"),
        &format!("{:.2}", all / one.max(0.001)),
        "",
    );
    Ok(())
}

/// E: the same questions among few executions and among many.
fn history(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    if !files.has("look-many.json") {
        return Ok(());
    }
    let few: look::Summaries = files.json("look-few.json")?;
    let many: look::Summaries = files.json("look-many.json")?;
    let sizes = files.text("history.sizes")?;
    table.row(&format!("E: medians among {} executions", sizes.trim()), "", "", "");
    for (kind, many) in &many {
        let few = few.get(kind).with_context(|| format!("{kind} was measured only once"))?;
        let ms = |micros: u64| micros as f64 / 1000.0;
        let ratio = many.p50 as f64 / few.p50.max(1) as f64;
        table.row(
            &format!("E: {kind}"),
            format!("{:.2} ms / {:.2} ms", ms(few.p50), ms(many.p50)),
            &format!("{ratio:.2}"),
            &aim(format!("<= {AIM_LOOK}"), ratio <= AIM_LOOK),
        );
    }
    Ok(())
}

/// F: callers that wait for results.
fn waiters(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    if !files.has("wait.json") {
        return Ok(());
    }
    let rest: wait::Rest = files.json("wait-rest.json")?;
    let answers: wait::Answers = files.json("wait.json")?;
    let met = rest.resident_mib < AIM_WAITERS_MIB && rest.busy_percent < AIM_WAITERS_PERCENT;
    table.row(
        &format!("F: {} callers waiting for results, publisher at rest", rest.callers),
        format!("{:.1} MiB, {:.1} % of a core", rest.resident_mib, rest.busy_percent),
        "",
        &aim(format!("< {AIM_WAITERS_MIB} MiB, < {AIM_WAITERS_PERCENT} %"), met),
    );
    let text = format!("{} callers, {} got no result", answers.results, answers.others);
    table.row("F: got the result once the consumer ran", text, "", "");
    Ok(())
}

/// G: the same load without traces, with all of them sent to what throws them away, and with all of them kept by a
/// collector and a Jaeger on the same processors.
fn tracing(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    if !files.has("traced-verify.json") {
        return Ok(());
    }
    let mean = |which: &str| -> anyhow::Result<(f64, f64)> {
        let (mut rate, mut micros, mut rounds) = (0.0, 0.0, 0);
        while files.has(&format!("trace-{which}-{}.json", rounds + 1)) {
            rounds += 1;
            let load: load::Summary = files.json(&format!("trace-{which}-{rounds}.json"))?;
            let cpu = |when: &str| -> anyhow::Result<f64> {
                let sample: Sample = files.json(&format!("{when}-trace-{which}-{rounds}.json"))?;
                Ok(sample.get("publisher").map_or(0.0, |usage| usage.cpu_seconds))
            };
            rate += load.per_second;
            micros += (cpu("after")? - cpu("before")?) * 1e6 / load.accepted.max(1) as f64;
        }
        let rounds = f64::from(rounds.max(1));
        Ok((rate / rounds, micros / rounds))
    };
    let (off, off_micros) = mean("off")?;
    let (on, on_micros) = mean("on")?;
    table.ratio(
        format!("G: 202s/s, every trace sent to another machine, without {off:.0}"),
        on,
        off,
        AIM_TRACED,
    );
    table.row(
        "G: the publisher's processor time an execution, without / with",
        format!("{off_micros:.0} µs / {on_micros:.0} µs"),
        &format!("{:.2}", on_micros / off_micros.max(0.001)),
        "",
    );
    let idle: spans::Figure = files.json("spans-off.json")?;
    let share = idle.nanos / 10.0 / off_micros.max(0.001);
    table.row(
        "G: of that without, what spans cost that nobody collects",
        format!("{:.2} µs", idle.nanos / 1000.0),
        &format!("{share:.2} %"),
        &aim(format!("<= {AIM_UNTRACED_PERCENT} %"), share <= AIM_UNTRACED_PERCENT),
    );
    let (beside, _) = mean("beside")?;
    table.row(
        "G: the same, collector and Jaeger on the same two processors",
        format!("{beside:.0}"),
        &format!("{:.2}", beside / off.max(1.0)),
        "",
    );
    Ok(())
}

fn processes(files: &Files<'_>, table: &mut Table) -> anyhow::Result<()> {
    let idle: Sample = files.json("idle.json")?;
    let after: Sample = files.json("after.json")?;
    for daemon in ["publisher", "consumer"] {
        let mib =
            |sample: &Sample| sample.get(daemon).map_or(0.0, |usage| usage.resident_kib as f64 / 1024.0);
        let met = mib(&idle) > 0.0 && mib(&idle) < AIM_RESIDENT_MIB;
        table.row(
            &format!("{daemon}: resident idle / after the load"),
            format!("{:.1} MiB / {:.1} MiB", mib(&idle), mib(&after)),
            "",
            &aim(format!("idle < {AIM_RESIDENT_MIB} MiB"), met),
        );
    }
    for (phase, name) in [("chain", "B"), ("open", "C")] {
        if !files.has(&format!("{phase}-verify.json")) {
            continue;
        }
        let before: Sample = files.json(&format!("before-{phase}.json"))?;
        let after: Sample = files.json(&format!("after-{phase}.json"))?;
        let executions = files.json::<verify::Summary>(&format!("{phase}-verify.json"))?.delivered().max(1);
        let mut parts = Vec::new();
        let mut total = 0.0;
        for (process, usage) in &after {
            let spent = usage.cpu_seconds - before.get(process).map_or(0.0, |usage| usage.cpu_seconds);
            let micros = spent * 1e6 / executions as f64;
            total += micros;
            parts.push(format!("{process} {micros:.0}"));
        }
        let text = format!("{total:.0} µs ({})", parts.join(", "));
        table.row(&format!("{name}: processor time an execution"), text, "", "");
    }
    Ok(())
}

fn accounting(files: &Files<'_>) -> anyhow::Result<ExitCode> {
    let (mut accepted, mut unaccounted) = (0, 0);
    println!("| ids | accepted | delivered | duplicates | not delivered | unaccounted for |");
    println!("|---|---|---|---|---|---|");
    for (phase, name) in [
        ("accept", "A"),
        ("chain", "B"),
        ("open", "C"),
        ("tenants", "D"),
        ("tenants-chain", "D, fired"),
        ("waited", "F"),
    ] {
        if !files.has(&format!("{phase}-verify.json")) {
            continue;
        }
        let verify: verify::Summary = files.json(&format!("{phase}-verify.json"))?;
        accepted += verify.accepted;
        unaccounted += verify.unaccounted;
        let (delivered, duplicates) = (verify.delivered(), verify.duplicates());
        println!(
            "| {name} | {} | {delivered} | {duplicates} | {} | {} |",
            verify.accepted, verify.undelivered, verify.unaccounted
        );
    }
    println!("\n{accepted} ids accepted, {unaccounted} unaccounted for.");
    Ok(if unaccounted == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn aim(text: String, met: bool) -> String {
    format!("{text}: {}", if met { "met" } else { "missed" })
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        let path = self.0.join(name);
        fs::read_to_string(&path).with_context(|| format!("the run left no {}", path.display()))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        serde_json::from_str(&self.text(name)?).with_context(|| format!("{name} is not what was expected"))
    }
}

struct Pgbench {
    per_second: f64,
    latency_ms: f64,
}

fn pgbench(output: &str) -> Option<Pgbench> {
    let value = |key: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches([' ', '=']).split(' ').next()?.parse().ok()
    };
    Some(Pgbench { per_second: value("tps")?, latency_ms: value("latency average")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_read() {
        let output = "number of failed transactions: 0 (0.000%)\nlatency average = 3.249 ms\n\
            initial connection time = 60.1 ms\ntps = 19700.123456 (without initial connection time)\n";
        let read = pgbench(output).map(|read| (read.per_second, read.latency_ms));
        assert_eq!(read, Some((19_700.123_456, 3.249)));
    }
}
