//! Stanzas: the only place that knows XML names.
//!
//! Reading is lenient: by namespace and name, any order, unknown and empty children kept or passed over, because this
//! service echoes requests before errors and leaves out attributes (protocol sheet sections 6 and 7).

use minidom::{Element, ElementBuilder};
use xmpp_parsers::jid::Jid;
use xso::exports::rxml::NcName;

use crate::domain::host::HostAndPort;
use crate::domain::limits::{CONDITION_BYTES, cut};

mod answer;
mod features;
mod greeting;
mod management;
mod request;
mod sasl;
mod size;
mod tag;

pub use answer::{Grant, Granted, Listed, Refusal, SubscribeReply, time};
pub use features::{Features, bind, bound, proceeds_with_tls, start_tls};
pub use greeting::{goodbye, presence, reply, service_ping, session, time_request};
pub use management::{Management, acknowledge, ask, enable, is_stanza, management, resume};
pub use request::{Request, iq};
pub use sasl::{Challenge, challenge, sasl_auth, sasl_response};
pub use size::size;
pub use tag::Tag;

pub(super) mod ns {
    pub use xmpp_parsers::ns::{
        BIND, DATA_FORMS, DELAY, JABBER_CLIENT as CLIENT, PING, PUBSUB, PUBSUB_ERRORS, PUBSUB_EVENT, SASL,
        SM as MANAGEMENT, STREAM, TLS, XMPP_STANZAS, XMPP_STREAMS,
    };
    pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
    pub const RESULT_SET: &str = "http://jabber.org/protocol/rsm";
    pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
    pub const SHIM: &str = "http://jabber.org/protocol/shim";
    pub const TIME: &str = "urn:xmpp:time";
    pub const OLD_DELAY: &str = "jabber:x:delay";
    pub const SUBSCRIBE_OPTIONS: &str = "http://jabber.org/protocol/pubsub#subscribe_options";
}

/// One top-level element of the stream, told apart as far as the connection must.
#[derive(Debug)]
pub enum Incoming {
    /// The answer to a request of ours.
    Answer {
        /// Id of the request.
        id: String,
        /// Who answers; absent: our own server.
        from: Option<Jid>,
        /// The `result` stanza, or why there is none.
        outcome: Result<Element, Refusal>,
    },
    /// A request of the peer; [`reply`] answers it.
    Request(Element),
    /// Presence, a message that is none of a service, and whatever else needs no answer.
    Other,
}

/// Why the peer closes the stream, as far as it changes what we do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Another session bound our resource.
    Conflict,
    /// Go to this host instead; it is one.
    SeeOtherHost(String),
    /// A condition whose content is not what it must be.
    Malformed(&'static str),
    /// Come back later: `policy-violation`, `resource-constraint`.
    Throttled(String),
    /// Anything else, by its condition.
    Other(String),
}

/// How a top-level element is to be read, by its start tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outset {
    /// As a message, for the notification parser.
    Message,
    /// Not at all: all it says stands in its start tag.
    Management(Management),
    /// Whole.
    Element,
}

/// Tells by the start tag of a top-level element how it is to be read.
#[must_use]
pub fn outset(tag: &impl Tag) -> Outset {
    if tag.is_named("message", ns::CLIENT) {
        return Outset::Message;
    }
    management(tag).map_or(Outset::Element, Outset::Management)
}

/// Tells a top-level element that is no message apart.
#[must_use]
pub fn incoming(element: Element) -> Incoming {
    if element.is("iq", ns::CLIENT) {
        let id = element.attr("id").unwrap_or_default().to_owned();
        let from = element.attr("from").and_then(|from| Jid::new(from).ok());
        return match element.attr("type") {
            Some("result") => Incoming::Answer { id, from, outcome: Ok(element) },
            Some("error") => Incoming::Answer { id, from, outcome: Err(Refusal::read(&element)) },
            Some("get" | "set") => Incoming::Request(element),
            Some(_) | None => Incoming::Other,
        };
    }
    Incoming::Other
}

/// The stream error that `element` is, if it is one (RFC 6120 section 4.9).
#[must_use]
pub fn stream_error(element: &Element) -> Option<StreamError> {
    element.is("error", ns::STREAM).then(|| stream_condition(element))
}

fn stream_condition(element: &Element) -> StreamError {
    let condition = element.children().find(|child| child.has_ns(ns::XMPP_STREAMS) && child.name() != "text");
    match condition.map(|c| (c.name(), c.text())) {
        Some(("conflict", _)) => StreamError::Conflict,
        Some(("see-other-host", host)) => match HostAndPort::read(host.trim()) {
            Some(host) => StreamError::SeeOtherHost(host.to_string()),
            None => StreamError::Malformed("see-other-host names no host"),
        },
        Some((name @ ("policy-violation" | "resource-constraint"), _)) => StreamError::Throttled(name.to_owned()),
        Some((name, _)) => StreamError::Other(condition_name(name)),
        None => StreamError::Other("undefined-condition".to_owned()),
    }
}

/// The name of a condition as it may be shown.
fn condition_name(name: &str) -> String {
    cut(name, CONDITION_BYTES)
}

/// Attributes by plain name, which the builder of `minidom` wants checked.
trait WithAttribute {
    fn with(self, name: &'static str, value: &str) -> Self;
}

impl WithAttribute for ElementBuilder {
    fn with(self, name: &'static str, value: &str) -> Self {
        match NcName::try_from(name) {
            Ok(name) => self.attr(name, value),
            Err(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Incoming {
        incoming(xml.parse().unwrap())
    }

    #[test]
    fn an_answer_is_told_from_a_request() {
        assert!(matches!(
            read("<iq xmlns='jabber:client' type='result' id='r1' from='a.b'/>"),
            Incoming::Answer { id, outcome: Ok(_), .. } if id == "r1"
        ));
        assert!(matches!(
            read("<iq xmlns='jabber:client' type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq>"),
            Incoming::Request(_)
        ));
    }

    #[test]
    fn stream_errors_that_change_what_we_do_are_told_apart() {
        let error = |name: &str, text: &str| {
            let (stream, streams) = (ns::STREAM, ns::XMPP_STREAMS);
            let xml = format!(
                "<error xmlns='{stream}'><text xmlns='{streams}'>x</text><{name} xmlns='{streams}'>{text}</{name}></error>"
            );
            stream_error(&xml.parse().unwrap()).unwrap()
        };
        assert_eq!(error("conflict", ""), StreamError::Conflict);
        assert_eq!(error("see-other-host", "b:5223"), StreamError::SeeOtherHost("b:5223".into()));
        assert_eq!(error("see-other-host", " [::1] "), StreamError::SeeOtherHost("[::1]".into()));
        for c10 in ["", " ", "a b", "b:99999", "b:x", "b.test\u{fffd}", "http://b.test/", &"b".repeat(300)] {
            assert_eq!(error("see-other-host", c10), StreamError::Malformed("see-other-host names no host"), "{c10:?}");
        }
        assert_eq!(error("policy-violation", ""), StreamError::Throttled("policy-violation".into()));
        assert_eq!(error("reset", ""), StreamError::Other("reset".into()));
    }

    #[test]
    fn c9_the_condition_of_a_stream_error_is_cut() {
        let (stream, streams, long) = (ns::STREAM, ns::XMPP_STREAMS, "x".repeat(5_000));
        let error = format!("<error xmlns='{stream}'><{long} xmlns='{streams}'/></error>").parse().unwrap();
        let Some(StreamError::Other(condition)) = stream_error(&error) else { unreachable!() };
        assert_eq!(condition, format!("{}…", &long[..CONDITION_BYTES]));
    }
}
