//! The consumer: receives messages, claims their executions, fires the webhooks, records what came back.

mod attempt;
mod bar;
mod claim;
mod daemon;
mod data_keys;
mod fire;
mod heal;
mod intake;
mod job;
#[cfg(test)]
mod life_tests;
mod login;
mod measures;
mod outcome;
mod payload;
mod readiness;
mod record;
mod rejected;
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
