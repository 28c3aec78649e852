//! The publisher: takes executions over HTTP, makes them durable, and sends their messages.
//!
//! The walk of a request: [`endpoints`] says what its caller needs and [`access`] checks it, [`routes::publish`] reads it
//! ([`body`], [`parse`]), [`allowance`] says whether its tenant may, [`accept`] makes it durable, and [`handoff`]
//! publishes it ([`outbound`]). What is native is fired here
//! ([`native`]), and who wants the result may wait for it ([`waiters`]). Everything that must happen later is a timer,
//! and the [`relay`]'s.

mod accept;
mod access;
mod allowance;
mod answer;
mod app;
mod auth;
mod body;
mod budget;
mod busiest;
mod canary;
mod cursor;
mod data_keys;
mod endpoints;
mod handoff;
mod in_flight;
mod jobs;
mod keyring_audit;
mod measures;
mod members;
mod native;
mod observe;
mod openapi;
mod outbound;
mod parse;
mod relay;
mod results;
mod routes;
mod sealing;
mod start;
mod wait;
mod waiters;
mod waiting;

use std::process::ExitCode;

use bridge_service::daemon::{self, ApiTexts, Extras};

fn main() -> ExitCode {
    let api = ApiTexts { routes: endpoints::as_json, openapi: openapi::text, reference: openapi::reference };
    let extras = Extras { insecure_dev: true, api: Some(api) };
    daemon::main_with("bridge-publisher", |config| config.publisher.bind, extras, start::run)
}
