//! What a fault of the transport, of TLS or of the log-in means for the link.
//!
//! Only condition names leave here: the libraries' own messages can hold what was exchanged.

use std::io;

use minidom::Element;
use tokio_xmpp::Error;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::parsers::sasl::DefinedCondition;
use tokio_xmpp::xmlstream::RecvFeaturesError;
use xso::exports::rxml;

use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, StreamError};

/// Whether the other side closed the connection without ending its stream; the parser calls that bad XML.
pub(super) fn is_cut_off(fault: &io::Error) -> bool {
    let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<rxml::Error>());
    matches!(inner, Some(rxml::Error::InvalidEof(_)))
}

/// What a fault of the transport means; bad XML arrives as `InvalidData`.
pub(super) fn of_io(fault: &io::Error) -> Failure {
    match fault.kind() {
        io::ErrorKind::InvalidData if is_cut_off(fault) => {
            Failure::Network("the server closed the connection".to_owned())
        }
        io::ErrorKind::InvalidData => Failure::Protocol("the server sent what is not XMPP".to_owned()),
        io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Network(format!("connection lost: {}", fault.kind())),
    }
}

/// No features came.
pub(super) fn of_features(fault: RecvFeaturesError) -> Failure {
    match fault {
        RecvFeaturesError::Io(fault) => of_io(&fault),
        RecvFeaturesError::StreamError(error) => {
            let element: Element = error.0.into();
            of_stream(
                stanza::stream_error(&element).unwrap_or_else(|| StreamError::Other("undefined-condition".to_owned())),
            )
        }
    }
}

/// The server closed the stream during log-in.
pub(super) fn of_stream(error: StreamError) -> Failure {
    match error {
        StreamError::SeeOtherHost(host) => Failure::Redirected(host),
        StreamError::Throttled(condition) => Failure::Throttled(condition),
        StreamError::Conflict => Failure::Throttled("conflict".to_owned()),
        StreamError::Other(condition) => Failure::Protocol(format!("the server closed the stream: {condition}")),
    }
}

/// A log-in that failed.
pub(super) fn of_login(fault: &Error) -> Failure {
    match fault {
        Error::Auth(AuthError::Fail(condition)) => match condition {
            DefinedCondition::NotAuthorized => Failure::Refused("not-authorized".to_owned()),
            DefinedCondition::AccountDisabled => Failure::Refused("account-disabled".to_owned()),
            DefinedCondition::CredentialsExpired => Failure::Refused("credentials-expired".to_owned()),
            DefinedCondition::TemporaryAuthFailure => Failure::Throttled("temporary-auth-failure".to_owned()),
            other => Failure::Protocol(format!("log-in failed: {other:?}")),
        },
        Error::Auth(AuthError::NoMechanism) => {
            Failure::Protocol("the server offers no log-in mechanism that we allow".to_owned())
        }
        Error::Auth(_) => Failure::Protocol("the server failed the log-in exchange".to_owned()),
        Error::Io(fault) => of_io(fault),
        Error::Disconnected => Failure::Network("the server closed the stream during log-in".to_owned()),
        Error::StreamError(_) => Failure::Protocol("the server closed the stream during log-in".to_owned()),
        _ => Failure::Protocol("the server broke the protocol during log-in".to_owned()),
    }
}
