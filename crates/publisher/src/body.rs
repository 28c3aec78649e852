//! Reads a request's JSON body: the right content type, within the limits of size, time and memory.

use axum::body::Body;
use axum::extract::Request;
use bridge_service::Problem;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;

use crate::app::{App, ENVELOPE};
use crate::budget::Share;

/// A body and its share of the memory; the share must live as long as any part of the body.
pub struct JsonBody {
    pub bytes: Bytes,
    pub share: Share,
}

pub async fn read(app: &App, request: Request) -> Result<JsonBody, Problem> {
    read_up_to(app, request, app.limits.payload_bytes, too_large).await
}

/// `most`: of the part that may be large; everything around it has its own room.
pub async fn read_up_to(
    app: &App,
    request: Request,
    most: usize,
    too_large: fn(usize) -> Problem,
) -> Result<JsonBody, Problem> {
    check_type(request.headers())?;
    let limit = most + ENVELOPE;
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > limit {
        return Err(too_large(most));
    }
    let mut share = app.budget.take(announced)?;
    let body = collect(request.into_body(), announced, limit, || too_large(most), &mut share);
    match tokio::time::timeout(app.limits.body_timeout, body).await {
        Ok(bytes) => Ok(JsonBody { bytes: bytes?, share }),
        Err(_) => {
            let detail = "the body did not arrive in time; send it without pauses";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "Request timeout", detail))
        }
    }
}

async fn collect(
    mut body: Body,
    announced: usize,
    limit: usize,
    too_large: impl Fn() -> Problem,
    share: &mut Share,
) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            let detail = "the connection ended before the body did; send the whole body";
            Problem::new(StatusCode::BAD_REQUEST, "incomplete-body", "Incomplete body", detail)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        // Most bodies are one piece: it is taken as it is.
        if whole.is_empty() && data.len() == announced {
            return Ok(data);
        }
        share.grow_to(whole.len() + data.len())?;
        whole.reserve(data.len().max(announced.saturating_sub(whole.len())));
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

pub fn too_large(limit: usize) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => "too_large").increment(1);
    let detail = format!(
        "a payload may have {limit} bytes; store larger data elsewhere and publish a reference to it"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "Payload too large", detail)
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: String| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            detail,
        )
    };
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(unsupported("send the body uncompressed, without Content-Encoding".to_owned()));
    }
    // No type at all is taken for JSON: then nobody claims anything else.
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let given = String::from_utf8_lossy(given.as_bytes()).to_ascii_lowercase();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(unsupported(format!(
        "the body's type is {essence:?}; in n8n set Body Content Type to JSON, elsewhere send Content-Type: application/json"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_taken() {
        let check = |value: &'static str| {
            check_type(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())])).is_ok()
        };
        assert!(check("application/json"));
        assert!(check("Application/JSON; charset=utf-8"));
        assert!(check("application/cloudevents+json"));
        assert!(check_type(&HeaderMap::new()).is_ok());
        assert!(!check("application/x-www-form-urlencoded"));
        assert!(!check("multipart/form-data; boundary=x"));
        assert!(!check("text/plain"));
        let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, "gzip".parse().unwrap())]);
        assert!(check_type(&gzip).is_err());
    }
}
