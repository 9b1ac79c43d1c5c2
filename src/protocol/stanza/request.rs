//! The requests we make, as IQ stanzas.

use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::{BareJid, FullJid};

use super::{WithAttribute, ns};
use crate::domain::event::rfc3339;
use crate::domain::name::{NodeName, Subid};
use crate::domain::secret::Secret;

/// Something to ask a component for. Every subscription request but one is about our own full JID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `authorize-plain` (protocol sheet section 4).
    Authorize {
        /// `user@domain`, without `sip:`.
        sip_address: String,
        /// Portal password of the owner of the address.
        password: Secret,
        /// The JID to authorize.
        jid: BareJid,
        /// Whether all other addresses of the same owner are meant too.
        auth_for_all: bool,
    },
    /// List the subscriptions to a node (XEP-0060 section 5.6).
    List {
        /// The node.
        node: NodeName,
    },
    /// Which items are there now (XEP-0060 section 6.5; protocol sheet section 6.9)?
    Items {
        /// The node; of a collection, the items of all its leaves.
        node: NodeName,
    },
    /// Subscribe with all options set (XEP-0060 section 6.1; protocol sheet section 6.2).
    Subscribe {
        /// The node.
        node: NodeName,
        /// End of the lease.
        expire: Timestamp,
    },
    /// Set all options anew, which renews the lease (protocol sheet section 6.4).
    Renew {
        /// The node.
        node: NodeName,
        /// Which subscription, if it has an id.
        subid: Option<Subid>,
        /// End of the new lease.
        expire: Timestamp,
    },
    /// Unsubscribe (XEP-0060 section 6.2).
    Unsubscribe {
        /// The node.
        node: NodeName,
        /// Which subscription; without it there must be exactly one.
        subid: Option<Subid>,
    },
    /// Unsubscribe what we made under another resource of our own JID.
    UnsubscribeOther {
        /// The node.
        node: NodeName,
        /// Who holds it.
        jid: FullJid,
        /// Which subscription.
        subid: Subid,
    },
}

impl Request {
    /// The same request with the end of its lease, if it has one, put into another clock's words.
    #[must_use]
    pub fn with_expire(mut self, told: impl FnOnce(Timestamp) -> Timestamp) -> Self {
        if let Self::Subscribe { expire, .. } | Self::Renew { expire, .. } = &mut self {
            *expire = told(*expire);
        }
        self
    }
}

/// The IQ stanza of `request`, sent by `own` to the component `to`.
#[must_use]
pub fn iq(id: &str, to: &BareJid, own: &FullJid, request: &Request) -> Element {
    let (kind, payload) = match request {
        Request::Authorize { sip_address, password, jid, auth_for_all } => {
            ("set", authorize(sip_address, password, jid, *auth_for_all))
        }
        Request::List { node } => {
            ("get", pubsub([Element::builder("subscriptions", ns::PUBSUB).with("node", node.as_str()).build()]))
        }
        Request::Items { node } => {
            ("get", pubsub([Element::builder("items", ns::PUBSUB).with("node", node.as_str()).build()]))
        }
        Request::Subscribe { node, expire } => {
            let subscribe = Element::builder("subscribe", ns::PUBSUB).with("node", node.as_str());
            let options = Element::builder("options", ns::PUBSUB).append(subscribe_options(*expire));
            ("set", pubsub([subscribe.with("jid", own.as_str()).build(), options.build()]))
        }
        Request::Renew { node, subid, expire } => {
            let options = named("options", node, subid.as_ref(), own).append(subscribe_options(*expire));
            ("set", pubsub([options.build()]))
        }
        Request::Unsubscribe { node, subid } => {
            ("set", pubsub([named("unsubscribe", node, subid.as_ref(), own).build()]))
        }
        Request::UnsubscribeOther { node, jid, subid } => {
            ("set", pubsub([named("unsubscribe", node, Some(subid), jid).build()]))
        }
    };
    Element::builder("iq", ns::CLIENT).with("type", kind).with("id", id).with("to", to.as_str()).append(payload).build()
}

fn pubsub<const N: usize>(children: [Element; N]) -> Element {
    Element::builder("pubsub", ns::PUBSUB).append_all(children).build()
}

fn named(name: &'static str, node: &NodeName, subid: Option<&Subid>, own: &FullJid) -> minidom::ElementBuilder {
    let element = Element::builder(name, ns::PUBSUB).with("node", node.as_str()).with("jid", own.as_str());
    match subid {
        Some(subid) => element.with("subid", subid.as_str()),
        None => element,
    }
}

