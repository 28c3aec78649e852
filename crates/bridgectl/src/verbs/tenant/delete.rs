//! `bridgectl tenant delete`: drains, exports, removes; then the broker's half.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_protocol::TenantId;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::path;
use crate::answers::admin::Deletion;
use crate::args::confirm;
use crate::broker::Broker;
use crate::client::Client;
use crate::progress::Progress;
use crate::verbs::Setup;
use crate::{Exit, Failure};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Executions of one request; it is streamed, and each leaves a line in the audit.
const PAGE: usize = 10_000;

#[derive(clap::Args)]
pub struct Args {
    tenant: TenantId,
    /// The tenant's name once more, where there is no terminal to type it on
    #[arg(long)]
    confirm: Option<String>,
    /// Write its executions with payloads and results here first, one JSON object a line
    #[arg(long)]
    export: Option<PathBuf>,
    /// Cancel what has not ended instead of waiting for it
    #[arg(long)]
    abandon: bool,
    /// How long to wait for what has not ended: seconds, or 90s, 15m, 2h
    #[arg(long, default_value = "15m", value_parser = crate::args::seconds)]
    wait: u64,
    /// Leave the broker's half alone
    #[arg(long)]
    no_topics: bool,
}

pub async fn run(client: &Client, setup: &Setup, args: Args, json: bool) -> Result<String, Failure> {
    let tenant = &args.tenant;
    // Told before anything is gone: a broken configuration would leave half of the tenant.
    let broker = match args.no_topics {
        true => None,
        false => Some(Broker::open(&setup.load()?, None)?),
    };
    if let Some(file) = &args.export {
        writable(file)?;
    }
    let what = format!(
        "This removes tenant {tenant}: its executions, payloads, credentials, keys{}.",
        if broker.is_some() { " and topics" } else { "" }
    );
    confirm(tenant.as_str(), args.confirm.as_deref(), &what)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let removed = match drain(client, &args, deadline).await {
        Ok(()) => {
            let exported = match &args.export {
                Some(file) => Some(export(client, tenant, file).await?),
                None => None,
            };
            Some((remove(client, &args, deadline).await?, exported))
        }
        // A run before this one came to the broker and no further.
        Err(failure) if failure.exit == Exit::NotFound && broker.is_some() => None,
        Err(failure) => return Err(failure),
    };
    let at_the_broker = match &broker {
        Some(broker) => broker.remove(tenant).await?,
        None => Vec::new(),
    };
    if removed.is_none() && at_the_broker.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no tenant {tenant}, here or at the broker"),
        ));
    }
    let (records, exported) = removed.map_or((Value::Null, None), |(value, exported)| (value, exported));
    if json {
        let answer =
            json!({ "tenant_id": tenant, "removed": records, "exported": exported, "broker": at_the_broker });
        return Ok(answer.to_string());
    }
    Ok(told(tenant, &records, exported, args.export.as_deref(), &at_the_broker))
}

/// Known before the tenant is marked: from then on it accepts nothing.
fn writable(file: &Path) -> Result<(), Failure> {
    let name = file.display();
    if file.exists() {
        let fix = format!(
            "{name} is there already; of an earlier run it may be the only copy left: give another name, or leave --export out"
        );
        return Err(Failure::new(Exit::Usage, fix));
    }
    // The parent of a bare name is "".
    match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() || dir.is_dir() => Ok(()),
        _ => Err(Failure::new(Exit::Usage, format!("the directory of {name} is not there; make it first"))),
    }
}

fn told(
    tenant: &TenantId,
    records: &Value,
    exported: Option<u64>,
    file: Option<&Path>,
    at_the_broker: &[String],
) -> String {
    let mut lines = vec![format!("tenant {tenant} is removed")];
    if let (Some(count), Some(file)) = (exported, file) {
        lines.push(format!("  exported {count} executions to {}", file.display()));
    }
    if let Value::Object(counts) = records {
        let counts = counts.iter().filter(|(_, count)| count.as_u64() != Some(0));
        let counts: Vec<_> =
            counts.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        if !counts.is_empty() {
            lines.push(format!("  removed  {}", counts.join(", ")));
        }
    }
    lines.extend(at_the_broker.iter().map(|change| format!("  broker   {change}")));
    lines.join("\n")
}

async fn ask(client: &Client, tenant: &TenantId, abandon: bool, remove: bool) -> Result<Deletion, Failure> {
    let query =
        [("confirm", tenant.to_string()), ("abandon", abandon.to_string()), ("remove", remove.to_string())];
    Ok(client.delete::<Deletion>(&path(tenant), &query).await?.read)
}

