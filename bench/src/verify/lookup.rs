//! Phase 2: what the bridge says about an id that did not arrive.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde::Deserialize;
use uuid::Uuid;

use crate::loopback::{Connection, Target};

const CONNECTIONS: usize = 8;
/// Far more than a healthy run leaves behind; the rest counts as unaccounted for.
const MAX_LOOKUPS: usize = 200_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The bridge has it, in this state.
    State(String),
    /// The bridge does not have it, or could not say.
    Nothing(String),
}

pub fn not_asked(ids: &[Uuid]) -> Vec<(Uuid, Found)> {
    let nothing = Found::Nothing("not looked up: no --url".to_owned());
    ids.iter().map(|id| (*id, nothing.clone())).collect()
}

pub async fn all(target: &Target, ids: &[Uuid]) -> Vec<(Uuid, Found)> {
    let (asked, rest) = ids.split_at(ids.len().min(MAX_LOOKUPS));
    let queue = Rc::new(RefCell::new(asked.iter().copied().collect::<VecDeque<_>>()));
    let workers: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::task::spawn_local(worker(target.clone(), queue.clone()))).collect();
    let mut found = Vec::with_capacity(ids.len());
    for worker in workers {
        match worker.await {
            Ok(answers) => found.extend(answers),
            Err(error) => eprintln!("a lookup task died: {error}"),
        }
    }
    let unasked: Vec<_> = queue.borrow_mut().drain(..).collect();
    for id in unasked.iter().chain(rest) {
        found.push((*id, Found::Nothing("not looked up".to_owned())));
    }
    found
}

async fn worker(target: Target, queue: Rc<RefCell<VecDeque<Uuid>>>) -> Vec<(Uuid, Found)> {
    let mut found = Vec::new();
    let mut connection = None;
    loop {
        let Some(id) = queue.borrow_mut().pop_front() else { return found };
        let answer = ask(&target, &mut connection, id).await.unwrap_or_else(|error| {
            connection = None;
            Found::Nothing(format!("{error:#}"))
        });
        found.push((id, answer));
    }
}

#[derive(Deserialize)]
struct Execution {
    #[serde(alias = "status")]
    state: String,
}

async fn ask(target: &Target, connection: &mut Option<Connection>, id: Uuid) -> anyhow::Result<Found> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(target.connect().await?),
    };
    let (status, body) = connection.get(&format!("/pulsar/executions/{id}")).await?;
    Ok(match serde_json::from_slice::<Execution>(&body) {
        Ok(execution) if status.is_success() => Found::State(execution.state),
        _ => Found::Nothing(format!("the bridge answered {status}")),
    })
}
