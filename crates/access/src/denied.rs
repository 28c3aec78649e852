//! Refusals. The caller learns only that he was refused; the reason is for counters.

/// Why nobody was let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the request has no credential")]
    Missing,
    /// `why` and `subject` are for metrics and the tally, never for the answer. `subject` is nothing the caller made
    /// up: a configured issuer, a client or key that exists, or `unknown`.
    #[error("the credential is not valid")]
    Invalid { why: &'static str, subject: String },
    /// Nothing can be said now: the directory was never loaded or not confirmed for too long.
    #[error("credentials cannot be checked at present")]
    NotReady,
    /// The token's issuer is configured, and its keys never arrived.
    #[error("the issuer's keys have not arrived")]
    NoKeys,
}

macro_rules! whys {
    ($( $(#[$meta:meta])* $why:ident => $name:literal ),+ $(,)?) => {
        /// The closed set of reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Why { $( $(#[$meta])* $why ),+ }

        impl Why {
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $( Self::$why => $name ),+ }
            }
        }
    };
}

whys! {
    Missing => "missing",
    NotReady => "not_ready",
    /// The issuer's keys were never fetched.
    NoKeys => "no_keys",
    TooLong => "too_long",
    Malformed => "malformed",
    /// Neither Bearer nor Basic.
    Scheme => "scheme",
    /// Two credentials in one request.
    Several => "several",
    /// An API key that is not known.
    UnknownKey => "unknown_key",
    Algorithm => "algorithm",
    /// A header that must be understood, and is not.
    Critical => "critical",
    /// A token made for something else: an id token, a logout token.
    Type => "type",
    Issuer => "issuer",
    Audience => "audience",
    NoExpiry => "no_expiry",
    Expired => "expired",
    NotYet => "not_yet",
    /// No key of the issuer has that id.
    Kid => "kid",
    Signature => "signature",
    Subject => "subject",
    /// A token of ours that does not say which secret got it.
    Secret => "secret",
    /// None of the tenants it names exists.
    Tenant => "tenant",
    /// It was valid once: revoked, its secret was replaced, or its key was withdrawn.
    Revoked => "revoked",
}

/// A refusal with whom it concerns.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Why,
    pub(crate) subject: Option<String>,
}

impl From<Why> for Refused {
    fn from(why: Why) -> Self {
        Self { why, subject: None }
    }
}

impl Why {
    pub(crate) fn of(self, subject: impl Into<String>) -> Refused {
        Refused { why: self, subject: Some(subject.into()) }
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        metrics::counter!("bridge_logins_refused_total", "why" => refused.why.as_str()).increment(1);
        match refused.why {
            Why::Missing => Self::Missing,
            Why::NotReady => Self::NotReady,
            Why::NoKeys => Self::NoKeys,
            why => Self::Invalid {
                why: why.as_str(),
                subject: refused.subject.unwrap_or_else(|| "unknown".to_owned()),
            },
        }
    }
}
