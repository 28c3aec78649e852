//! Errors as RFC 9457 says, readable by n8n: `message` repeats `detail`, and the content type is plain JSON unless
//! the caller names `application/problem+json`.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

const PLAIN: HeaderValue = HeaderValue::from_static("application/json");
const REALM: &str = "Bearer realm=\"bridge\"";
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// One bad field and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    pub field: Cow<'static, str>,
    pub message: String,
}

/// An error of the HTTP API. Boxed: it is the error of functions whose good result is small.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Problem(Box<Inner>);

/// A refusal or a failure (RFC 9457); what else a kind of problem tells stands in fields of its own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Inner {
    /// Stable, `/problems/<slug>`.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// What happened and what to do.
    detail: String,
    /// The same, where n8n looks for it.
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_id: Option<String>,
    /// What the webhook answered, where the problem is about its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    /// Of a refused move: the state that stands in its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// What that state allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<&'static str>,
    #[serde(skip)]
    code: StatusCode,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// `slug` names the kind of problem for ever; `title` is the same for every problem of the kind.
    pub fn new(code: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Inner {
            kind: format!("/problems/{slug}"),
            title,
            status: code.as_u16(),
            message: detail.clone(),
            detail,
            errors: Vec::new(),
            execution_id: None,
            http_status: None,
            state: None,
            allowed: Vec::new(),
            code,
            retry_after: None,
            headers: Vec::new(),
        }))
    }

    /// Names the bad fields. The detail says them too: many clients show nothing else.
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Names the execution the problem is about.
    pub fn about(mut self, execution: impl ToString) -> Self {
        self.0.execution_id = Some(execution.to_string());
        self
    }

    /// Says which state refuses the move, and what may be done instead.
    pub fn with_state(mut self, state: &'static str, allowed: &[&'static str]) -> Self {
        self.0.state = Some(state);
        self.0.allowed = allowed.to_vec();
        self
    }

    /// What the webhook answered.
    pub fn with_http_status(mut self, status: u16) -> Self {
        self.0.http_status = Some(status);
        self
    }

    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds a header to the answer, for example the RateLimit headers of a 429.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Asks for a credential (401).
    pub fn with_challenge(self) -> Self {
        self.with_header(WWW_AUTHENTICATE, HeaderValue::from_static(REALM))
    }

    /// Names the scope the credential lacks (403).
    pub fn with_missing_scope(self, scope: &'static str) -> Self {
        let challenge = format!("{REALM}, error=\"insufficient_scope\", scope=\"{scope}\"");
        match HeaderValue::try_from(challenge) {
            Ok(value) => self.with_header(WWW_AUTHENTICATE, value),
            // A scope's name has no character that a header could not hold.
            Err(_) => self,
        }
    }

    pub fn status(&self) -> StatusCode {
        self.0.code
    }

    /// The kind's name.
    pub fn slug(&self) -> &str {
        self.0.kind.trim_start_matches("/problems/")
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub fn internal() -> Self {
        let detail = "the bridge failed to handle this request; its log says why. Repeat the request with the same \
                      idempotency key";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }
}

/// Marks a response as a problem, for [`negotiate`].
#[derive(Clone, Copy)]
struct IsProblem;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings always serializes; should it not, the status still says what happened.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.code;
        response.headers_mut().insert(CONTENT_TYPE, PLAIN);
        if let Some(after) = self.0.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        for (name, value) in &self.0.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(IsProblem);
        response
    }
}

/// Middleware: a problem gets its own content type when the caller's Accept names it.
pub async fn negotiate(request: Request, next: Next) -> Response {
    let wanted = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("application/problem+json"));
    let mut response = next.run(request).await;
    if wanted && response.extensions().get::<IsProblem>().is_some() {
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    }
    response
}

/// Middleware: what is no text, once decoded, names nothing. The framework would say so in words of its own.
pub async fn readable_path(request: Request, next: Next) -> Response {
    match percent_encoding::percent_decode_str(request.uri().path()).decode_utf8() {
        Ok(_) => next.run(request).await,
        Err(_) => no_such_path(request).await.into_response(),
    }
}

/// For paths that do not exist.
pub async fn no_such_path(request: Request) -> Problem {
    Problem::not_found(format!(
        "there is no {}; see the API's documentation for its paths",
        request.uri().path()
    ))
}

/// For methods a path does not know.
pub async fn no_such_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        format!(
            "{} does not take {}; the Allow header names what it takes",
            request.uri().path(),
            request.method()
        ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn header(problem: Problem, name: &str) -> (u16, String) {
        let response = problem.into_response();
        let value = response.headers()[name].to_str().unwrap().to_owned();
        (response.status().as_u16(), value)
    }

    #[test]
    fn refusals_say_in_headers_what_is_needed() {
        let refused = |code| Problem::new(code, "refused", "Refused", "no");
        let name = "www-authenticate";
        let unknown = refused(StatusCode::UNAUTHORIZED).with_challenge();
        assert_eq!(header(unknown, name), (401, "Bearer realm=\"bridge\"".into()));
        let lacking = refused(StatusCode::FORBIDDEN).with_missing_scope("replay");
        assert_eq!(
            header(lacking, name),
            (403, "Bearer realm=\"bridge\", error=\"insufficient_scope\", scope=\"replay\"".into())
        );
        let limited = || {
            refused(StatusCode::TOO_MANY_REQUESTS).retry_after(Duration::from_millis(1200)).with_header(
                HeaderName::from_static("ratelimit"),
                HeaderValue::from_static("\"tenant\";r=0;t=2"),
            )
        };
        assert_eq!(header(limited(), "retry-after"), (429, "2".into()));
        assert_eq!(header(limited(), "ratelimit"), (429, "\"tenant\";r=0;t=2".into()));
    }
}
