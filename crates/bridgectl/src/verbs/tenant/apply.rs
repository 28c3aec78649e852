//! `bridgectl tenant apply`: many tenants from a file. What fails is named at the end, the rest goes on, and a second
//! run does what is left.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bridge_protocol::TenantId;
use bridge_service::clock::{Clock, SystemClock};
use futures::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use super::create::{leaving, lost};
use super::file::{self, Wanted, WantedClient};
use super::{all, path};
use crate::answers::admin::{Client, Clients, Tenant};
use crate::args::write_private;
use crate::broker::Broker;
use crate::client::Client as Api;
use crate::n8n::Credential;
use crate::progress::Progress;
use crate::verbs::Setup;
use crate::{Exit, Failure};

/// Tenants that are worked on at the same time.
const AT_A_TIME: usize = 16;
/// Failures that are told one by one.
const TOLD: usize = 50;

#[derive(clap::Args)]
pub struct Args {
    /// The tenants: `tenants: [{id, state?, limits?, clients?}]`, and `defaults` for those that say nothing
    #[arg(short, long)]
    file: PathBuf,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Directory for the secrets of what is made, one file each, for their owner only
    #[arg(long)]
    out: Option<PathBuf>,
    /// Leave the broker alone: its half is made elsewhere
    #[arg(long)]
    no_topics: bool,
    /// Other rules for the topics than the built-in ones (pulsar/topics.yml)
    #[arg(long)]
    topics_file: Option<PathBuf>,
}

/// What the bridge holds already, asked for once.
struct Present {
    tenants: HashMap<String, Tenant>,
    /// Clients that are neither revoked nor expired, by tenant and name.
    clients: HashMap<(String, String), String>,
}

struct Work<'a> {
    api: &'a Api,
    broker: Option<Broker>,
    present: Present,
    out: Option<&'a Path>,
    dry_run: bool,
}

/// What was done for one tenant, a line each.
#[derive(Default)]
struct Done {
    created: bool,
    changes: Vec<String>,
    /// Nothing is wrong, but somebody should look.
    notes: Vec<String>,
}

pub async fn run(api: &Api, setup: &Setup, args: Args, json: bool) -> Result<String, Failure> {
    let started = Instant::now();
    let wanted = read(&args)?;
    let mut broker = match args.no_topics {
        true => None,
        false => Some(Broker::open(&setup.load()?, args.topics_file.as_deref())?),
    };
    let present = Present::ask(api, &wanted).await?;
    if let Some(broker) = &mut broker {
        broker.ask_clusters().await?;
    }
    let work = Work { api, broker, present, out: args.out.as_deref(), dry_run: args.dry_run };
    let total = wanted.len() as u64;
    let progress = Progress::new("tenants", total);
    let mut running = futures::stream::iter(&wanted)
        .map(async |tenant| (tenant, work.tenant(tenant).await))
        .buffer_unordered(AT_A_TIME);
    let mut report = Report::default();
    while let Some((tenant, done)) = running.next().await {
        report.add(&tenant.id, done);
        progress.set(report.seen(), total);
    }
    drop(running);
    progress.finish();
    report.sort();
    let text = match json {
        true => report.json(args.dry_run, started.elapsed().as_secs_f64()),
        false => report.text(args.dry_run, started.elapsed().as_secs_f64()),
    };
    if report.failed.is_empty() {
        return Ok(text);
    }
    // The answer is whole although the exit code says that something failed.
    crate::failure::print(&text);
    Err(Failure::new(report.exit(), report.failures(&args.file)))
}

fn read(args: &Args) -> Result<Vec<Wanted>, Failure> {
    let usage = |what: String| Failure::new(Exit::Usage, what);
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| usage(format!("{name} cannot be read: {error}")))?;
    let wanted = file::parse(&text).map_err(|faults| usage(format!("{name} is not usable:\n  {faults}")))?;
    let makes_clients = wanted.iter().any(|tenant| !tenant.clients.is_empty());
    match &args.out {
        None if makes_clients && !args.dry_run => {
            let fix =
                "the file asks for clients, whose secrets are shown once: give --out DIRECTORY to keep them";
            return Err(usage(fix.to_owned()));
        }
        Some(out) if !args.dry_run => std::fs::create_dir_all(out)
            .map_err(|error| usage(format!("{} cannot be made: {error}", out.display())))?,
        _ => {}
    }
    Ok(wanted)
}

