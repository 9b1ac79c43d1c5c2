//! What the service answers, read leniently.

use std::fmt;

use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::{condition_name, ns};
use crate::domain::limits::{
    ADDRESS_BYTES, AUTHORIZED_ADDRESSES, CONDITION_BYTES, JID_BYTES, REDIRECT_BYTES, SUBID_BYTES, cut,
};
use crate::domain::name::Subid;

/// An error answer, by its condition names only.
///
/// Neither the text nor the echoed request is kept: the service echoes passwords (protocol sheet section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The defined condition (RFC 6120 section 8.3.3), e.g. `not-authorized`.
    pub condition: String,
    /// The specific condition of XEP-0060 or XEP-0050, e.g. `pending-subscription`.
    pub specific: Option<String>,
    /// Whether the error is of type `wait`: the same request may succeed later.
    pub wait: bool,
    /// Where `redirect` or `gone` points.
    pub target: Option<String>,
}

impl Refusal {
    /// Reads an IQ of type `error`; `error` is found by name, since the request may be echoed before it.
    #[must_use]
    pub fn read(iq: &Element) -> Self {
        let error = iq.children().find(|child| child.name() == "error");
        let conditions = || error.into_iter().flat_map(Element::children);
        let defined = conditions().find(|c| c.has_ns(ns::XMPP_STANZAS) && c.name() != "text");
        let specific = conditions().find(|c| c.has_ns(ns::PUBSUB_ERRORS) || c.has_ns(ns::COMMANDS));
        let target = defined.filter(|c| matches!(c.name(), "redirect" | "gone")).map(Element::text);
        Self {
            condition: condition_name(defined.map_or("undefined-condition", Element::name)),
            specific: specific.map(|c| condition_name(c.name())),
            wait: error.and_then(|e| e.attr("type")) == Some("wait"),
            target: target.map(|t| t.trim().to_owned()).filter(|t| (1..=REDIRECT_BYTES).contains(&t.len())),
        }
    }

    /// Whether this condition is named, defined or specific.
    #[must_use]
    pub fn is(&self, condition: &str) -> bool {
        self.condition == condition || self.specific.as_deref() == Some(condition)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.specific {
            Some(specific) => write!(f, "{} ({specific})", self.condition),
            None => f.write_str(&self.condition),
        }
    }
}

/// One line of a list of subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who holds it: exactly as the service wrote it.
    pub jid: String,
    /// Its id.
    pub subid: Option<Subid>,
    /// `subscribed`, `pending`, `unconfigured` or `none`.
    pub state: String,
}

impl Listed {
    /// Reads the answer to a list request. All resources of the bare JID and all states stand in it; the node, asked
    /// for in the request, is not repeated (protocol sheet section 6.1).
    #[must_use]
    pub fn read(iq: &Element) -> Vec<Self> {
        let list = iq.get_child("pubsub", ns::PUBSUB).and_then(|p| p.get_child("subscriptions", ns::PUBSUB));
        list.into_iter()
            .flat_map(Element::children)
            .filter(|child| child.is("subscription", ns::PUBSUB))
            .map(|child| Self {
                jid: cut(child.attr("jid").unwrap_or_default(), JID_BYTES),
                subid: child.attr("subid").and_then(subid),
                state: cut(child.attr("subscription").unwrap_or("subscribed"), CONDITION_BYTES),
            })
            .collect()
    }

    /// Whether it is held by exactly `own`, resource included.
    #[must_use]
    pub fn is_of(&self, own: &FullJid) -> bool {
        self.jid == own.as_str() || FullJid::new(&self.jid).is_ok_and(|jid| jid == *own)
    }
}

/// The answer to a subscribe request (protocol sheet section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeReply {
    /// `pending` as a rule; an answer without a state counts as `pending` too: the message decides.
    pub state: String,
    /// The id, if it is given already.
    pub subid: Option<Subid>,
}

