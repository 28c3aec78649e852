//! `GET /openapi.json` and `GET /docs`: what this API is, for programs and for people.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::openapi;

/// It changes with the version of the daemon only.
const KEPT: (HeaderName, &str) = (CACHE_CONTROL, "public, max-age=300");
/// The page holds all it needs; nothing may be loaded into it.
const ALONE: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
static PAGE: LazyLock<Bytes> = LazyLock::new(|| openapi::page().into());

pub async fn document() -> impl IntoResponse {
    ([KEPT, (CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

pub async fn page() -> impl IntoResponse {
    ([KEPT, (CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, ALONE)], PAGE.clone())
}
