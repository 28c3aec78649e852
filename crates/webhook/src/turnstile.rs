//! The global cap, shared fairly: when places are scarce, each queue (a tenant's lane) gets its turn,
//! however many wait in the queue beside it; within a queue the highest priority goes first, and among
//! equals who came first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

#[derive(Debug)]
pub(crate) struct Turnstile<K: Eq + Hash + Clone> {
    state: Arc<Mutex<State<K>>>,
}

#[derive(Debug)]
struct State<K: Eq + Hash + Clone> {
    free: usize,
    next_ticket: u64,
    /// Empty queues are not kept.
    queues: HashMap<K, BTreeMap<Ticket, oneshot::Sender<Turn<K>>>>,
    /// The queues that wait, the next to be served in front.
    order: VecDeque<K>,
}

/// In the order of service: by priority, then by arrival.
type Ticket = (Reverse<u8>, u64);

impl<K: Eq + Hash + Clone> Clone for Turnstile<K> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<K: Eq + Hash + Clone> Turnstile<K> {
    pub(crate) fn new(places: usize) -> Self {
        let state = State { free: places, next_ticket: 0, queues: HashMap::new(), order: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // No code in this file panics while it holds the lock; its data is valid in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn enter(&self, key: &K, priority: u8, deadline: Instant) -> Option<Turn<K>> {
        let (ticket, receiver) = {
            let mut state = self.lock();
            if state.free > 0 && state.order.is_empty() {
                state.free -= 1;
                return Some(self.turn());
            }
            let ticket = (Reverse(priority), state.next_ticket);
            state.next_ticket += 1;
            let (sender, receiver) = oneshot::channel();
            if !state.queues.contains_key(key) {
                state.order.push_back(key.clone());
            }
            state.queues.entry(key.clone()).or_default().insert(ticket, sender);
            (ticket, receiver)
        };
        let _waiting = Waiting { turnstile: self.clone(), key: key.clone(), ticket };
        timeout_at(deadline, receiver).await.ok()?.ok()
    }

    pub(crate) fn free(&self) -> usize {
        self.lock().free
    }

    fn turn(&self) -> Turn<K> {
        Turn { turnstile: Some(self.clone()) }
    }

    /// Hands one place to the next in turn. A waiter that left in between gives the turn back.
    fn pass_on(&self) {
        let mut turn = self.turn();
        let mut state = self.lock();
        while let Some(sender) = state.next() {
            match sender.send(turn) {
                Ok(()) => return,
                Err(unclaimed) => turn = unclaimed,
            }
        }
        turn.turnstile = None;
        state.free += 1;
    }

    #[cfg(test)]
    fn is_idle(&self, places: usize) -> bool {
        let state = self.lock();
        state.free == places && state.queues.is_empty() && state.order.is_empty()
    }
}

impl<K: Eq + Hash + Clone> State<K> {
    fn next(&mut self) -> Option<oneshot::Sender<Turn<K>>> {
        let key = self.order.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let (_, sender) = queue.pop_first()?;
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.order.push_back(key);
        }
        Some(sender)
    }
}

/// Leaves the queue when its future ends, with or without a turn.
struct Waiting<K: Eq + Hash + Clone> {
    turnstile: Turnstile<K>,
    key: K,
    ticket: Ticket,
}

impl<K: Eq + Hash + Clone> Drop for Waiting<K> {
    fn drop(&mut self) {
        let mut state = self.turnstile.lock();
        let Some(queue) = state.queues.get_mut(&self.key) else { return };
        queue.remove(&self.ticket);
        if queue.is_empty() {
            state.queues.remove(&self.key);
            state.order.retain(|key| *key != self.key);
        }
    }
}

/// A place of the global cap; dropping it serves the next.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash + Clone> {
    turnstile: Option<Turnstile<K>>,
}

impl<K: Eq + Hash + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        if let Some(turnstile) = self.turnstile.take() {
            turnstile.pass_on();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn queues_take_turns_and_each_keeps_its_order() {
        let turnstile = Turnstile::new(1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let held = turnstile.enter(&"a", 5, deadline).await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (queue, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)] {
            let (turnstile, served) = (turnstile.clone(), Arc::clone(&served));
            tasks.push(tokio::spawn(async move {
                let turn = turnstile.enter(&queue, 5, deadline).await.unwrap();
                served.lock().unwrap().push((queue, number));
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]);
        assert!(turnstile.is_idle(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_higher_priority_goes_first_in_its_own_queue_only() {
        let turnstile = Turnstile::new(1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let held = turnstile.enter(&"a", 5, deadline).await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (queue, priority) in [("a", 0), ("a", 5), ("a", 9), ("b", 0)] {
            let (turnstile, served) = (turnstile.clone(), Arc::clone(&served));
            tasks.push(tokio::spawn(async move {
                let turn = turnstile.enter(&queue, priority, deadline).await.unwrap();
                served.lock().unwrap().push((queue, priority));
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [("a", 9), ("b", 0), ("a", 5), ("a", 0)]);
        assert!(turnstile.is_idle(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_or_is_cancelled_leaves_nothing_behind() {
        let turnstile = Turnstile::new(1);
        let held = turnstile.enter(&"a", 5, Instant::now()).await.unwrap();
        assert!(turnstile.enter(&"b", 5, Instant::now() + Duration::from_secs(1)).await.is_none());
        let other = turnstile.clone();
        let late = Instant::now() + Duration::from_secs(60);
        let granted = tokio::spawn(async move { other.enter(&"b", 5, late).await.map(drop) });
        tokio::task::yield_now().await;
        // The place is granted to a waiter that is cancelled before it looks.
        drop(held);
        granted.abort();
        let _ = granted.await;
        assert!(turnstile.is_idle(1));
    }
}
