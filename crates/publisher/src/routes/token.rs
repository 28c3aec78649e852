//! `POST /oauth2/token`: an access token for a service account (RFC 6749, client credentials).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_access::{Issued, TokenError};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;
use url::form_urlencoded;

use crate::app::{App, AppState};
use crate::auth::Source;

const LONGEST_BODY: usize = 16 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

/// A refusal in the terms of RFC 6749.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    retry_after: Option<Duration>,
}

pub async fn handle(State(app): State<AppState>, source: Source, request: Request) -> Response {
    let outcome = issue(&app, source, request).await;
    let label = outcome.as_ref().map_or_else(|refusal| refusal.error, |_| "issued");
    metrics::counter!("bridge_token_requests_total", "outcome" => label).increment(1);
    let mut response = match outcome {
        Ok(issued) => Json(issued).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

async fn issue(app: &App, Source(source): Source, request: Request) -> Result<Issued, Refusal> {
    let source = source.map(network);
    app.token_requests.pass(source).map_err(|wait| {
        counted(app, None, "too_many");
        too_many(wait)
    })?;
    let (parts, body) = request.into_parts();
    let body = read(app, &parts.headers, body).await?;
    let form = Form::read(&body)?;
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(refusal("unsupported_grant_type", "grant_type must be client_credentials")),
        None => return Err(refusal("invalid_request", "grant_type is missing; give client_credentials")),
    }
    let (id, secret) = client(&parts.headers, &form).inspect_err(|refusal| {
        if refusal.error == "invalid_client" {
            counted(app, None, "client_incomplete");
        }
    })?;
    // Only what fails is charged, and by the address too: else a stranger could lock a client out.
    let attempt = (&id, source);
    app.failed_logins.pass(attempt).map_err(|wait| {
        counted(app, Some(id.as_ref()), "too_many");
        too_many(wait)
    })?;
    let issued = app.access.token(&id, &secret, form.get("scope"));
    if !matches!(issued, Err(TokenError::InvalidClient)) {
        app.failed_logins.give_back(attempt);
    }
    issued.map_err(|error| match error {
        TokenError::InvalidClient => {
            counted(app, Some(id.as_ref()), "client_secret");
            invalid_client()
        }
        error @ TokenError::InvalidScope(_) => refusal("invalid_scope", error.to_string()),
        error @ (TokenError::NotReady | TokenError::NoKey) => Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(2)),
            ..refusal("temporarily_unavailable", error.to_string())
        },
        error @ TokenError::Signing { .. } => {
            tracing::error!(error = &error as &dyn std::error::Error, client = %id, "no token could be issued");
            let description = "the bridge failed to sign the token; its log says why";
            Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, ..refusal("server_error", description) }
        }
    })
}

/// A refused login. What a caller invents is no subject.
fn counted(app: &App, id: Option<&str>, why: &'static str) {
    let known = id.filter(|id| app.directory.snapshot().by_id.contains_key(*id));
    app.tally.add("login", known.unwrap_or("unknown"), why);
}

/// Who has one address of IPv6 has its whole /64.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        return Err(refusal("invalid_request", "send the parameters as application/x-www-form-urlencoded"));
    }
    let whole = Limited::new(body, LONGEST_BODY).collect();
    match tokio::time::timeout(app.limits.body_timeout, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(refusal("invalid_request", "the body is longer than a token request can be"))
        }
        Ok(Err(_)) => Err(refusal("invalid_request", "the connection ended before the body did")),
        Err(_) => Err(refusal("invalid_request", "the body did not arrive in time")),
    }
}

/// The parameters; an empty one is absent.
struct Form<'b>(Vec<(Cow<'b, str>, Cow<'b, str>)>);

impl<'b> Form<'b> {
    fn read(body: &'b [u8]) -> Result<Self, Refusal> {
        let mut form = Vec::new();
        for (name, value) in form_urlencoded::parse(body).filter(|(_, value)| !value.is_empty()) {
            if form.iter().any(|(there, _)| *there == name) {
                return Err(refusal("invalid_request", "a parameter is given twice"));
            }
            form.push((name, value));
        }
        Ok(Self(form))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_ref())
    }
}

