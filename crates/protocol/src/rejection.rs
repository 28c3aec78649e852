//! The verdicts on a message that is not accepted.

/// Why a message was not accepted. Forged ones are recorded and announced; stale ones are only
/// counted, because a rollout or a late delivery makes them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    #[error("the message is forged: {}", .0.as_str())]
    Forged(Forged),
    #[error("the message is stale: {}", .0.as_str())]
    Stale(Stale),
}

impl Rejection {
    /// A short name for metrics and records.
    pub const fn reason(self) -> &'static str {
        match self {
            Rejection::Forged(forged) => forged.as_str(),
            Rejection::Stale(stale) => stale.as_str(),
        }
    }

    pub const fn is_forged(self) -> bool {
        matches!(self, Rejection::Forged(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forged {
    /// The signature does not fit the content.
    Signature,
    /// The header names another algorithm than its key's.
    Algorithm,
    /// Signed for another topic than the one it came from.
    Audience,
    /// Signed for another tenant than the topic's.
    Tenant,
    /// Not a message at all.
    Junk,
    Oversize,
}

impl Forged {
    pub const ALL: [Forged; 6] = [
        Forged::Signature,
        Forged::Algorithm,
        Forged::Audience,
        Forged::Tenant,
        Forged::Junk,
        Forged::Oversize,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Forged::Signature => "signature",
            Forged::Algorithm => "algorithm",
            Forged::Audience => "audience",
            Forged::Tenant => "tenant",
            Forged::Junk => "junk",
            Forged::Oversize => "oversize",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stale {
    /// Signed by a newer or an older bridge.
    Version,
    /// A key this process has not been given (yet).
    UnknownKey,
    RetiredKey,
    Expired,
}

impl Stale {
    pub const ALL: [Stale; 4] = [Stale::Version, Stale::UnknownKey, Stale::RetiredKey, Stale::Expired];

    pub const fn as_str(self) -> &'static str {
        match self {
            Stale::Version => "version",
            Stale::UnknownKey => "unknown_key",
            Stale::RetiredKey => "retired_key",
            Stale::Expired => "expired",
        }
    }
}