/// The same complete form for subscribe and renew, because a set replaces all options (protocol sheet section 6.4).
fn subscribe_options(expire: Timestamp) -> Element {
    form([
        field("FORM_TYPE", Some("hidden"), ns::SUBSCRIBE_OPTIONS),
        field("pubsub#subscription_type", None, "items"),
        field("pubsub#subscription_depth", None, "all"),
        field("pubsub#expire", None, &rfc3339(expire)),
    ])
}

fn authorize(sip_address: &str, password: &Secret, jid: &BareJid, auth_for_all: bool) -> Element {
    let form = form([
        field("sip-address", None, sip_address),
        field("password", Some("text-private"), password.expose()),
        field("jid", None, jid.as_str()),
        field("auth-for-all", Some("boolean"), if auth_for_all { "true" } else { "false" }),
    ]);
    Element::builder("command", ns::COMMANDS).with("node", "authorize-plain").append(form).build()
}

fn form<const N: usize>(fields: [Element; N]) -> Element {
    Element::builder("x", ns::DATA_FORMS).with("type", "submit").append_all(fields).build()
}

fn field(var: &str, kind: Option<&str>, value: &str) -> Element {
    let field = Element::builder("field", ns::DATA_FORMS).with("var", var);
    let field = match kind {
        Some(kind) => field.with("type", kind),
        None => field,
    };
    field.append(Element::builder("value", ns::DATA_FORMS).append(value).build()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRE: &str = "2010-11-02T12:00:00Z";

    fn built(request: &Request) -> Element {
        let own = FullJid::new("jgreen@example.onsip.com/newyorkcity").unwrap();
        iq("r1", &BareJid::new("pubsub.active-calls.xmpp.onsip.com").unwrap(), &own, request)
    }

    fn form_of(element: &Element) -> Vec<(String, String)> {
        element
            .get_child("x", ns::DATA_FORMS)
            .unwrap()
            .children()
            .map(|f| (f.attr("var").unwrap().to_owned(), f.get_child("value", ns::DATA_FORMS).unwrap().text()))
            .collect()
    }

    #[test]
    fn a_subscribe_names_the_full_jid_and_sets_every_option() {
        let iq = built(&Request::Subscribe { node: "/me/a@b".into(), expire: EXPIRE.parse().unwrap() });
        let pubsub = iq.get_child("pubsub", ns::PUBSUB).unwrap();
        let names: Vec<_> = pubsub.children().map(Element::name).collect();
        assert_eq!(names, ["subscribe", "options"], "options follow subscribe and have no node or jid of their own");
        let [subscribe, options] = [0, 1].map(|n| pubsub.children().nth(n).unwrap());
        assert_eq!(subscribe.attr("jid"), Some("jgreen@example.onsip.com/newyorkcity"));
        assert_eq!((options.attr("jid"), options.attr("node")), (None, None));
        let form = form_of(options);
        assert!(form.contains(&("pubsub#subscription_depth".into(), "all".into())));
        assert!(form.contains(&("pubsub#subscription_type".into(), "items".into())));
        assert!(form.contains(&("pubsub#expire".into(), "2010-11-02T12:00:00.000000Z".into())));
    }

    #[test]
    fn a_renewal_sends_the_same_form_for_one_subid() {
        let expire = EXPIRE.parse().unwrap();
        let renew = built(&Request::Renew { node: "/n".into(), subid: Some("508B107D93C38".into()), expire });
        let options = renew.get_child("pubsub", ns::PUBSUB).unwrap().get_child("options", ns::PUBSUB).unwrap();
        assert_eq!(options.attr("subid"), Some("508B107D93C38"));
        assert_eq!(options.attr("jid"), Some("jgreen@example.onsip.com/newyorkcity"));
        let subscribe = built(&Request::Subscribe { node: "/n".into(), expire });
        let first = subscribe.get_child("pubsub", ns::PUBSUB).unwrap().get_child("options", ns::PUBSUB).unwrap();
        assert_eq!(form_of(options), form_of(first));
    }

    #[test]
    fn a_request_does_not_show_the_password_in_debug() {
        let request = Request::Authorize {
            sip_address: "a@b.c".into(),
            password: Secret::from("hunter2".to_owned()),
            jid: BareJid::new("a@b.c").unwrap(),
            auth_for_all: false,
        };
        assert!(!format!("{request:?}").contains("hunter2"));
        assert!(String::from(&built(&request)).contains("hunter2"));
    }
}