/// Id and secret, from the Authorization header or from the body, but not from both.
fn client<'f>(headers: &HeaderMap, form: &'f Form<'_>) -> Result<(Cow<'f, str>, Cow<'f, str>), Refusal> {
    let in_body = (form.get("client_id"), form.get("client_secret"));
    let mut headers = headers.get_all(AUTHORIZATION).iter();
    match (headers.next(), headers.next()) {
        (None, _) => match in_body {
            (Some(id), Some(secret)) => Ok((id.into(), secret.into())),
            _ => Err(invalid_client()),
        },
        (Some(header), None) => {
            let (id, secret) = basic(header).ok_or_else(invalid_client)?;
            if in_body.1.is_some() || in_body.0.is_some_and(|named| named != id) {
                return Err(refusal("invalid_request", "give the client either as Basic or in the body"));
            }
            Ok((id.into(), secret.into()))
        }
        _ => Err(refusal("invalid_request", "there is more than one Authorization header")),
    }
}

/// RFC 6749 has both halves form-encoded before they are put together.
fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, credential) = header.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || credential.len() > LONGEST_BODY {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    let pair = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(pair.as_bytes()).next().map_or_else(String::new, |(text, _)| text.into_owned())
}

fn refusal(error: &'static str, description: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error, description: description.into(), retry_after: None }
}

/// The same for an unknown client, a wrong secret and none at all.
fn invalid_client() -> Refusal {
    let description = "the client is not known, or its secret is wrong";
    Refusal { status: StatusCode::UNAUTHORIZED, ..refusal("invalid_client", description) }
}

fn too_many(wait: Duration) -> Refusal {
    Refusal {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(wait),
        ..refusal(
            "slow_down",
            "too many token requests; keep a token until it expires, and repeat this one later",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // `message` is where n8n looks.
        let body = json!({
            "error": self.error,
            "error_description": self.description,
            "message": self.description,
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"bridge\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn client_of(authorization: Option<&str>, body: &str) -> Result<(String, String), &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let form = Form::read(body.as_bytes()).map_err(|refusal| refusal.error)?;
        client(&headers, &form)
            .map(|(id, secret)| (id.into_owned(), secret.into_owned()))
            .map_err(|refusal| refusal.error)
    }

    #[test]
    fn a_client_names_itself_in_one_of_two_ways() {
        let both = Ok(("svc_a".to_owned(), "s:&=+ é".to_owned()));
        let encoded = STANDARD.encode("svc%5Fa:s%3A%26%3D%2B+%C3%A9");
        assert_eq!(client_of(Some(&format!("basic {encoded}")), ""), both);
        assert_eq!(client_of(Some(&format!("Basic {encoded}")), "client_id=svc_a&client_secret="), both);
        assert_eq!(client_of(None, "client_id=svc_a&client_secret=s%3A%26%3D%2B+%C3%A9"), both);
        // Some clients do not encode what they put into Basic.
        let plain = STANDARD.encode("svc_a:a=b&c");
        assert_eq!(client_of(Some(&format!("Basic {plain}")), "").unwrap().1, "a=b&c");
    }

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
    }

    #[test]
    fn half_a_client_and_two_clients_are_refused() {
        let basic = format!("Basic {}", STANDARD.encode("svc_a:s"));
        assert_eq!(client_of(Some(&basic), "client_secret=s"), Err("invalid_request"));
        assert_eq!(client_of(Some(&basic), "client_id=svc_b"), Err("invalid_request"));
        assert_eq!(client_of(None, "client_id=a&client_id=b"), Err("invalid_request"));
        for bad in ["Bearer x", "Basic !", "Basic", "Basic YWJj"] {
            assert_eq!(client_of(Some(bad), ""), Err("invalid_client"), "{bad}");
        }
        assert_eq!(client_of(None, "client_id=svc_a"), Err("invalid_client"));
        assert_eq!(client_of(None, ""), Err("invalid_client"));
    }
}
