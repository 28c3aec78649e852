//! Which key signs. A new key must not sign before every live consumer can verify it, or its messages would be
//! stale at the others and wait for their timers.

use crate::heartbeat::ALIVE_WITHIN;
use crate::keyring::SharedKeyring;
use arc_swap::ArcSwap;
use bridge_protocol::{Keyring, SignError, Signed};
use bridge_store::{Store, StoreError};
use metrics::{counter, gauge};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// While the key in use is the file's choice, Postgres is asked this seldom.
const CALM_EVERY: Duration = Duration::from_secs(10);
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The keyring with the choice of the key; clones share it.
#[derive(Clone)]
pub struct SigningGate {
    keyring: SharedKeyring,
    store: Store,
    /// The kid that signs.
    current: Arc<ArcSwap<Option<String>>>,
}

impl SigningGate {
    /// Chooses the first key. While Postgres is away nothing can be accepted either, so the file's choice will do.
    pub async fn open(keyring: SharedKeyring, store: Store) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(None));
        let gate = Self { keyring, store, current };
        gate.look().await;
        gate
    }

    pub fn sign(&self, claims: &impl Signed) -> Result<String, SignError> {
        let (ring, kid) = (self.keyring.load(), self.current.load());
        match kid.as_deref().map(|kid| ring.sign_with(kid, claims)) {
            // The key was taken out of the file a moment ago.
            None | Some(Err(SignError::NotASigner(_))) => ring.sign(claims),
            Some(signed) => signed,
        }
    }

    /// The key that signs now.
    pub fn kid(&self) -> Option<String> {
        let ring = self.keyring.load();
        let current = self.current.load();
        let usable = current.as_ref().as_ref().filter(|kid| ring.kids_with_secrets().contains(&kid.as_str()));
        usable.map(String::as_str).or(ring.signing_kid()).map(str::to_owned)
    }

    pub async fn watch(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Instant::now();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let calm = self.current.load().as_deref() == self.keyring.load().signing_kid();
            if !calm || asked.elapsed() >= CALM_EVERY {
                asked = Instant::now();
                stop.run_until_cancelled(self.look()).await;
            }
        }
    }

    async fn look(&self) {
        let limit = StoreError::TimedOut { name: "live_members", after: LOOK_LIMIT };
        let answer = timeout(LOOK_LIMIT, self.store.live_members(ALIVE_WITHIN)).await.unwrap_or(Err(limit));
        match answer {
            Ok(members) => {
                let consumers = members.into_iter().filter(|member| member.kind == "consumer");
                self.choose(&consumers.map(|member| member.keys).collect::<Vec<_>>());
            }
            Err(error) => {
                counter!("bridge_signing_gate_failures_total").increment(1);
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "which keys the consumers have is not known; the key in use signs on"
                );
            }
        }
    }

    fn choose(&self, consumers: &[Vec<String>]) {
        let ring = self.keyring.load();
        let before = self.current.load();
        let Some(choice) = choose(&ring, before.as_deref(), consumers) else { return };
        gauge!("bridge_signing_key_waiting").set(if choice.waits { 1.0 } else { 0.0 });
        if before.as_deref() == Some(choice.kid) {
            return;
        }
        if choice.waits {
            tracing::warn!(
                kid = choice.kid,
                waiting = ring.signing_kid(),
                "not every live consumer has the new signing key yet; another key signs until they do"
            );
        } else if before.is_some() {
            tracing::info!(kid = choice.kid, "this key signs from now on");
        }
        if !listed(choice.kid, consumers) {
            tracing::error!(
                kid = choice.kid,
                "no key that can sign is known to every live consumer; messages may be stale there until the \
                 consumers' keyrings are brought up to date"
            );
        }
        self.current.store(Arc::new(Some(choice.kid.to_owned())));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    kid: &'a str,
    /// The file names another key, which has to wait.
    waits: bool,
}

fn listed(kid: &str, consumers: &[Vec<String>]) -> bool {
    consumers.iter().all(|keys| keys.iter().any(|key| key == kid))
}

/// The file's choice when every live consumer has it (or none lives); else the key that signed last; else, after a
/// start, the newest key that all of them have. None when the keyring cannot sign.
fn choose<'a>(ring: &'a Keyring, last: Option<&str>, consumers: &[Vec<String>]) -> Option<Choice<'a>> {
    let wanted = ring.signing_kid()?;
    let kid = if listed(wanted, consumers) {
        wanted
    } else {
        let signers = ring.kids_with_secrets();
        let last = signers.iter().find(|kid| Some(**kid) == last);
        // The file grows at its end, so the newest is the last.
        last.or_else(|| signers.iter().rev().find(|kid| listed(kid, consumers))).copied().unwrap_or(wanted)
    };
    Some(Choice { kid, waits: kid != wanted })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ring(signing: &str, kids: &[&str]) -> Keyring {
        let secret = "A".repeat(43) + "=";
        let mut text = format!("signing = \"{signing}\"\n");
        for kid in kids {
            let (kid, retired) = kid.strip_suffix('!').map_or((*kid, false), |kid| (kid, true));
            text += &format!(
                "[[keys]]\nkid = \"{kid}\"\nalg = \"HS256\"\nsecret = \"{secret}\"\nretired = {retired}\n"
            );
        }
        Keyring::from_toml(&text).unwrap()
    }

    fn chosen(ring: &Keyring, last: Option<&str>, consumers: &[&[&str]]) -> (String, bool) {
        let consumers: Vec<Vec<String>> =
            consumers.iter().map(|keys| keys.iter().map(|&key| key.to_owned()).collect()).collect();
        let choice = choose(ring, last, &consumers).unwrap();
        (choice.kid.to_owned(), choice.waits)
    }

    #[test]
    fn a_new_key_signs_when_every_live_consumer_has_it() {
        let ring = ring("new", &["old", "new"]);
        assert_eq!(chosen(&ring, Some("old"), &[&["old", "new"], &["old"]]), ("old".into(), true));
        assert_eq!(chosen(&ring, Some("old"), &[&["old", "new"], &["new"]]), ("new".into(), false));
        assert_eq!(chosen(&ring, Some("old"), &[]), ("new".into(), false));
        // A consumer that comes later with an old file takes nothing back.
        assert_eq!(chosen(&ring, Some("new"), &[&["old"]]), ("new".into(), false));
    }

    #[test]
    fn after_a_start_the_newest_common_key_signs() {
        let ring = ring("d", &["a", "b", "c!", "d"]);
        assert_eq!(chosen(&ring, None, &[&["a", "b", "c"], &["b", "a", "c"]]), ("b".into(), true));
        assert_eq!(chosen(&ring, Some("gone"), &[&["a", "b"], &["a"]]), ("a".into(), true));
        assert_eq!(chosen(&ring, Some("c"), &[&["a"]]), ("a".into(), true), "a retired key does not sign");
        assert_eq!(
            chosen(&ring, None, &[&["x"]]),
            ("d".into(), false),
            "nothing in common: the file decides"
        );
    }
}
