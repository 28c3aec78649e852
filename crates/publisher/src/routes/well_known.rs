//! `GET /.well-known/...`: what a client or a verifier of our tokens has to know (RFC 8414, RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use bridge_service::Problem;
use http::HeaderName;
use http::header::CACHE_CONTROL;

use crate::app::AppState;

/// A new key signs only after a while; until then nobody has to ask again.
const KEPT: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "public, max-age=15")];

pub async fn server(State(app): State<AppState>) -> Result<impl IntoResponse, Problem> {
    let none = || Problem::not_found("no tokens are issued with --insecure-dev; send requests without one");
    Ok((KEPT, Json(app.access.metadata().ok_or_else(none)?)))
}

pub async fn keys(State(app): State<AppState>) -> impl IntoResponse {
    (KEPT, Json(app.access.jwks()))
}