impl Present {
    async fn ask(api: &Api, wanted: &[Wanted]) -> Result<Self, Failure> {
        let tenants = all(api).await?.into_iter().map(|tenant| (tenant.tenant_id.clone(), tenant)).collect();
        let mut clients = HashMap::new();
        if wanted.iter().any(|tenant| !tenant.clients.is_empty()) {
            let live = api.get::<Clients>("/pulsar/clients", &[]).await?.read.clients;
            let now = SystemClock.now();
            for client in live.into_iter().filter(|client| client.is_good(now)) {
                for tenant in client.tenants {
                    clients.insert((tenant, client.name.clone()), client.client_id.clone());
                }
            }
        }
        Ok(Self { tenants, clients })
    }
}

impl Work<'_> {
    /// The broker's half first, then the record, then the clients: each step is mended by a second run.
    async fn tenant(&self, wanted: &Wanted) -> Result<Done, Failure> {
        let mut done = Done::default();
        if self.present.tenants.get(wanted.id.as_str()).is_some_and(|present| present.state == "deleting") {
            return Err(leaving(&wanted.id));
        }
        if let Some(broker) = &self.broker {
            done.changes = broker.apply(std::slice::from_ref(&wanted.id), self.dry_run).await?;
        }
        self.record(wanted, &mut done).await?;
        self.webhook_secret(&wanted.id, &mut done);
        for client in &wanted.clients {
            self.client(&wanted.id, client, &mut done).await?;
        }
        Ok(done)
    }

    async fn record(&self, wanted: &Wanted, done: &mut Done) -> Result<(), Failure> {
        let id = &wanted.id;
        let present = self.present.tenants.get(id.as_str());
        let as_wanted = present.is_some_and(|present| {
            wanted.state.is_none_or(|state| present.state == state)
                && wanted.limits.as_ref().is_none_or(|limits| present.limits == *limits)
        });
        if as_wanted {
            return Ok(());
        }
        done.created = present.is_none();
        let verb = if done.created { "create" } else { "change" };
        done.changes.push(format!("{verb} the record of tenant {id}"));
        if self.dry_run {
            return Ok(());
        }
        let mut body = json!({});
        if let Some(state) = wanted.state {
            body["state"] = json!(state);
        }
        if let Some(limits) = &wanted.limits {
            body["limits"] = json!(limits);
        }
        let record = self.api.put::<Tenant>(&path(id), &[], body.to_string()).await?.read;
        if let (Some(file), Some(secret)) = (self.webhook_file(id), &record.webhook_secret) {
            write_private(&file, &format!("{secret}\n")).map_err(|failure| {
                let what =
                    format!("{failure}; bridgectl key rotate webhook --tenant {id} makes another secret");
                Failure::new(failure.exit, what)
            })?;
        }
        Ok(())
    }

    fn webhook_file(&self, tenant: &TenantId) -> Option<PathBuf> {
        self.out.map(|out| out.join(format!("{tenant}.webhook-secret")))
    }

    /// A run that was cut off may have made it without keeping it.
    fn webhook_secret(&self, tenant: &TenantId, done: &mut Done) {
        let there = self.present.tenants.contains_key(tenant.as_str()) || !self.dry_run;
        if let Some(file) = self.webhook_file(tenant).filter(|file| there && !file.exists()) {
            let file = file.display();
            done.notes.push(format!(
                "{tenant}: its webhook secret is not in {file}; bridgectl key rotate webhook --tenant {tenant} --out \
                 {file} makes a new one"
            ));
        }
    }

    async fn client(&self, tenant: &TenantId, wanted: &WantedClient, done: &mut Done) -> Result<(), Failure> {
        let ending = if wanted.kind == "api_key" { "key" } else { "n8n.json" };
        let file = self.out.map(|out| out.join(format!("{tenant}.{}.{ending}", wanted.name)));
        let key = (tenant.to_string(), wanted.name.clone());
        if let Some(id) = self.present.clients.get(&key) {
            if let Some(file) = file.filter(|file| !file.exists()) {
                let file = file.display();
                done.notes.push(format!(
                    "{tenant}: client {id} ({}) is there, {file} is not; bridgectl client rotate {id} --out {file} makes \
                     a new secret",
                    wanted.name
                ));
            }
            return Ok(());
        }
        done.changes.push(format!("create client {} of tenant {tenant}", wanted.name));
        let Some(file) = file.filter(|_| !self.dry_run) else { return Ok(()) };
        let body = json!({
            "name": wanted.name, "kind": wanted.kind, "tenants": [tenant], "scopes": wanted.scopes,
        });
        let made = self.api.post::<Client>("/pulsar/clients", &[], body.to_string()).await?.read;
        let text = match (&made.api_key, Credential::of(&made, self.api)) {
            (Some(key), _) => format!("{key}\n"),
            (None, Some(credential)) => format!("{:#}\n", credential.import()),
            (None, None) => {
                let what = format!("the bridge answered client {} without its secret", made.client_id);
                return Err(Failure::new(Exit::Failed, what));
            }
        };
        write_private(&file, &text).map_err(|failure| lost(failure, Some(&made)))
    }
}

