//! How a tenant stands against its rate, told in the header fields of the IETF's draft.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use bridge_service::Problem;
use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that may come at once.
    pub quota: u64,
    /// The time in which so many come back.
    pub window: Duration,
    pub left: u64,
    pub full_in: Duration,
}

impl Standing {
    fn write(self, headers: &mut HeaderMap) {
        let (window, reset) = (seconds(self.window).max(1), seconds(self.full_in));
        let policy = format!("\"tenant\";q={};w={window}", self.quota);
        let limit = format!("\"tenant\";r={};t={reset}", self.left);
        for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
            // Digits and quotes are a header value.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The part of an answer that tells the standing; nothing while the tenant has no rate.
#[derive(Clone, Copy, Debug)]
pub struct Metered(pub Option<Standing>);

impl IntoResponseParts for Metered {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Some(standing) = self.0 {
            standing.write(parts.headers_mut());
        }
        Ok(parts)
    }
}

/// A problem of a route that is metered.
#[derive(Debug)]
pub struct Refusal {
    pub metered: Metered,
    pub problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { metered: Metered(None), problem }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.metered, self.problem).into_response()
    }
}
