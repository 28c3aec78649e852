//! Decides whether the broker is up, and throws the client away when it is not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::client;

const INTERVAL: Duration = Duration::from_millis(500);
/// Silence on open requests that makes us ask the broker with a fresh connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// A fresh connection that takes longer than this counts as down while we wait for it.
const QUICK: Duration = Duration::from_secs(2);
/// After the broker proved alive, the producers get this long to find their way back by themselves.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn run(shared: Arc<Shared>) {
    let mut generation = shared.keeper.generation();
    let mut quiet_until = Instant::now();
    loop {
        let present = *generation.borrow_and_update();
        shared.pulse.set_up(present.is_some());
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => {
                shared.pulse.set_up(false);
                return;
            }
            changed = generation.changed() => {
                if changed.is_err() {
                    shared.pulse.set_up(false);
                    return;
                }
                continue;
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let Some(present) = present else { continue };
        if Instant::now() < quiet_until || !shared.pulse.stalled(PATIENCE) {
            continue;
        }
        match probe(&shared).await {
            // The broker lives: a topic loads slowly, or moves to another broker. The library sends what is in
            // flight again by itself; throwing the client away would only make duplicates.
            Ok(()) => quiet_until = Instant::now() + GRACE,
            Err(why) => {
                shared.pulse.set_up(false);
                shared
                    .keeper
                    .discard(present, format!("no receipts, and a fresh connection failed: {why}"))
                    .await;
                // The keeper says when it has a new one.
                while *generation.borrow_and_update() == Some(present) {
                    if generation.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A connection of its own, used once: the existing one may look alive when it is dead.
async fn probe(shared: &Shared) -> Result<(), String> {
    let (config, credentials) = (shared.config.clone(), shared.credentials.clone());
    let mut fresh = tokio::spawn(async move { client::connect(&config, &credentials, 8).await.map(drop) });
    let done = tokio::select! {
        done = &mut fresh => done,
        () = tokio::time::sleep(QUICK) => {
            shared.pulse.set_up(false);
            fresh.await
        }
    };
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => Err(fault.text().to_owned()),
        Err(panic) => Err(panic.to_string()),
    }
}
