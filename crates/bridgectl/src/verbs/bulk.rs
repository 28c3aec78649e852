//! `bridgectl replay` and `bridgectl cancel`: many at once. First they are counted, then a job of the bridge does it,
//! at its pace, and goes on after a restart.

use serde_json::json;

use super::filter::Filter;
use super::job;
use super::of::Of;
use crate::answers::jobs::{Counted, Job};
use crate::client::Client;
use crate::{Exit, Failure, args, human};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    /// Not more than this many a second
    #[arg(long, value_parser = pace)]
    per_second: Option<f64>,
    /// Their number, as --dry-run says it; nothing is done when it is another
    #[arg(long, value_name = "COUNT", conflicts_with = "yes")]
    confirm: Option<u64>,
    /// However many they are, without asking
    #[arg(long)]
    yes: bool,
    /// Do not follow the job
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    of: Of,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Replay,
    Cancel,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Cancel => "cancel",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Cancel => "cancelled",
        }
    }
}

pub async fn run(client: &Client, kind: Kind, args: Args, json: bool) -> Result<String, Failure> {
    if args.filter.is_empty() {
        let word = kind.word();
        let example = match kind {
            Kind::Replay => "--state dead_lettered --since 1h",
            Kind::Cancel => "--workflow crm/sync",
        };
        let fix = format!(
            "say which executions: e.g. bridgectl {word} {example} --dry-run; a single one: bridgectl execution {word} ID"
        );
        return Err(Failure::new(Exit::Usage, fix));
    }
    let path = format!("/pulsar/{}", kind.word());
    let mut body = json!({ "filter": args.filter.body(), "dry_run": true });
    let counted = client.post::<Counted>(&path, &args.of.query(), body.to_string()).await?;
    if args.dry_run {
        return Ok(if json { counted.text } else { would(kind, &args, &counted.read) });
    }
    let count = counted.read.count;
    if count == 0 && !counted.read.partial {
        return Ok(if json { counted.text } else { format!("none to {}", kind.word()) });
    }
    if !args.yes {
        let what =
            format!("{} would be {}{}", executions(&counted.read), kind.done(), skipped(&counted.read));
        args::confirm(&count.to_string(), args.confirm.map(|count| count.to_string()).as_deref(), &what)?;
    }
    // Whoever was asked has seen the number a moment ago; a script may have it from an hour ago.
    if let Some(count) = args.confirm {
        body["expect"] = json!(count);
    }
    body["dry_run"] = json!(false);
    if let Some(pace) = args.per_second {
        body["per_second"] = json!(pace);
    }
    let answer = client.post::<Job>(&path, &args.of.query(), body.to_string()).await?;
    let id = answer.read.job_id.clone();
    if args.detach {
        return Ok(if json { answer.text } else { human::jobs::one(&answer.read) });
    }
    eprintln!("bridgectl: job {id} has begun; Ctrl-C leaves it running");
    job::watch(client, &id, &args.of, json).await
}

fn executions(counted: &Counted) -> String {
    let more = if counted.partial { " or more" } else { "" };
    match counted.count {
        1 if !counted.partial => "1 execution".to_owned(),
        count => format!("{count}{more} executions"),
    }
}

fn skipped(counted: &Counted) -> String {
    match counted.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} are skipped: they were replayed or put away already"),
    }
}

fn would(kind: Kind, args: &Args, counted: &Counted) -> String {
    let (word, what) = (kind.word(), executions(counted));
    let skipped = skipped(counted);
    if counted.count == 0 && !counted.partial {
        return format!("none to {word}{skipped}");
    }
    let (flags, of, count) = (args.filter.flags(), args.of.flag(), counted.count);
    format!(
        "{what} would be {}{skipped}; nothing was changed\nDo it: bridgectl {word}{flags}{of} --confirm {count}",
        kind.done()
    )
}

fn pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "expected a number, e.g. 50 or 0.5".to_owned())?;
    if pace.is_finite() && pace > 0.0 { Ok(pace) } else { Err("must be more than 0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::filter::tests::full;

    fn args() -> Args {
        Args {
            filter: Filter { workflow: full().workflow, state: full().state, ..Filter::default() },
            dry_run: true,
            per_second: None,
            confirm: None,
            yes: false,
            detach: false,
            of: Of::default(),
        }
    }

    #[test]
    fn a_dry_run_says_what_would_be_done_and_how() {
        let counted = |count, partial| Counted { count, partial, skipped: 0 };
        insta::assert_snapshot!(would(Kind::Replay, &args(), &counted(120, false)), @"
        120 executions would be replayed; nothing was changed
        Do it: bridgectl replay --state retrying --state dead_lettered --workflow crm/sync --confirm 120
        ");
        insta::assert_snapshot!(would(Kind::Cancel, &args(), &counted(10_000, true)), @"
        10000 or more executions would be cancelled; nothing was changed
        Do it: bridgectl cancel --state retrying --state dead_lettered --workflow crm/sync --confirm 10000
        ");
        assert_eq!(would(Kind::Cancel, &args(), &counted(0, false)), "none to cancel");
        let settled = Counted { count: 0, partial: false, skipped: 2 };
        assert_eq!(
            would(Kind::Replay, &args(), &settled),
            "none to replay, 2 are skipped: they were replayed or put away already"
        );
    }

    #[test]
    fn a_pace_is_more_than_nothing() {
        assert_eq!(pace("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "fast"] {
            assert!(pace(text).is_err(), "{text}");
        }
    }
}
