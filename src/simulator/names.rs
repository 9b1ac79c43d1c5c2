//! Namespaces.

pub(super) const CLIENT: &str = "jabber:client";
pub(super) const STREAMS: &str = "http://etherx.jabber.org/streams";
pub(super) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub(super) const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub(super) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(super) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(super) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub(super) const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
pub(super) const MANAGEMENT: &str = "urn:xmpp:sm:3";
pub(super) const PING: &str = "urn:xmpp:ping";
pub(super) const TIME: &str = "urn:xmpp:time";
pub(super) const DELAY: &str = "urn:xmpp:delay";
pub(super) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
pub(super) const COMMANDS: &str = "http://jabber.org/protocol/commands";
pub(super) const DATA: &str = "jabber:x:data";
pub(super) const SHIM: &str = "http://jabber.org/protocol/shim";
pub(super) const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
pub(super) const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
pub(super) const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
