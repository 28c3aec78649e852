//! The publisher: takes executions over HTTP, makes them durable, and sends their messages.
//!
//! The walk of a request: [`routes::publish`] reads it ([`body`], [`parse`]), [`accept`] makes it durable, and
//! [`handoff`] publishes it ([`outbound`]). Everything that must happen later is a timer, and the [`relay`]'s.

mod accept;
mod answer;
mod app;
mod auth;
mod body;
mod budget;
mod handoff;
mod in_flight;
mod observe;
mod outbound;
mod parse;
mod relay;
mod routes;
mod start;

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_service::daemon::main("bridge-publisher", |config| config.publisher.bind, start::run)
}
