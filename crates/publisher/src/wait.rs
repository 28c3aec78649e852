//! How long a caller is willing to wait for a result: `?wait=N` or `Prefer: wait=N`, in seconds.

use std::time::Duration;

use bridge_service::Problem;
use bridge_service::problem::FieldError;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::parse::invalid;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `None`: the caller does not wait. Longer than `max` is `max`. A preference that cannot be read is none; a parameter
/// that cannot be read is a fault.
pub fn wanted(uri: &Uri, headers: &HeaderMap, max: Duration) -> Result<Option<Duration>, Problem> {
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let named = query.into_iter().find(|(name, value)| name == "wait" && !value.is_empty());
    let wait = match named {
        Some((_, text)) => Some(seconds(&text).ok_or_else(|| {
            let message = "must be a number of seconds, for example 30".to_owned();
            invalid(vec![FieldError { field: "wait".into(), message }])
        })?),
        None => preferred(headers),
    };
    Ok(wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(max)))
}

/// `Prefer: respond-async, wait=10`, in one header or several.
fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| seconds(value.trim().trim_matches('"')))?
    })
}

fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    (number >= 0.0).then(|| Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}

/// Says that the preference was heard (RFC 7240).
pub fn applied(headers: &HeaderMap, wait: Option<Duration>) -> Option<[(HeaderName, HeaderValue); 1]> {
    let wait = wait.filter(|_| preferred(headers).is_some())?;
    // Digits are a header value.
    Some([(APPLIED, HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok()?)])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    fn of(query: &str, prefer: &[&str]) -> Result<Option<Duration>, Problem> {
        let uri: Uri = format!("/pulsar/publish{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        for value in prefer {
            headers.append(PREFER, value.parse().unwrap());
        }
        wanted(&uri, &headers, MAX)
    }

    fn waits(query: &str, prefer: &[&str]) -> Option<f64> {
        of(query, prefer).unwrap().map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn both_ways_of_asking_are_heard_and_bounded() {
        assert_eq!(waits("", &[]), None);
        assert_eq!(waits("?wait=", &[]), None);
        assert_eq!(waits("?wait=0", &["wait=5"]), None, "the parameter counts");
        assert_eq!(waits("?tenant_id=a&wait=2.5", &[]), Some(2.5));
        assert_eq!(waits("?wait=1e300", &[]), Some(60.0));
        assert_eq!(waits("", &["wait=10"]), Some(10.0));
        assert_eq!(waits("", &["respond-async, Wait = \"7\"; x=1"]), Some(7.0));
        assert_eq!(waits("", &["return=minimal", "wait=600"]), Some(60.0));
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_only_in_the_parameter() {
        for bad in ["?wait=soon", "?wait=-1", "?wait=NaN"] {
            assert_eq!(of(bad, &[]).unwrap_err().errors()[0].field, "wait", "{bad}");
        }
        assert_eq!(waits("", &["wait=soon", "wait"]), None);
    }
}
