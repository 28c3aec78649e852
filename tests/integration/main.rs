//! The bridge as a whole, on real parts: what it promises, and what it does when something under it fails.
//! `./scripts/test` starts the parts and runs this.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod architecture;
mod bad_input;
mod bad_rows;
mod broker_faults;
mod crashes;
mod delivery;
mod fairness;
mod forged;
mod idempotency;
mod lost_answers;
mod postgres_faults;
mod retries;
mod schedule;
mod shutdown;
mod tenants;
mod webhooks;
