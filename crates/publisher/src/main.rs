//! The publisher: takes executions over HTTP, makes them durable, and sends their messages.
//!
//! The walk of a request: [`endpoints`] says what its caller needs and [`access`] checks it, [`routes::publish`] reads it
//! ([`body`], [`parse`]), [`allowance`] says whether its tenant may, [`accept`] makes it durable, and [`handoff`]
//! publishes it ([`outbound`]). Everything that must happen later is a timer, and the [`relay`]'s.

mod accept;
mod access;
mod allowance;
mod answer;
mod app;
mod auth;
mod body;
mod budget;
mod data_keys;
mod endpoints;
mod handoff;
mod in_flight;
mod observe;
mod outbound;
mod parse;
mod relay;
mod routes;
mod start;

use std::process::ExitCode;

use bridge_service::daemon::{self, Extras};

fn main() -> ExitCode {
    let extras = Extras { insecure_dev: true, routes: Some(endpoints::as_json) };
    daemon::main_with("bridge-publisher", |config| config.publisher.bind, extras, start::run)
}