impl SubscribeReply {
    /// Reads the answer to a subscribe request.
    #[must_use]
    pub fn read(iq: &Element) -> Self {
        let reply = iq.get_child("pubsub", ns::PUBSUB).and_then(|p| p.get_child("subscription", ns::PUBSUB));
        Self {
            state: cut(reply.and_then(|r| r.attr("subscription")).unwrap_or("pending"), CONDITION_BYTES),
            subid: reply.and_then(|r| r.attr("subid")).and_then(subid),
        }
    }
}

/// What `authorize-plain` granted (protocol sheet section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Until when, by the server's clock; absent where it said nothing readable.
    pub expires: Option<Timestamp>,
    /// Every address that is covered.
    pub addresses: Vec<String>,
}

/// Whether an `authorize-plain` reply is a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// It is.
    Yes(Grant),
    /// The command did not complete: another stage, or an error note.
    No,
}

impl Granted {
    /// Reads the answer to `authorize-plain`. `sip` fields are repeated, one per address.
    #[must_use]
    pub fn read(iq: &Element) -> Self {
        let Some(command) = iq.get_child("command", ns::COMMANDS) else { return Self::No };
        let failed = command.children().any(|c| c.name() == "note" && c.attr("type") == Some("error"));
        if failed || command.attr("status").is_some_and(|status| status != "completed") {
            return Self::No;
        }
        let fields: Vec<_> = command
            .get_child("x", ns::DATA_FORMS)
            .into_iter()
            .flat_map(Element::children)
            .filter(|field| field.is("field", ns::DATA_FORMS))
            .collect();
        let values = |var: &'static str| {
            fields
                .iter()
                .filter(move |field| field.attr("var") == Some(var))
                .flat_map(|field| field.children().filter(|v| v.name() == "value"))
                .map(|value| value.text().trim().to_owned())
                .filter(|value| (1..=ADDRESS_BYTES).contains(&value.len()))
        };
        let expires = values("expires").find_map(|text| text.parse().ok());
        Self::Yes(Grant { expires, addresses: values("sip").take(AUTHORIZED_ADDRESSES).collect() })
    }
}

/// An id that can be used.
fn subid(text: &str) -> Option<Subid> {
    (1..=SUBID_BYTES).contains(&text.len()).then(|| Subid::from(text))
}