/// Until nothing of it lives, and nothing can come to life: every daemon refuses it, what was being accepted is over.
async fn drain(client: &Client, args: &Args, deadline: Instant) -> Result<(), Failure> {
    let tenant = &args.tenant;
    let mut progress: Option<(Progress, u64)> = None;
    loop {
        let now = ask(client, tenant, args.abandon, false).await?;
        if now.live == 0 && now.in_effect {
            if let Some((progress, _)) = progress {
                progress.finish();
            }
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(waited(tenant, &now, args.wait));
        }
        let (progress, most) =
            progress.get_or_insert_with(|| (Progress::new("executions ended", now.live), now.live));
        *most = (*most).max(now.live);
        progress.set(*most - now.live, *most);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn waited(tenant: &TenantId, now: &Deletion, wait: u64) -> Failure {
    let what = match now.live {
        0 => format!(
            "tenant {tenant}: nothing lives, but after {wait} s it was not certain yet that no daemon accepts for it \
             any more. Run this again to go on waiting"
        ),
        live => format!(
            "tenant {tenant} accepts nothing any more, but {live} executions have not ended after {wait} s. Run this \
             again to go on waiting, or with --abandon to cancel them"
        ),
    };
    Failure::new(Exit::Unavailable, what)
}

/// Asked until it is done: the bridge may find once more that it is too early.
async fn remove(client: &Client, args: &Args, deadline: Instant) -> Result<Value, Failure> {
    let tenant = &args.tenant;
    loop {
        let now = ask(client, tenant, args.abandon, true).await?;
        if let Some(removed) = now.removed {
            return Ok(removed);
        }
        if Instant::now() >= deadline {
            return Err(waited(tenant, &now, args.wait));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Page by page into a new file for its owner, which has its name once it is whole; says how many.
async fn export(client: &Client, tenant: &TenantId, file: &Path) -> Result<u64, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("{} cannot be written: {error}; nothing was removed", file.display()),
        )
    };
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    let mut options = OpenOptions::new();
    let mut out =
        options.write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(failed)?;
    let mut after: Option<String> = None;
    let mut total = 0;
    loop {
        let mut page = Lines { out: &mut out, line: Vec::new(), count: 0, last: None };
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(after.clone().map(|after| ("after", after)));
        client.copy(&format!("{}/export", path(tenant)), &query, &mut page).await?;
        total += page.count as u64;
        let whole = page.line.is_empty();
        let (count, last) = (page.count, page.last.take());
        if !whole {
            let what = format!(
                "the export of tenant {tenant} broke off within a line; nothing was removed, run this again"
            );
            return Err(Failure::new(Exit::Unavailable, what));
        }
        if count < PAGE {
            break;
        }
        after = last;
    }
    out.sync_all().map_err(failed)?;
    // What was written is read again: the originals are gone in a moment.
    let written = BufReader::new(std::fs::File::open(&partial).map_err(failed)?).lines().count() as u64;
    if written != total {
        let what = format!("{} holds {written} of {total} lines; nothing was removed", partial.display());
        return Err(Failure::new(Exit::Failed, what));
    }
    std::fs::rename(&partial, file).map_err(failed)?;
    Ok(total)
}

/// Passes bytes on and looks at whole lines: their number, and the id of the last.
struct Lines<'a> {
    out: &'a mut std::fs::File,
    line: Vec<u8>,
    count: usize,
    last: Option<String>,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.line.extend_from_slice(piece);
            if pieces.peek().is_none() {
                break;
            }
            let line: Line<'_> = serde_json::from_slice(&self.line)
                .map_err(|error| std::io::Error::other(format!("a line is not JSON: {error}")))?;
            self.last = Some(line.execution_id.into_owned());
            self.count += 1;
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    execution_id: std::borrow::Cow<'a, str>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let text = b"{\"execution_id\":\"1\",\"payload\":{\"a\":\"\\n\"}}\n{\"execution_id\":\"2\"}\n";
        for size in [1, 7, 1000] {
            let mut out = tempfile::tempfile().unwrap();
            let mut lines = Lines { out: &mut out, line: Vec::new(), count: 0, last: None };
            for piece in text.chunks(size) {
                lines.write_all(piece).unwrap();
            }
            assert_eq!((lines.count, lines.last.as_deref(), lines.line.is_empty()), (2, Some("2"), true));
        }
    }

    #[test]
    fn an_export_never_replaces_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("acme.ndjson");
        assert!(writable(&file).is_ok() && writable(Path::new("no-such-file.ndjson")).is_ok());
        std::fs::write(&file, "{}\n").unwrap();
        assert_eq!(writable(&file).unwrap_err().exit, Exit::Usage);
        assert_eq!(writable(&dir.path().join("none/acme.ndjson")).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn what_was_removed_is_counted() {
        let tenant = TenantId::parse("acme").unwrap();
        let records = json!({ "executions": 12, "webhook_secrets": 1, "data_keys": 0 });
        let broker = ["delete namespace acme/workflows".to_owned()];
        insta::assert_snapshot!(told(&tenant, &records, Some(12), Some(Path::new("acme.ndjson")), &broker), @"
        tenant acme is removed
          exported 12 executions to acme.ndjson
          removed  12 executions, 1 webhook secrets
          broker   delete namespace acme/workflows
        ");
    }
}
