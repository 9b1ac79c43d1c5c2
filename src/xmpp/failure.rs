//! What a fault of the transport, of TLS or of the log-in means for the link.
//!
//! Only condition names leave here: the libraries' own messages can hold what was exchanged.

use std::io;

use minidom::Element;
use tokio_xmpp::xmlstream::{RecvFeaturesError, XmppStreamElement};
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
            of_stream(told(&element))
        }
    }
}

fn told(element: &Element) -> StreamError {
    stanza::stream_error(element).unwrap_or_else(|| StreamError::Other("undefined-condition".to_owned()))
}

/// What came in place of the consent to TLS: a stream error is as good there as anywhere.
pub(super) fn of_no_tls(element: Option<XmppStreamElement>) -> Failure {
    match element {
        Some(XmppStreamElement::StreamError(error)) => {
            let element: Element = error.0.into();
            of_stream(told(&element))
        }
        Some(_) | None => Failure::Tls("the server did not proceed with TLS".to_owned()),
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

/// A log-in that failed with this SASL condition (RFC 6120 section 6.5).
pub(super) fn of_sasl(condition: &str) -> Failure {
    match condition {
        "not-authorized" | "account-disabled" | "credentials-expired" => Failure::Refused(condition.to_owned()),
        "temporary-auth-failure" => Failure::Throttled(condition.to_owned()),
        other => Failure::Protocol(format!("log-in failed: {other}")),
    }
}
