//! The words of the house: names, addresses, moments, events, legs.
//!
//! Plain values with no behaviour beyond their own rules. Must not know any other module.

pub mod canary;
pub mod event;
pub mod fingerprint;
pub mod host;
pub mod identity;
pub mod leg;
pub mod limits;
pub mod moment;
pub mod name;
pub mod printable;
pub mod secret;
pub mod service;
pub mod status;

pub use xmpp_parsers::jid::{BareJid, FullJid, Jid};
