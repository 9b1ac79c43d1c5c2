//! The few stanzas that carry no subscription request: presence, pings, the time, and answers to the peer.

use minidom::Element;
use xmpp_parsers::jid::BareJid;

use super::{WithAttribute, ns};
use crate::domain::limits::{JID_BYTES, REQUEST_ID_BYTES};

/// Initial presence: priority 1, because messages reach only resources above zero (protocol sheet section 3).
#[must_use]
pub fn presence() -> Element {
    let priority = Element::builder("priority", ns::CLIENT).append("1").build();
    Element::builder("presence", ns::CLIENT).append(priority).build()
}

/// Unavailable presence, the last word before the stream closes.
#[must_use]
pub fn goodbye() -> Element {
    Element::builder("presence", ns::CLIENT).with("type", "unavailable").build()
}

/// Whether a stream feature says that a session must be asked for (RFC 3921 section 3).
pub(super) fn demands_session(feature: &Element) -> bool {
    feature.is("session", ns::SESSION) && !feature.has_child("optional", ns::SESSION)
}

/// The request for a session.
#[must_use]
pub fn session(id: &str) -> Element {
    let session = Element::bare("session", ns::SESSION);
    Element::builder("iq", ns::CLIENT).with("type", "set").with("id", id).append(session).build()
}

/// A ping to the server (XEP-0199); any answer at all shows that the link lives.
#[must_use]
pub fn service_ping(id: &str, server: &BareJid) -> Element {
    let ping = Element::builder("ping", ns::PING).build();
    Element::builder("iq", ns::CLIENT)
        .with("type", "get")
        .with("id", id)
        .with("to", server.as_str())
        .append(ping)
        .build()
}

/// The question what time it is at `to` (XEP-0202).
#[must_use]
pub fn time_request(id: &str, to: &BareJid) -> Element {
    let time = Element::bare("time", ns::TIME);
    Element::builder("iq", ns::CLIENT).with("type", "get").with("id", id).with("to", to.as_str()).append(time).build()
}

/// Returns the answer to a request of the peer: a pong to a ping, `service-unavailable` to all else (RFC 6120 section
/// 8.4). There is none where it would have to repeat an id or an address longer than allowed.
#[must_use]
pub fn reply(request: &Element) -> Option<Element> {
    let longer = |name: &str, most| request.attr(name).is_some_and(|value| value.len() > most);
    if longer("id", REQUEST_ID_BYTES) || longer("from", JID_BYTES) {
        return None;
    }
    let ping = request.attr("type") == Some("get") && request.has_child("ping", ns::PING);
    let iq = Element::builder("iq", ns::CLIENT)
        .with("type", if ping { "result" } else { "error" })
        .with("id", request.attr("id").unwrap_or_default());
    let iq = match request.attr("from") {
        Some(from) => iq.with("to", from),
        None => iq,
    };
    if ping {
        return Some(iq.build());
    }
    let condition = Element::builder("service-unavailable", ns::XMPP_STANZAS).build();
    let error = Element::builder("error", ns::CLIENT).with("type", "cancel").append(condition).build();
    Some(iq.append(error).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_answered_and_an_unknown_request_refused() {
        let ping: Element =
            "<iq xmlns='jabber:client' type='get' id='p' from='s'><ping xmlns='urn:xmpp:ping'/></iq>".parse().unwrap();
        let answer = reply(&ping).unwrap();
        assert_eq!((answer.attr("type"), answer.attr("id"), answer.attr("to")), (Some("result"), Some("p"), Some("s")));
        let push: Element =
            "<iq xmlns='jabber:client' type='set' id='q'><query xmlns='jabber:iq:roster'/></iq>".parse().unwrap();
        assert!(
            reply(&push)
                .unwrap()
                .get_child("error", ns::CLIENT)
                .unwrap()
                .has_child("service-unavailable", ns::XMPP_STANZAS)
        );
    }

    #[test]
    fn b12_a_request_whose_answer_would_be_huge_is_not_answered() {
        let answered = |name: &str, length: usize| {
            let value = "x".repeat(length);
            let request = format!("<iq xmlns='jabber:client' type='get' {name}='{value}'><x xmlns='y'/></iq>");
            reply(&request.parse().unwrap()).is_some()
        };
        assert!(answered("id", 1024) && !answered("id", 1025));
        assert!(answered("from", 3071) && !answered("from", 3072));
    }

    #[test]
    fn presence_has_a_priority_above_zero() {
        assert_eq!(presence().get_child("priority", ns::CLIENT).unwrap().text(), "1");
    }
}
