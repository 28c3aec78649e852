//! `bridgectl job`: replays and cancellations of many, as the bridge works on them.

use std::time::Duration;

use crate::answers::jobs::{Job, Jobs};
use crate::client::{Answer, Client, segment};
use crate::progress::Progress;
use crate::verbs::execution::list::Page;
use crate::verbs::of::Of;
use crate::{Exit, Failure, human, live};

/// Between two looks at a job.
const EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Subcommand)]
pub enum Verb {
    /// The tenant's jobs, newest first
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        of: Of,
    },
    /// One job: how far it is
    Show(One),
    /// Follow it until it is over
    Watch(One),
    /// Stop for now; it goes on where it stood
    Pause(One),
    /// Go on
    Resume(One),
    /// Stop for good; what it did stays done
    Cancel(One),
}

#[derive(clap::Args)]
pub struct One {
    id: String,
    #[command(flatten)]
    of: Of,
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    let (one, act) = match verb {
        Verb::List { page, of } => {
            let mut query = page.query();
            query.extend(of.query());
            let answer = client.get::<Jobs>("/pulsar/jobs", &query).await?;
            let again = format!("bridgectl job list{}", of.flag());
            return Ok(if json { answer.text } else { human::jobs::list(&answer.read, &again) });
        }
        Verb::Show(one) => {
            let answer = client.get::<Job>(&path(&one.id), &one.of.query()).await?;
            return Ok(said(&answer, json));
        }
        Verb::Watch(one) => return watch(client, &one.id, &one.of, json).await,
        Verb::Pause(one) => (one, "pause"),
        Verb::Resume(one) => (one, "resume"),
        Verb::Cancel(one) => (one, "cancel"),
    };
    let path = format!("{}/{act}", path(&one.id));
    let answer = client.post::<Job>(&path, &one.of.query(), "{}".to_owned()).await?;
    Ok(said(&answer, json))
}

fn path(id: &str) -> String {
    format!("/pulsar/jobs/{}", segment(id))
}

fn said(answer: &Answer<Job>, json: bool) -> String {
    if json { answer.text.clone() } else { human::jobs::one(&answer.read) }
}

/// Until it is over: a bar on a terminal, lines elsewhere. A paused job is waited for.
pub async fn watch(client: &Client, id: &str, of: &Of, json: bool) -> Result<String, Failure> {
    let answer = tokio::select! {
        over = over(client, id, of) => over?,
        () = live::interrupted() => {
            let flag = of.flag();
            let what = format!(
                "nobody watches job {id} any more, but it goes on: bridgectl job watch {id}{flag}, or \
                 bridgectl job pause {id}{flag}"
            );
            return Err(Failure::new(Exit::NotEnded, what));
        }
    };
    let text = said(&answer, json);
    let job = &answer.read;
    if job.state == "done" && job.failed == 0 {
        return Ok(text);
    }
    // The answer is whole although the exit code says that not all was done.
    crate::failure::print(&text);
    let what = match (job.state.as_str(), job.failed) {
        ("done", failed) => format!("job {id} is done, but {failed} of its executions failed"),
        (state, _) => format!("job {id} is {state}"),
    };
    Err(Failure::new(Exit::Failed, what))
}

async fn over(client: &Client, id: &str, of: &Of) -> Result<Answer<Job>, Failure> {
    let path = path(id);
    let mut progress = None;
    let (mut paused, mut away) = (false, false);
    loop {
        match client.get::<Job>(&path, &of.query()).await {
            Ok(answer) => {
                away = false;
                let job = &answer.read;
                let bar = progress.get_or_insert_with(|| Progress::new("executions", job.total));
                bar.set(job.seen(), job.total.max(job.seen()));
                if job.is_over() {
                    if let Some(bar) = progress.take() {
                        bar.finish();
                    }
                    return Ok(answer);
                }
                let now = job.state == "paused";
                if now && !paused {
                    bar.say(&format!("job {id} is paused: bridgectl job resume {id}{}", of.flag()));
                }
                paused = now;
            }
            Err(failure) if failure.exit == Exit::Unavailable => {
                if !std::mem::replace(&mut away, true) {
                    eprintln!("bridgectl: {failure}; asked again until it answers");
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(EVERY).await;
    }
}
