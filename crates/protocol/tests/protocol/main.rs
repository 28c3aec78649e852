//! The protocol as its users see it. Golden vectors stand in `tests/vectors`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod golden;
mod holds;
mod keyrings;
mod messages;
mod names;
mod notices;
mod routes;
mod routing;
mod speed;
mod states;
mod targets;
mod timers;
mod webhooks;

use bridge_protocol::{Keyring, Time};

const KEYRING: &str = include_str!("../vectors/keyring.toml");
const KEYS: [&str; 2] = ["2026-hs", "2026-ed"];

/// The vectors' keys, the named one signing.
fn keyring(signing: &str) -> Keyring {
    let text = KEYRING.replace("signing = \"2026-hs\"", &format!("signing = {signing:?}"));
    Keyring::from_toml(&text).unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_timestamp(seconds, 0).unwrap()
}
