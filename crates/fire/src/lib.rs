//! One attempt at a webhook, as both daemons make it: the consumer for what travels through the broker, the publisher
//! for what it fires natively.
//!
//! The walk: [`Webhooks::aim`] (where, by which rules), [`Webhooks::bar`] (may it go at all), `Webhooks::slots` (may it
//! go now), [`Webhooks::fire`], and [`Settlement`] (what the answer makes of the execution, and its way into Postgres).

mod aim;
mod bar;
mod heavy;
mod login;
mod request;
mod settlement;
mod webhooks;

pub use aim::Aim;
pub use bar::{Bar, is_held, locked};
pub use heavy::heavy;
pub use login::NoLogin;
pub use request::Attempt;
pub use settlement::{Fence, Next, Settlement};
pub use webhooks::Webhooks;
