//! The executions whose message is between this process and the broker right now.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_protocol::ExecutionId;

#[derive(Clone, Default)]
pub struct InFlight {
    ids: Arc<Mutex<HashSet<ExecutionId>>>,
}

impl InFlight {
    /// None when the execution is in flight already.
    pub fn enter(&self, id: ExecutionId) -> Option<Passage> {
        self.ids().insert(id).then(|| Passage { of: self.clone(), id })
    }

    pub fn contains(&self, id: ExecutionId) -> bool {
        self.ids().contains(&id)
    }

    pub fn len(&self) -> usize {
        self.ids().len()
    }

    // A panic cannot leave the set half changed, so a poisoned lock is as good as any.
    fn ids(&self) -> MutexGuard<'_, HashSet<ExecutionId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held while the message is on its way.
pub struct Passage {
    of: InFlight,
    id: ExecutionId,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.of.ids().remove(&self.id);
    }
}
