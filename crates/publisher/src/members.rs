//! What the daemons last said of themselves, asked of Postgres at most once in a while however many callers ask here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_service::heartbeat::ALIVE_WITHIN;
use bridge_store::{MemberRow, Store};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const FRESH: Duration = Duration::from_secs(2);
const LOOK_LIMIT: Duration = Duration::from_secs(2);

pub struct Members {
    store: Store,
    last: Mutex<Option<(Instant, Arc<[MemberRow]>)>>,
    asking: Semaphore,
}

impl Members {
    pub fn new(store: Store) -> Self {
        Self { store, last: Mutex::default(), asking: Semaphore::new(1) }
    }

    /// Those that are alive. None: nobody knows.
    pub async fn alive(&self) -> Option<Arc<[MemberRow]>> {
        if let Some((at, members)) = self.last()
            && at.elapsed() < FRESH
        {
            return Some(members);
        }
        // Whoever comes while one asks takes what was known before, if there is something.
        let _turn = match (self.asking.try_acquire(), self.last()) {
            (Ok(turn), _) => turn,
            (Err(_), Some((_, members))) => return Some(members),
            (Err(_), None) => self.asking.acquire().await.ok()?,
        };
        match timeout(LOOK_LIMIT, self.store.members(ALIVE_WITHIN)).await {
            Ok(Ok(members)) => {
                let members: Arc<[MemberRow]> = members.into();
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), members.clone()));
                Some(members)
            }
            other => {
                tracing::debug!(?other, "the daemons' heartbeats could not be read");
                None
            }
        }
    }

    fn last(&self) -> Option<(Instant, Arc<[MemberRow]>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
