//! The credential out of a request's headers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::denied::Why;

/// Room for the scheme, and for the name and the encoding of Basic.
const ROOM: usize = 1024;

pub(crate) struct Presented<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Tokens come as Bearer only; an API key also as `X-API-Key` or as Basic's password.
    pub(crate) may_be_token: bool,
}

/// At most one credential: with two, the one that is checked and the one that is meant may differ. What is longer than
/// `longest` is refused unread.
pub(crate) fn extract(headers: &HeaderMap, longest: usize) -> Result<Presented<'_>, Why> {
    let authorization = single(headers, AUTHORIZATION.as_str())?;
    let api_key = single(headers, "x-api-key")?;
    if [authorization, api_key].into_iter().flatten().any(|value| value.len() > longest + ROOM) {
        return Err(Why::TooLong);
    }
    let filled = |text, may_be_token| filled(text, may_be_token, longest);
    match (authorization, api_key) {
        (None, None) => Err(Why::Missing),
        (Some(_), Some(_)) => Err(Why::Several),
        (None, Some(key)) => filled(text(key)?.into(), false),
        (Some(value), None) => {
            let (scheme, credential) = text(value)?.split_once(' ').ok_or(Why::Malformed)?;
            let credential = credential.trim();
            if scheme.eq_ignore_ascii_case("bearer") {
                filled(credential.into(), true)
            } else if scheme.eq_ignore_ascii_case("basic") {
                filled(password(credential)?.into(), false)
            } else {
                Err(Why::Scheme)
            }
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Why> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Why::Several),
        (value, None) => Ok(value),
    }
}

fn text(value: &HeaderValue) -> Result<&str, Why> {
    value.to_str().map(str::trim).map_err(|_| Why::Malformed)
}

fn filled(text: Cow<'_, str>, may_be_token: bool, longest: usize) -> Result<Presented<'_>, Why> {
    match text.len() {
        0 => Err(Why::Malformed),
        length if length > longest => Err(Why::TooLong),
        _ => Ok(Presented { text, may_be_token }),
    }
}

fn password(credential: &str) -> Result<String, Why> {
    let decoded = STANDARD.decode(credential).map_err(|_| Why::Malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Why::Malformed)?;
    decoded.split_once(':').map(|(_, password)| password.to_owned()).ok_or(Why::Malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn found(pairs: &[(&str, &str)]) -> Result<(String, bool), Why> {
        extract(&headers(pairs), 8192).map(|presented| (presented.text.into_owned(), presented.may_be_token))
    }

    #[test]
    fn a_credential_arrives_in_three_ways() {
        let key = "npb_key".to_owned();
        assert_eq!(found(&[("authorization", "Bearer npb_key")]), Ok((key.clone(), true)));
        assert_eq!(found(&[("authorization", "bearer   npb_key ")]), Ok((key.clone(), true)));
        assert_eq!(found(&[("x-api-key", " npb_key ")]), Ok((key.clone(), false)));
        let basic = format!("Basic {}", STANDARD.encode("any:npb_key"));
        assert_eq!(found(&[("authorization", &basic)]), Ok((key, false)));
        let colon = format!("BASIC {}", STANDARD.encode("any:a:b"));
        assert_eq!(found(&[("authorization", &colon)]), Ok(("a:b".to_owned(), false)));
    }

    #[test]
    fn odd_headers_are_refused() {
        assert_eq!(found(&[]), Err(Why::Missing));
        assert_eq!(found(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), Err(Why::Several));
        assert_eq!(found(&[("x-api-key", "a"), ("x-api-key", "b")]), Err(Why::Several));
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "a")]), Err(Why::Several));
        assert_eq!(found(&[("authorization", "Digest a")]), Err(Why::Scheme));
        for bad in ["", "Bearer", "Bearer ", "Basic !!", "Basic YQ=="] {
            assert_eq!(found(&[("authorization", bad)]), Err(Why::Malformed), "{bad}");
        }
        assert_eq!(found(&[("authorization", "Basic Og==")]), Err(Why::Malformed), "an empty password");
        let latin = HeaderValue::from_bytes(b"Bearer \xe4").unwrap();
        let latin = HeaderMap::from_iter([(AUTHORIZATION, latin)]);
        assert_eq!(extract(&latin, 8192).err(), Some(Why::Malformed));
        for long in [8193, 65_536] {
            let long = "A".repeat(long);
            assert_eq!(found(&[("x-api-key", &long)]), Err(Why::TooLong));
            assert_eq!(found(&[("authorization", &format!("Bearer {long}"))]), Err(Why::TooLong));
        }
        let long = format!("Basic {}", "A".repeat(65_536));
        assert_eq!(found(&[("authorization", &long)]), Err(Why::TooLong));
    }
}