#[derive(Default)]
struct Report {
    created: u64,
    changed: u64,
    unchanged: u64,
    changes: Vec<String>,
    notes: Vec<String>,
    failed: Vec<(TenantId, Failure)>,
}

impl Report {
    fn add(&mut self, tenant: &TenantId, done: Result<Done, Failure>) {
        match done {
            Ok(done) => {
                match (done.created, done.changes.is_empty()) {
                    (true, _) => self.created += 1,
                    (false, false) => self.changed += 1,
                    (false, true) => self.unchanged += 1,
                }
                self.changes.extend(done.changes);
                self.notes.extend(done.notes);
            }
            Err(failure) => self.failed.push((tenant.clone(), failure)),
        }
    }

    fn seen(&self) -> u64 {
        self.created + self.changed + self.unchanged + self.failed.len() as u64
    }

    /// They come in the order they were done; people read them by name.
    fn sort(&mut self) {
        self.notes.sort();
        self.failed.sort_by(|a, b| a.0.cmp(&b.0));
    }

    fn text(&self, dry_run: bool, seconds: f64) -> String {
        let mut lines = Vec::new();
        if dry_run {
            lines.extend(self.changes.iter().cloned());
        }
        lines.extend(self.notes.iter().cloned());
        let (verb, end) = if dry_run { ("to do", "; nothing was changed") } else { ("done", "") };
        let Self { created, changed, unchanged, failed, .. } = self;
        let notes = match self.notes.len() {
            0 => String::new(),
            count => format!("; {count} notes stand above"),
        };
        lines.push(match created + changed + failed.len() as u64 {
            0 => format!("nothing to change for {unchanged} tenants ({seconds:.1} s){notes}"),
            _ => format!(
                "{verb} in {seconds:.1} s: {created} created, {changed} changed, {unchanged} unchanged, {} failed{end}{notes}",
                failed.len()
            ),
        });
        lines.join("\n")
    }

    fn json(&self, dry_run: bool, seconds: f64) -> String {
        let failed: Vec<_> = self
            .failed
            .iter()
            .map(|(tenant, failure)| json!({ "tenant_id": tenant, "error": failure.to_string() }))
            .collect();
        json!({
            "dry_run": dry_run, "seconds": seconds, "created": self.created, "changed": self.changed,
            "unchanged": self.unchanged, "failed": failed, "notes": self.notes, "changes": self.changes,
        })
        .to_string()
    }

    /// One cause for all is told by its own exit code: the bridge or the broker is away, the token is wrong.
    fn exit(&self) -> Exit {
        let first = self.failed.first().map_or(Exit::Failed, |(_, failure)| failure.exit);
        let all_alike = self.seen() == self.failed.len() as u64
            && self.failed.iter().all(|(_, failure)| failure.exit == first);
        if all_alike { first } else { Exit::Failed }
    }

    fn failures(&self, file: &Path) -> String {
        let mut lines = vec![format!(
            "{} of {} tenants failed; run it again for them: bridgectl tenant apply -f {}",
            self.failed.len(),
            self.seen(),
            file.display()
        )];
        lines.extend(self.failed.iter().take(TOLD).map(|(tenant, failure)| format!("  {tenant}: {failure}")));
        if self.failed.len() > TOLD {
            lines.push(format!("  and {} more", self.failed.len() - TOLD));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
