//! What came back from a webhook, or how it did not.

use std::time::Duration;

use bridge_protocol::Answer;
use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderMap, HeaderName, header};

use crate::guard::Refused;

/// The end of one request. The texts are short, for people, and hold no payload.
#[derive(Debug)]
pub enum FireResult {
    Answered(HttpAnswer),
    /// No connection was made, so nothing was sent.
    ConnectError(String),
    /// The request may have reached the endpoint; whether it acted on it is unknown.
    SentNoAnswer(String),
    /// The guard kept the request in; nothing was sent.
    Blocked(Refused),
}

/// A status line with what was read of its body.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub content_type: Option<String>,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
    /// The body went on beyond the limit and the connection was dropped.
    pub truncated: bool,
}

impl FireResult {
    /// The answer in the words of `protocol::classify`.
    pub fn as_answer(&self) -> Answer<'_> {
        match self {
            Self::Answered(answer) if answer.truncated => Answer::BodyTooLarge { status: answer.status },
            Self::Answered(answer) => Answer::Response {
                status: answer.status,
                content_type: answer.content_type.as_deref(),
                body: &answer.body,
                retry_after: answer.retry_after,
            },
            Self::ConnectError(_) => Answer::ConnectError,
            Self::SentNoAnswer(_) => Answer::SentNoAnswer,
            Self::Blocked(_) => Answer::Blocked,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(answer) => Some(answer.status),
            _ => None,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered(answer) => answer.retry_after,
            _ => None,
        }
    }

    /// Does the breaker count this as a sign that the endpoint is down? `None`: it says nothing.
    pub fn endpoint_is_well(&self) -> Option<bool> {
        match self {
            Self::Answered(answer) => Some(answer.status < 500),
            Self::ConnectError(_) | Self::SentNoAnswer(_) => Some(false),
            Self::Blocked(_) => None,
        }
    }

    /// A bounded label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Answered(answer) => match answer.status {
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "other",
            },
            Self::ConnectError(_) => "connect_error",
            Self::SentNoAnswer(_) => "no_answer",
            Self::Blocked(_) => "blocked",
        }
    }
}

/// `Retry-After` in seconds or as a date. A date is measured against the answer's own `Date`, so the
/// two clocks need not agree.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text(headers, header::RETRY_AFTER)?;
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = DateTime::parse_from_rfc2822(text).ok()?;
    let sent = DateTime::parse_from_rfc2822(self::text(headers, header::DATE)?).ok()?;
    Some((then - sent).to_std().unwrap_or_default())
}

pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn after(retry: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let noon = Some("Wed, 21 Oct 2026 12:00:00 GMT");
        assert_eq!(after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2026 12:01:30 GMT", noon), Some(Duration::from_secs(90)));
        assert_eq!(after("Wed, 21 Oct 2026 11:00:00 GMT", noon), Some(Duration::ZERO));
        assert_eq!(after("Wed, 21 Oct 2026 12:01:30 GMT", None), None);
        assert_eq!(after("soon", noon), None);
        assert_eq!(after("-3", noon), None);
    }
}
