//! Memory and processor time of processes, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// The kernel's USER_HZ, 100 on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;
const PAGE_KIB: u64 = 4;

#[derive(clap::Args)]
pub struct Args {
    /// name=pid, again for each process; children are included
    #[arg(long = "process", required = true, value_parser = parse_process)]
    processes: Vec<(String, u32)>,
    /// File to write, JSON
    #[arg(long)]
    out: PathBuf,
}

fn parse_process(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("expected name=pid")?;
    Ok((name.to_owned(), pid.trim().parse().map_err(|_| format!("{pid:?} is not a pid"))?))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub resident_kib: u64,
    pub cpu_seconds: f64,
}

pub type Sample = BTreeMap<String, Usage>;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let all = processes()?;
    let mut sample = Sample::new();
    for (name, pid) in &args.processes {
        if !all.contains_key(pid) {
            bail!("{name} (pid {pid}) is not running");
        }
        sample.insert(name.clone(), usage(&all, *pid));
    }
    fs::write(&args.out, serde_json::to_vec_pretty(&sample)?)
        .with_context(|| format!("cannot write {}", args.out.display()))
}

/// One process with its children, now.
pub fn of(pid: u32) -> anyhow::Result<Usage> {
    let all = processes()?;
    if !all.contains_key(&pid) {
        bail!("pid {pid} is not running");
    }
    Ok(usage(&all, pid))
}

struct Process {
    parent: u32,
    ticks: u64,
    /// Time of children that have ended and were waited for: Postgres's closed connections.
    ended_children_ticks: u64,
    resident_kib: u64,
}

fn processes() -> anyhow::Result<BTreeMap<u32, Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended since the listing has no file any more.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Some(process) = parse_stat(&stat)
        {
            all.insert(pid, process);
        }
    }
    Ok(all)
}

/// proc(5): the name stands in parentheses and may hold anything, so count from its end.
fn parse_stat(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
        ended_children_ticks: number(13)? + number(14)?,
        resident_kib: number(21)? * PAGE_KIB,
    })
}

/// Resident memory counts a shared page once for each process that has it mapped.
fn usage(all: &BTreeMap<u32, Process>, root: u32) -> Usage {
    let (mut ticks, mut resident_kib) = (0, 0);
    let mut pending = vec![root];
    while let Some(pid) = pending.pop() {
        if let Some(process) = all.get(&pid) {
            ticks += process.ticks + process.ended_children_ticks;
            resident_kib += process.resident_kib;
        }
        pending.extend(all.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| *pid));
    }
    Usage { resident_kib, cpu_seconds: ticks as f64 / TICKS_A_SECOND }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 10 0 0 0 150 50 3 2 20 0 9 0 5 1000 25 99";
        let process = parse_stat(stat).unwrap();
        assert_eq!((process.parent, process.ticks, process.ended_children_ticks), (1, 200, 5));
        assert_eq!(process.resident_kib, 100);
    }

    #[test]
    fn this_process_is_measured() {
        let usage = usage(&processes().unwrap(), std::process::id());
        assert!(usage.resident_kib > 1000, "{usage:?}");
    }
}