/// The UTC an entity answered when it was asked for the time (XEP-0202); the zone it lives in does not matter.
#[must_use]
pub fn time(iq: &Element) -> Option<Timestamp> {
    iq.get_child("time", ns::TIME)?.get_child("utc", ns::TIME)?.text().trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iq(inner: &str) -> Element {
        format!("<iq xmlns='jabber:client' type='result' id='1'>{inner}</iq>").parse().unwrap()
    }

    #[test]
    fn the_error_is_found_behind_an_echoed_request_and_keeps_no_password() {
        let refusal = Refusal::read(&iq("<command xmlns='http://jabber.org/protocol/commands'>\
             <x xmlns='jabber:x:data'><field var='password'><value>hunter2</value></field></x></command>\
             <error type='modify' code='400'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Execution Errors; hunter2</text>\
             <bad-action xmlns='http://jabber.org/protocol/commands'/></error>"));
        assert_eq!(refusal.to_string(), "bad-request (bad-action)");
        assert!(!format!("{refusal:?}").contains("hunter2"));
    }

    #[test]
    fn c9_what_a_service_calls_an_error_is_cut_where_it_is_read() {
        let (long, cut) = ("x".repeat(5_000), format!("{}…", "x".repeat(CONDITION_BYTES)));
        let refusal = Refusal::read(&iq(&format!(
            "<error><{long} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>y</{long}>\
             <{long} xmlns='http://jabber.org/protocol/pubsub#errors'/></error>"
        )));
        assert_eq!((refusal.condition.as_str(), refusal.specific.as_deref()), (cut.as_str(), Some(cut.as_str())));
        let refusal = Refusal::read(&iq(&format!(
            "<error><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a?;node={long}</gone></error>"
        )));
        assert_eq!((refusal.condition.as_str(), refusal.target), ("gone", None));
    }

    #[test]
    fn c9_what_a_service_answers_is_cut_where_it_is_read() {
        let long = "x".repeat(5_000);
        let pubsub = "http://jabber.org/protocol/pubsub";
        let listed = Listed::read(&iq(&format!(
            "<pubsub xmlns='{pubsub}'><subscriptions><subscription jid='{long}' subid='{long}' subscription='{long}'/>\
             </subscriptions></pubsub>"
        )));
        assert!(listed[0].jid.len() < 4000 && listed[0].state.len() < 100 && listed[0].subid.is_none());
        let reply = SubscribeReply::read(&iq(&format!(
            "<pubsub xmlns='{pubsub}'><subscription subid='{long}' subscription='{long}'/></pubsub>"
        )));
        assert!(reply.state.len() < 100 && reply.subid.is_none());
        let granted = Granted::read(&iq(&format!(
            "<command xmlns='http://jabber.org/protocol/commands' status='completed'><x xmlns='jabber:x:data'>\
             <field var='sip'><value>{long}</value></field><field var='sip'><value>a@b</value></field></x></command>"
        )));
        assert_eq!(granted, Granted::Yes(Grant { expires: None, addresses: vec!["a@b".to_owned()] }));
    }

    #[test]
    fn a_list_is_read_whole_and_only_the_exact_full_jid_is_ours() {
        let listed = Listed::read(&iq("<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscriptions>\
             <subscription subscription='subscribed' subid='508B107D93C38' jid='j@e.com/newyorkcity'/>\
             <subscription subscription='pending' jid='j@e.com/boston'/></subscriptions></pubsub>"));
        assert_eq!(listed.len(), 2);
        let own = FullJid::new("j@e.com/newyorkcity").unwrap();
        assert!(listed[0].is_of(&own) && !listed[1].is_of(&own));
        assert_eq!((listed[1].state.as_str(), &listed[1].subid), ("pending", &None));
    }

    #[test]
    fn a_pending_reply_needs_neither_node_nor_subid() {
        let reply = SubscribeReply::read(&iq("<pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <subscription subscription='pending' jid='a@b/c'/></pubsub>"));
        assert_eq!(reply, SubscribeReply { state: "pending".into(), subid: None });
    }

    /// Rule 6.
    #[test]
    fn every_repeated_sip_field_counts() {
        let granted = Granted::read(&iq("<command xmlns='http://jabber.org/protocol/commands' status='completed' \
             node='authorize-plain'><note type='info'>prose</note><x xmlns='jabber:x:data' type='result'>\
             <field type='fixed' var='expires'><value>2012-11-13T16:09:58Z</value></field>\
             <field type='fixed' var='sip'><value>a@x.y</value></field>\
             <field type='fixed' var='sip'><value>b@x.y</value></field></x></command>"));
        let Granted::Yes(grant) = granted else { unreachable!("{granted:?}") };
        assert_eq!(grant.addresses, ["a@x.y", "b@x.y"]);
        assert_eq!(grant.expires, Some("2012-11-13T16:09:58Z".parse().unwrap()));
    }

    #[test]
    fn the_time_is_read_from_its_utc() {
        let told = |utc: &str| iq(&format!("<time xmlns='urn:xmpp:time'><tzo>-06:00</tzo><utc>{utc}</utc></time>"));
        assert_eq!(time(&told(" 2006-12-19T17:58:35Z ")), Some("2006-12-19T17:58:35Z".parse().unwrap()));
        assert_eq!((time(&told("soon")), time(&iq(""))), (None, None));
    }

    #[test]
    fn a_command_that_did_not_complete_is_no_grant() {
        assert_eq!(
            Granted::read(&iq("<command xmlns='http://jabber.org/protocol/commands' status='executing'/>")),
            Granted::No
        );
        assert_eq!(Granted::read(&iq("")), Granted::No);
    }
}
