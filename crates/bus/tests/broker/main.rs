//! The bus against a real broker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod admin;
mod batches;
mod outage;
mod provisioning;
mod publishing;
mod receiving;
mod setup;
mod speed;
