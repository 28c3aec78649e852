//! The bus against a real broker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod admin;
mod batches;
mod expiry;
mod oauth2;
mod outage;
mod provisioning;
mod publishing;
mod receiving;
mod setup;
mod speed;
mod tls;
