//! Connections to an XMPP server: TCP, TLS, log-in, and the stream of stanzas.
//!
//! Must not know what a stanza means, nor any account's state.

pub mod connector;
mod exchange;
mod failure;
pub mod login;
pub mod options;
mod sasl;
pub mod session;
mod srv;
mod stream;
mod tls;
mod turns;

pub use stream::messages;
