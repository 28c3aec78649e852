//! `bridgectl audit`: who did what, and what was turned away.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bridge_protocol::TenantId;

use crate::answers::admin::{Audit, Refusals};
use crate::client::Client;
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Administrative acts, oldest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// All of them, one JSON object a line
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Write here, for its owner only, instead of to standard output
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Refused logins and rejected messages, counted by the minute
    Refusals {
        /// From this time on, e.g. 2026-11-21T10:00:00Z; the last day without it
        #[arg(long)]
        since: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

#[derive(clap::Args)]
pub struct Filter {
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Who did it: a client's id
    #[arg(long)]
    actor: Option<String>,
    /// What was done, e.g. tenant.suspend
    #[arg(long)]
    action: Option<String>,
    /// From this time on, e.g. 2026-11-21T10:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Before this time
    #[arg(long)]
    until: Option<String>,
    /// Where the last page ended
    #[arg(long)]
    after: Option<i64>,
}

impl Filter {
    fn query(&self, limit: u16) -> Vec<(&'static str, String)> {
        let named = [
            ("tenant_id", self.tenant.as_ref().map(ToString::to_string)),
            ("actor", self.actor.clone()),
            ("action", self.action.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
            ("after", self.after.map(|after| after.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::List { filter, limit } => {
            let answer = client.get::<Audit>("/pulsar/audit", &filter.query(limit)).await?;
            let text = || human::audit::list(&answer.read.entries, answer.read.next_after);
            Ok(if json { answer.text } else { text() })
        }
        Verb::Export { filter, out } => export(client, filter, out.as_deref()).await,
        Verb::Refusals { since, limit } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(since.map(|since| ("since", since)));
            let answer = client.get::<Refusals>("/pulsar/audit/refusals", &query).await?;
            Ok(if json { answer.text } else { human::audit::refusals(&answer.read.refusals) })
        }
    }
}

/// Page by page; what was written stays written when a page fails.
async fn export(client: &Client, mut filter: Filter, out: Option<&Path>) -> Result<String, Failure> {
    let place = out.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("{place} cannot be written: {error}"));
    let mut to: Box<dyn Write> = match out {
        Some(path) => {
            let mut options = std::fs::OpenOptions::new();
            Box::new(options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?)
        }
        None => Box::new(std::io::stdout()),
    };
    let mut count = 0;
    loop {
        let page = client.get::<Audit>("/pulsar/audit", &filter.query(1000)).await?.read;
        for entry in &page.entries {
            let line = serde_json::to_string(entry).map_err(|error| Failure::because(Exit::Failed, error))?;
            writeln!(to, "{line}").map_err(failed)?;
        }
        count += page.entries.len();
        let Some(next) = page.next_after else { break };
        filter.after = Some(next);
    }
    to.flush().map_err(failed)?;
    Ok(out.map_or_else(String::new, |path| format!("{count} acts are in {}", path.display())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn acts_are_read_in_a_table() {
        let answer = r#"{"entries":[
            {"id":1,"at":"2026-11-21T10:00:00Z","actor":"bridgectl admin bootstrap by root","action":"admin.bootstrap",
             "target":"npb_abcdefghij12","tenant_id":null,"source":null,"before":null,"after":null},
            {"id":2,"at":"2026-11-21T10:01:00Z","actor":"npb_abcdefghij12","action":"tenant.suspend","target":"acme",
             "tenant_id":"acme","source":"10.0.0.7","before":{"state":"active"},"after":{"state":"suspended"}}],
            "next_after":2}"#;
        let audit: Audit = serde_json::from_str(answer).unwrap();
        insta::assert_snapshot!(human::audit::list(&audit.entries, audit.next_after));
    }

    #[test]
    fn refusals_are_counted() {
        let answer = r#"{"refusals":[{"minute":"2026-11-21T10:00:00Z","kind":"login","subject":"npb_abcdefghij12",
            "reason":"revoked","count":17}]}"#;
        let refusals: Refusals = serde_json::from_str(answer).unwrap();
        insta::assert_snapshot!(human::audit::refusals(&refusals.refusals), @"
        MINUTE             COUNT  WHAT   REASON   SUBJECT
        2026-11-21 10:00Z  17     login  revoked  npb_abcdefghij12
        ");
    }
}
