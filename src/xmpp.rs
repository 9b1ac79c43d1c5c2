//! Connections to an XMPP server: TCP, TLS, log-in, and the stream of stanzas.
//!
//! Built on the lower layer of `tokio-xmpp`. Must not know what a stanza means, nor any account's state.

pub mod connector;
mod failure;
pub mod frame;
pub mod login;
pub mod options;
mod sasl;
pub mod session;
mod tls;
