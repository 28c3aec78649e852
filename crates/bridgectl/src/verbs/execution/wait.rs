//! `bridgectl execution wait`: until it has ended. The bridge holds each question until there is an answer.

use std::time::Duration;

use bridge_protocol::{ExecutionId, State};
use tokio::time::Instant;

use crate::answers::Outcome;
use crate::client::{Answer, Client};
use crate::live;
use crate::verbs::of::Of;
use crate::{Exit, Failure, human};

/// How long one question is held; the client's own limit is twice as long.
const HELD: u64 = 30;
/// Between questions that the bridge does not hold, and to one that is away.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Args {
    id: ExecutionId,
    /// Not longer than this: seconds, or 90s, 15m, 2h; without it as long as it takes
    #[arg(long, value_parser = crate::args::seconds)]
    timeout: Option<u64>,
    #[command(flatten)]
    of: Of,
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    tokio::select! {
        ended = ended(client, &args) => told(&ended?, &args, json),
        () = live::interrupted() => {
            let what = format!("{} has not ended yet; nobody waits for it any more", args.id);
            Err(Failure::new(Exit::NotEnded, what))
        }
    }
}

/// The last answer: how it ended, or where it stands when the time is over.
async fn ended(client: &Client, args: &Args) -> Result<Answer<Outcome>, Failure> {
    let path = format!("/pulsar/executions/{}/result", args.id);
    let started = Instant::now();
    let limit = args.timeout.map(Duration::from_secs);
    loop {
        let asked = Instant::now();
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let held = left.map_or(HELD, |left| left.as_secs_f64().ceil() as u64).min(HELD);
        let mut query = args.of.query();
        query.push(("wait", held.to_string()));
        let over = || left.is_some_and(|left| left.saturating_sub(asked.elapsed()).is_zero());
        match client.get::<Outcome>(&path, &query).await {
            Ok(answer) if answer.read.has_ended() || over() => return Ok(answer),
            Ok(_) => {}
            Err(failure) if failure.exit != Exit::Unavailable || over() => return Err(failure),
            Err(failure) => eprintln!("bridgectl: {failure}; asked again"),
        }
        let pause = PAUSE.saturating_sub(asked.elapsed());
        tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
    }
}

fn told(answer: &Answer<Outcome>, args: &Args, json: bool) -> Result<String, Failure> {
    let text = if json { answer.text.clone() } else { human::outcome::text(&answer.read) };
    let Some(exit) = exit(&answer.read.state) else { return Ok(text) };
    // The answer is whole although the exit code says how it ended.
    crate::failure::print(&text);
    let what = match exit {
        Exit::NotEnded => format!("{} is {}, it has not ended yet", args.id, answer.read.state),
        _ => format!("{} ended {}", args.id, answer.read.state),
    };
    Err(Failure::new(exit, what))
}

/// None: it succeeded.
fn exit(state: &str) -> Option<Exit> {
    match state.parse() {
        Ok(State::Succeeded) => None,
        Ok(State::Failed) => Some(Exit::EndedFailed),
        Ok(State::DeadLettered) => Some(Exit::EndedDeadLettered),
        Ok(State::Cancelled) => Some(Exit::EndedCancelled),
        Ok(State::Expired) => Some(Exit::EndedExpired),
        _ => Some(Exit::NotEnded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let codes = State::ALL
            .iter()
            .map(|state| (state.as_str(), exit(state.as_str()).map_or(0, |exit| exit as u8)));
        let codes: Vec<_> = codes.map(|(state, code)| format!("{state} {code}")).collect();
        insta::assert_snapshot!(codes.join("\n"), @"
        accepted 10
        running 10
        waiting 10
        retrying 10
        succeeded 0
        failed 11
        dead_lettered 12
        cancelled 13
        expired 14
        ");
        assert_eq!(exit("of a newer bridge"), Some(Exit::NotEnded));
    }
}
