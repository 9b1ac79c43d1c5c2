//! What a fault of the transport, of TLS or of the log-in means for the link.
//!
//! Only condition names leave here: the libraries' own messages can hold what was exchanged.

use std::io;

use super::stream::ReadError;
use crate::protocol::link::Failure;
use crate::protocol::stanza::StreamError;

/// What a fault of the transport means.
pub(super) fn of_io(fault: &io::Error) -> Failure {
    match fault.kind() {
        io::ErrorKind::InvalidData => not_xmpp(),
        io::ErrorKind::TimedOut => Failure::Timeout,
        kind => Failure::Network(format!("connection lost: {kind}")),
    }
}

/// Nothing could be read.
pub(super) fn of_read(fault: &ReadError) -> Failure {
    match fault {
        ReadError::Silence | ReadError::TimedOut => Failure::Timeout,
        ReadError::Closed => Failure::Network("the server closed the stream".to_owned()),
        ReadError::CutOff => Failure::Network("the server closed the connection".to_owned()),
        ReadError::NotXmpp => not_xmpp(),
        ReadError::Io(kind) => of_io(&(*kind).into()),
    }
}

/// The server sent what has no place in a log-in.
pub(super) fn not_xmpp() -> Failure {
    Failure::Protocol("the server sent what is not XMPP".to_owned())
}

/// The server closed the stream during log-in.
pub(super) fn of_stream(error: StreamError) -> Failure {
    match error {
        StreamError::SeeOtherHost(host) => Failure::Redirected(host),
        StreamError::Malformed(what) => Failure::Protocol(format!("the server closed the stream: {what}")),
        StreamError::Throttled(condition) => Failure::Throttled(condition),
        StreamError::Conflict => Failure::Throttled("conflict".to_owned()),
        StreamError::Other(condition) => Failure::Protocol(format!("the server closed the stream: {condition}")),
    }
}
