//! `bridgectl execution tail`: a line for each move of an execution. The bridge is asked again and again for what is
//! new or still alive; what is over and was said is not asked for any more.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_protocol::{ExecutionId, Lane, State, WorkflowId};
use bridge_service::clock::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::list;
use crate::answers::Listed;
use crate::client::Client;
use crate::verbs::filter::Filter;
use crate::verbs::of::Of;
use crate::{Exit, Failure, human, live};

/// So many executions are followed at the same time; of more, the newest.
const FOLLOWED: usize = 5000;
/// An execution may become visible a little later than one that is younger.
const LATE: TimeDelta = TimeDelta::seconds(30);
/// To a bridge that is away; it grows up to ten times.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Args {
    /// Only of this workflow
    #[arg(long)]
    workflow: Option<WorkflowId>,
    /// Only of this lane: short, long, ai or analytics
    #[arg(long)]
    lane: Option<Lane>,
    /// Only moves into this state; several with commas
    #[arg(long, value_delimiter = ',')]
    state: Vec<State>,
    /// So many of the latest are said first
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Executions are followed that were accepted from this time on: a time, or 15m, 2h ago
    #[arg(long, value_parser = crate::args::moment, default_value = "15m")]
    since: DateTime<Utc>,
    /// Milliseconds between two looks
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    every_ms: u64,
    #[command(flatten)]
    of: Of,
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    tokio::select! {
        followed = follow(client, &args, json) => followed,
        () = live::left() => Ok(()),
    }
    .map(|()| String::new())
}

