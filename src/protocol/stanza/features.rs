//! What a server offers at the beginning of a stream (RFC 6120 section 4.3.2).

use minidom::Element;

use super::{greeting, ns};
use crate::domain::limits::{MECHANISM_BYTES, MECHANISMS};

/// The offers that a client of ours takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an offer of its own")]
pub struct Features {
    /// Encryption (RFC 6120 section 5).
    pub tls: bool,
    /// The names of the log-in mechanisms (RFC 6120 section 6.3.3).
    pub mechanisms: Vec<String>,
    /// Resource binding (RFC 6120 section 7).
    pub binding: bool,
    /// Whether a session must be asked for after that.
    pub session: bool,
    /// Stream management (XEP-0198).
    pub management: bool,
}

impl Features {
    /// Reads the element, if it is that. What is not known is passed over.
    #[must_use]
    pub fn read(element: &Element) -> Option<Self> {
        let mechanisms = element.get_child("mechanisms", ns::SASL).into_iter().flat_map(Element::children);
        element.is("features", ns::STREAM).then(|| Self {
            tls: element.has_child("starttls", ns::TLS),
            mechanisms: mechanisms
                .filter(|child| child.is("mechanism", ns::SASL))
                .map(Element::text)
                .filter(|name| name.len() <= MECHANISM_BYTES)
                .take(MECHANISMS)
                .collect(),
            binding: element.has_child("bind", ns::BIND),
            session: element.children().any(greeting::demands_session),
            management: element.has_child("sm", ns::MANAGEMENT),
        })
    }
}

/// The request to go on encrypted (RFC 6120 section 5.4.2.1).
#[must_use]
pub fn start_tls() -> Element {
    Element::bare("starttls", ns::TLS)
}

/// Whether the server consents to it.
#[must_use]
pub fn proceeds_with_tls(element: &Element) -> bool {
    element.is("proceed", ns::TLS)
}

/// The request for a resource (RFC 6120 section 7.7.1).
#[must_use]
pub fn bind(id: &str, resource: &str) -> Element {
    use super::WithAttribute as _;
    let resource = Element::builder("resource", ns::BIND).append(resource).build();
    let bind = Element::builder("bind", ns::BIND).append(resource).build();
    Element::builder("iq", ns::CLIENT).with("type", "set").with("id", id).append(bind).build()
}

/// The full JID that an answer to it gives, as written.
#[must_use]
pub fn bound(answer: &Element) -> Option<String> {
    let bind = answer.children().find(|child| child.name() == "bind")?;
    Some(bind.children().find(|child| child.name() == "jid")?.text().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_found_among_what_is_unknown() {
        let features: Element = "<features xmlns='http://etherx.jabber.org/streams'><surprise xmlns='x'/>\
             <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
             <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism>X</mechanism>\
             <hostname xmlns='y'>z</hostname></mechanisms><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
             <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/><sm xmlns='urn:xmpp:sm:3'/></features>"
            .parse()
            .unwrap();
        let mechanisms = vec!["PLAIN".to_owned(), "X".to_owned()];
        let all = Features { tls: true, mechanisms, binding: true, session: true, management: true };
        assert_eq!(Features::read(&features), Some(all));
        let none: Element = "<features xmlns='http://etherx.jabber.org/streams'/>".parse().unwrap();
        assert_eq!(Features::read(&none), Some(Features::default()));
        assert_eq!(Features::read(&"<features xmlns='jabber:client'/>".parse().unwrap()), None);
    }

    #[test]
    fn the_bound_jid_is_read_from_the_answer() {
        let answer: Element = "<iq xmlns='jabber:client' type='result' id='bind'>\
             <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid> a@b/c </jid></bind></iq>"
            .parse()
            .unwrap();
        assert_eq!(bound(&answer).as_deref(), Some("a@b/c"));
        assert_eq!(bound(&"<iq xmlns='jabber:client'/>".parse().unwrap()), None);
        let request = bind("bind", "router");
        assert_eq!(
            request.get_child("bind", ns::BIND).unwrap().get_child("resource", ns::BIND).unwrap().text(),
            "router"
        );
    }
}
