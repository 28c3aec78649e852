//! What an error of the client library means for us.

use pulsar::Error;
use pulsar::error::{ConnectionError, ConsumerError, ProducerError, ServiceDiscoveryError};
use pulsar::proto::ServerError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The broker understood and says no: asking again at once is no use, the client is sound.
    Refused(String),
    /// hazard 12: a fixed token that has expired makes the library loop on this error for ever, so it is told
    /// apart from every other refusal and named as what it is.
    Credential(String),
    /// The credential is good and its role has no right to this: the other topics go on.
    Forbidden(String),
    /// We do not believe that it is the broker.
    Certificate(String),
    /// The broker answered that it cannot now, for this topic: try again soon, the client is sound.
    Busy(String),
    /// One entry could not be unpacked; the entries behind it still come.
    Undecodable(String),
    /// No answer within the operation's time-out.
    TimedOut(String),
    /// The connection or the client is of no use any more.
    Broken(String),
}

impl Fault {
    pub(crate) fn of(error: &Error) -> Self {
        let text = error.to_string();
        if let Some(kind) = server_error(error) {
            return Self::of_server(kind, text);
        }
        match error {
            Error::Authentication(_) | Error::Connection(ConnectionError::Authentication(_)) => {
                Self::Credential(text)
            }
            // Decompression and the unpacking of a batch end in these two; reconnecting never does.
            Error::Connection(ConnectionError::Decoding(_)) | Error::Consumer(ConsumerError::Io(_)) => {
                Self::Undecodable(text)
            }
            _ if timed_out(error) => Self::TimedOut(text),
            _ => Self::Broken(text),
        }
    }

    fn of_server(kind: ServerError, text: String) -> Self {
        use ServerError as E;
        match kind {
            E::AuthenticationError => Self::Credential(text),
            E::AuthorizationError => Self::Forbidden(text),
            E::TopicNotFound
            | E::TopicTerminatedError
            | E::SubscriptionNotFound
            | E::InvalidTopicName
            | E::NotAllowedError
            | E::IncompatibleSchema
            | E::UnsupportedVersionError => Self::Refused(text),
            // hazard 4: the library never retries some of these (PersistenceError, UnknownError "Failed to load
            // topic within timeout"). They are about one topic, so its own task asks again.
            _ => Self::Busy(text),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Refused(text)
            | Self::Credential(text)
            | Self::Forbidden(text)
            | Self::Certificate(text)
            | Self::Busy(text)
            | Self::Undecodable(text)
            | Self::TimedOut(text)
            | Self::Broken(text) => text,
        }
    }

    /// Counts what is nobody's passing trouble: somebody must renew a credential or grant a right.
    pub(crate) fn count_refusal(&self) {
        if matches!(self, Self::Credential(_) | Self::Forbidden(_) | Self::Certificate(_)) {
            metrics::counter!("bridge_broker_refused_total", "reason" => self.name()).increment(1);
        }
    }

    /// A metric label.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Credential(_) => "credential",
            Self::Forbidden(_) => "forbidden",
            Self::Certificate(_) => "certificate",
            Self::Busy(_) => "busy",
            Self::Undecodable(_) => "undecodable",
            Self::TimedOut(_) => "timed_out",
            Self::Broken(_) => "broken",
        }
    }
}

fn connection_error(error: &Error) -> Option<&ConnectionError> {
    match error {
        Error::Connection(e)
        | Error::Consumer(ConsumerError::Connection(e))
        | Error::Producer(ProducerError::Connection(e))
        | Error::ServiceDiscovery(ServiceDiscoveryError::Connection(e)) => Some(e),
        Error::Producer(ProducerError::Batch(inner)) => connection_error(inner),
        _ => None,
    }
}

fn server_error(error: &Error) -> Option<ServerError> {
    if let Error::ServiceDiscovery(ServiceDiscoveryError::Query(kind, _)) = error {
        return *kind;
    }
    match connection_error(error)? {
        ConnectionError::PulsarError(kind, _) => *kind,
        _ => None,
    }
}

fn timed_out(error: &Error) -> bool {
    matches!(connection_error(error), Some(ConnectionError::Io(io)) if io.kind() == std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_fails_to_load_does_not_condemn_the_client() {
        let error = Error::Connection(ConnectionError::PulsarError(
            Some(ServerError::UnknownError),
            Some("Failed to load topic within timeout".into()),
        ));
        assert!(matches!(Fault::of(&error), Fault::Busy(_)));
    }

    #[test]
    fn an_expired_token_is_named() {
        let error =
            Error::Connection(ConnectionError::PulsarError(Some(ServerError::AuthenticationError), None));
        assert!(matches!(Fault::of(&error), Fault::Credential(_)));
    }

    #[test]
    fn a_right_that_is_missing_is_no_bad_credential() {
        let kind = Some(ServerError::AuthorizationError);
        let text = Some("no".to_owned());
        let error = Error::ServiceDiscovery(ServiceDiscoveryError::Query(kind, text));
        assert!(matches!(Fault::of(&error), Fault::Forbidden(_)));
    }

    #[test]
    fn a_lost_connection_is_broken_and_an_unanswered_request_timed_out() {
        assert!(matches!(Fault::of(&Error::Connection(ConnectionError::Disconnected)), Fault::Broken(_)));
        let io = std::io::Error::new(std::io::ErrorKind::TimedOut, "late");
        let error = Error::Producer(ProducerError::Connection(ConnectionError::Io(io)));
        assert!(matches!(Fault::of(&error), Fault::TimedOut(_)));
    }
}