/// Ends when nobody reads any more, or when the bridge refuses.
async fn follow(client: &Client, args: &Args, json: bool) -> Result<(), Failure> {
    let mut follower = Follower::new(args.since, args.state.clone(), args.lines);
    let mut failed = 0u32;
    loop {
        let filter = Filter {
            workflow: args.workflow.clone(),
            lane: args.lane,
            since: Some(follower.floor),
            ..Filter::default()
        };
        let mut query = filter.query();
        query.extend(args.of.query());
        match list::pages(client, &query, FOLLOWED).await {
            Ok((rows, too_many)) => {
                failed = 0;
                if too_many && follower.warns() {
                    eprintln!(
                        "bridgectl: more than {FOLLOWED} executions are alive; only the newest are followed"
                    );
                }
                for (row, listed, at) in follower.take(rows, SystemClock.now()) {
                    let line = if json { row.to_string() } else { human::list::moved(&listed, at) };
                    if !live::say(&line)? {
                        return Ok(());
                    }
                }
            }
            Err(failure) if failure.exit == Exit::Unavailable => {
                if failed == 0 {
                    eprintln!("bridgectl: {failure}; asked again until it answers");
                }
                failed = (failed + 1).min(10);
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(args.every_ms).max(AGAIN_AFTER * failed)).await;
    }
}

/// What was said of whom.
struct Follower {
    /// Nothing older is asked for.
    floor: DateTime<Utc>,
    known: BTreeMap<ExecutionId, Seen>,
    states: Vec<State>,
    /// How many are said at first; None: it is not the first time any more.
    first: Option<usize>,
    warned: bool,
}

#[derive(PartialEq)]
struct Seen {
    state: String,
    attempt: u16,
    live: bool,
}

impl Follower {
    fn new(floor: DateTime<Utc>, states: Vec<State>, lines: usize) -> Self {
        Self { floor, known: BTreeMap::new(), states, first: Some(lines), warned: false }
    }

    fn warns(&mut self) -> bool {
        !std::mem::replace(&mut self.warned, true)
    }

    /// The moves among what is there now, oldest execution first, each with its time as well as it is known.
    fn take(
        &mut self,
        rows: Vec<(Value, Listed)>,
        now: DateTime<Utc>,
    ) -> Vec<(Value, Listed, DateTime<Utc>)> {
        let mut moves = Vec::new();
        let mut oldest_live = now - LATE;
        let mut oldest = None;
        for (row, listed) in rows.into_iter().rev() {
            let Ok(id) = listed.execution_id.parse::<ExecutionId>() else { continue };
            oldest.get_or_insert(id);
            let state = listed.state.parse::<State>().ok();
            let live = state.is_none_or(|state| !state.is_terminal());
            if live {
                oldest_live = oldest_live.min(id.created_at());
            }
            let seen = Seen { state: listed.state.clone(), attempt: listed.attempt, live };
            let before = self.known.get(&id);
            if before == Some(&seen) {
                continue;
            }
            // Of what was there before anybody looked, only the beginning is known.
            let is_new = before.is_none() && state == Some(State::Accepted);
            let at = match listed.finished_at {
                Some(at) => at,
                None if is_new || self.first.is_some() => listed.accepted_at,
                None => now,
            };
            self.known.insert(id, seen);
            if self.states.is_empty() || state.is_some_and(|state| self.states.contains(&state)) {
                moves.push((row, listed, at));
            }
        }
        if let Some(lines) = self.first.take() {
            moves.drain(..moves.len().saturating_sub(lines));
        }
        self.floor = self.floor.max(oldest_live);
        // What will not be answered again need not be remembered.
        let floor = self.floor - LATE;
        self.known.retain(|id, seen| {
            seen.live && oldest.is_some_and(|oldest| *id >= oldest) || id.created_at() >= floor
        });
        moves
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn id(second: i64) -> String {
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(second as u64);
        ExecutionId::new(at(second), &mut rng).to_string()
    }

    fn row(second: i64, state: &str, attempt: u16) -> (Value, Listed) {
        let row = json!({ "execution_id": id(second), "workflow_id": "w", "lane": "short", "state": state,
            "attempt": attempt, "accepted_at": at(second) });
        let listed = serde_json::from_value(row.clone()).unwrap();
        (row, listed)
    }

    fn said(moves: Vec<(Value, Listed, DateTime<Utc>)>) -> Vec<String> {
        moves.into_iter().map(|(_, listed, _)| format!("{} {}", listed.state, listed.attempt)).collect()
    }

    #[test]
    fn each_move_is_said_once_and_in_order() {
        let mut follower = Follower::new(at(0), Vec::new(), 10);
        let first = vec![row(2, "accepted", 0), row(1, "running", 1)];
        assert_eq!(said(follower.take(first, at(3))), ["running 1", "accepted 0"]);
        let same = vec![row(2, "accepted", 0), row(1, "running", 1)];
        assert!(said(follower.take(same, at(4))).is_empty());
        let next = vec![row(5, "accepted", 0), row(2, "running", 1), row(1, "retrying", 1)];
        assert_eq!(said(follower.take(next, at(6))), ["retrying 1", "running 1", "accepted 0"]);
        let last = vec![row(5, "accepted", 0), row(2, "succeeded", 1), row(1, "running", 2)];
        assert_eq!(said(follower.take(last, at(7))), ["running 2", "succeeded 1"]);
    }

    #[test]
    fn only_the_latest_are_said_at_first_and_only_the_states_asked_for() {
        let mut follower = Follower::new(at(0), vec![State::Failed], 1);
        let first = vec![row(3, "failed", 1), row(2, "failed", 1), row(1, "running", 1)];
        let first = follower.take(first, at(9));
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].1.execution_id, id(3));
        let next = vec![row(3, "failed", 1), row(2, "failed", 1), row(1, "failed", 1)];
        assert_eq!(said(follower.take(next, at(10))), ["failed 1"]);
    }

    #[test]
    fn the_floor_rises_to_the_oldest_that_is_alive() {
        let mut follower = Follower::new(at(0), Vec::new(), 10);
        follower.take(vec![row(90, "running", 1), row(50, "retrying", 1), row(1, "succeeded", 1)], at(100));
        assert_eq!(follower.floor, at(50));
        follower.take(vec![row(90, "running", 1), row(50, "succeeded", 2)], at(200));
        assert_eq!(follower.floor, at(90));
        follower.take(vec![row(90, "succeeded", 1)], at(300));
        assert_eq!(follower.floor, at(270), "a little behind, for what becomes visible late");
        follower.take(Vec::new(), at(400));
        assert!(follower.known.is_empty(), "what is over is forgotten");
    }
}
