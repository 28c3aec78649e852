//! The messages' keyring is a file, changed by hand or by `bridgectl key rotate signing`: the publisher that takes a
//! changed one over first writes it into the audit log.

use std::time::Duration;

use bridge_protocol::Keyring;
use bridge_service::keyring::SharedKeyring;
use bridge_store::{Actor, Store};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const ACTION: &str = "keyring.change";
const TARGET: &str = "messages";

pub async fn run(keyring: SharedKeyring, store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = shown(&keyring.load());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = shown(&keyring.load());
        if known == now {
            continue;
        }
        let actor = Actor { who: "the keyring's file".to_owned(), source: None };
        let writing = store.write_audit_once(&actor, ACTION, TARGET, &known, &now);
        match stop.run_until_cancelled(writing).await {
            Some(Ok(_)) => known = now,
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "a change of the keyring is written into the audit log later");
            }
            None => return,
        }
    }
}

/// By kids: which key signs, and which are taken.
fn shown(keyring: &Keyring) -> Value {
    let mut keys = keyring.kids();
    keys.sort();
    json!({ "signing": keyring.signing_kid(), "keys": keys })
}
