//! The consumer: receives messages, claims their executions, fires the webhooks, records what came back.

mod attempt;
mod claim;
mod daemon;
mod fire;
mod heal;
mod intake;
mod job;
mod measures;
mod outcome;
mod payload;
mod readiness;
mod record;
mod rejected;
mod schedule;
mod vitals;
mod watch;
mod works;

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_service::daemon::main("bridge-consumer", |config| config.consumer.bind, daemon::run)
}
