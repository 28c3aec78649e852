//! The bridge as a whole, on real parts: what it promises, and what it does when something under it fails.
//! `./scripts/test` starts the parts and runs this.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod access_matrix;
mod architecture;
mod bad_input;
mod bad_rows;
mod broker_access;
mod broker_faults;
mod crashes;
mod daemon_start;
mod delivery;
mod encryption;
mod fairness;
mod forged;
mod idempotency;
mod keys;
mod lost_answers;
mod n8n;
mod oauth;
mod outgoing;
mod postgres_faults;
mod provisioning;
mod retries;
mod schedule;
mod shutdown;
mod tenant_life;
mod tenants;
mod webhooks;
