//! The consumer: receives messages, claims their executions, fires the webhooks, records what came back.

mod attempt;
mod claim;
mod daemon;
mod data_keys;
mod heal;
mod intake;
mod job;
#[cfg(test)]
mod life_tests;
mod payload;
mod readiness;
mod record;
mod rejected;
mod release;
mod said;
mod schedule;
mod signing;
mod tenants;
mod vitals;
mod watch;
mod works;

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_service::daemon::main("bridge-consumer", |config| config.consumer.bind, daemon::run)
}
