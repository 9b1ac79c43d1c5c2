//! Whether a message may be believed: who sent it, and to whom (protocol sheet section 17, rule 18).
//!
//! The service falls back to other resources of an account when the subscribed one is offline, so a message can reach
//! us that was meant for somebody else (protocol sheet section 7.4).

use xmpp_parsers::jid::FullJid;

use super::notification::Notification;
use crate::domain::name::{AccountName, JidDomain, NodeName, Subid};
use crate::domain::service::Service;
use crate::domain::status::RejectReason;

/// What an account receives, and as whom.
#[derive(Clone, Debug)]
pub struct Reception {
    /// The account.
    pub account: AccountName,
    /// The domain of its JID as it is configured: what a server calls us when it binds a resource proves nothing.
    pub domain: JidDomain,
    /// The bound full JID, as the server gave it.
    pub own: FullJid,
    /// The services this account uses.
    pub services: Vec<Service>,
    /// Its own subscriptions, where the subid is known: service, node, subid.
    pub subids: Vec<(Service, NodeName, Subid)>,
}

impl Reception {
    /// The service that sent `note`, if the message is for us.
    ///
    /// # Errors
    /// [`RejectReason::UnexpectedSender`] if `from` is no service of this account, [`RejectReason::ForeignResource`] if
    /// `to` is not exactly our full JID.
    pub fn admit(&self, note: &Notification) -> Result<&Service, RejectReason> {
        let service = note
            .from
            .as_ref()
            .and_then(|from| self.services.iter().find(|service| service.is(from)))
            .ok_or(RejectReason::UnexpectedSender)?;
        let ours = note.to.as_ref().is_some_and(|to| to.as_str() == self.own.as_str());
        if ours { Ok(service) } else { Err(RejectReason::ForeignResource) }
    }

    /// The subid of our own subscription that an event of `leaf` must have come through, where no header says so.
    #[must_use]
    pub fn subid(&self, service: &Service, leaf: &NodeName, collection: Option<&NodeName>) -> Option<&Subid> {
        let ours = || self.subids.iter().filter(|(of, _, _)| of == service);
        let named = ours().find(|(_, node, _)| Some(node) == collection || node == leaf);
        let only = || ours().next().filter(|_| ours().count() == 1);
        named.or_else(only).map(|(_, _, subid)| subid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xmpp_parsers::jid::Jid;

    fn reception() -> Reception {
        Reception {
            account: "front".parse().unwrap(),
            domain: "acme.test".into(),
            own: FullJid::new("front@acme.test/router").unwrap(),
            services: vec![Service::new("active-calls", "xmpp.test").unwrap()],
            subids: Vec::new(),
        }
    }

    fn verdict(from: &str, to: &str) -> Result<(), RejectReason> {
        let note =
            Notification { from: Jid::new(from).ok(), to: Jid::new(to).ok(), malformed: 0, ..Notification::default() };
        reception().admit(&note).map(|_| ())
    }

    const SERVICE: &str = "pubsub.active-calls.xmpp.test";

    #[test]
    fn only_our_own_full_jid_is_ours() {
        assert_eq!(verdict(SERVICE, "front@acme.test/router"), Ok(()));
        assert_eq!(verdict(SERVICE, "Front@ACME.test/router"), Ok(()), "local part and domain fold case");
        for foreign in
            ["front@acme.test/Router", "front@acme.test/other", "front@acme.test", "back@acme.test/router", ""]
        {
            assert_eq!(verdict(SERVICE, foreign), Err(RejectReason::ForeignResource), "{foreign:?}");
        }
    }

    #[test]
    fn only_a_service_of_the_account_is_believed() {
        for stranger in [
            "evil.test",
            "pubsub.active-calls.xmpp.test/x",
            "a@pubsub.active-calls.xmpp.test",
            "pubsub.voicemail.xmpp.test",
            "",
        ] {
            assert_eq!(
                verdict(stranger, "front@acme.test/router"),
                Err(RejectReason::UnexpectedSender),
                "{stranger:?}"
            );
        }
    }

    #[test]
    fn the_own_subid_is_found_by_collection_or_leaf_or_as_the_only_one() {
        let mut reception = reception();
        let service = reception.services[0].clone();
        reception.subids.push((service.clone(), "/me/x".into(), "A".into()));
        assert_eq!(reception.subid(&service, &"/acme/x".into(), None), Some(&"A".into()));
        reception.subids.push((service.clone(), "/acme/y".into(), "B".into()));
        assert_eq!(reception.subid(&service, &"/acme/y".into(), None), Some(&"B".into()));
        assert_eq!(reception.subid(&service, &"/acme/x".into(), Some(&"/me/x".into())), Some(&"A".into()));
        assert_eq!(reception.subid(&service, &"/acme/x".into(), None), None);
    }
}
