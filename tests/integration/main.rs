//! The bridge as a whole, on real parts: what it promises, and what it does when something under it fails.
//! `./scripts/test` starts the parts and runs this.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod access_matrix;
mod architecture;
mod bad_input;
mod bad_rows;
mod bridgectl;
mod broker_access;
mod broker_faults;
mod callbacks;
mod canary;
mod cancel;
mod collectors;
mod compose;
mod crashes;
mod daemon_start;
mod dashboards;
mod dead_letters;
mod delivery;
mod encryption;
mod examples;
mod fairness;
mod forged;
mod holds;
mod idempotency;
mod jobs;
mod keys;
mod logs;
mod lost_answers;
mod metrics;
mod n8n;
mod native;
mod oauth;
mod openapi;
mod outgoing;
mod postgres_faults;
mod provisioning;
mod results;
mod retries;
mod routing;
mod schedule;
mod shutdown;
mod tenant_life;
mod tenants;
mod traces;
mod webhooks;
