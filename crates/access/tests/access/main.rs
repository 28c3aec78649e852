#![allow(clippy::unwrap_used, reason = "tests")]

mod api_keys;
mod issuer;
mod lab;
mod mutations;
mod outside;
mod own_tokens;
mod refused;
