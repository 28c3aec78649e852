//! Outgoing HTTP: what is sent to a webhook, where it may go, how many at once, and what came back.
//!
//! The walk of one request: [`Slots`] (may it go now), [`envelope`], [`headers`] and [`Auth`] (what is sent),
//! [`WebhookClient`] (the guarded send), [`FireResult`] (what came back, for `protocol::classify`).

mod addresses;
mod auth;
mod breaker;
mod client;
mod envelope;
mod gate;
mod guard;
mod headers;
mod result;
mod slots;
mod turnstile;

pub use auth::{Auth, AuthError, Minted, is_reserved_header};
pub use breaker::{BreakerConfig, BreakerListing, BreakerState, Breakers, Pass};
pub use client::{Fire, WebhookClient, WebhookConfig, WebhookSetupError};
pub use envelope::{Envelope, envelope};
pub use guard::{Guard, NotWritable, Refused};
pub use headers::{Headers, headers};
pub use result::{FireResult, HttpAnswer};
pub use slots::{Endpoint, NoSlot, NoSlotReason, Slot, SlotKey, SlotLimits, Slots};
