#![allow(clippy::unwrap_used, reason = "tests")]
//! The API as far as it answers without a database.

mod lists;
mod refusals;
mod results;
mod tenants;
mod tokens;
mod who;
mod world;
