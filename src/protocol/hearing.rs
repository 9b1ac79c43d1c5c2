//! What is known of an account's messages before they are read: who it is, and which services write to it.
//!
//! Must not decide whether a message is believed: see [`super::admission`].

use std::sync::Arc;

use xmpp_parsers::jid::{FullJid, Jid};

use crate::domain::service::{Service, ServiceKind};

/// Who listens, and to whom.
#[derive(Clone, Debug)]
pub struct Hearing {
    own: Option<FullJid>,
    services: Arc<[Service]>,
}

impl Hearing {
    /// For `own`, who uses these services.
    #[must_use]
    pub fn new(own: FullJid, services: Arc<[Service]>) -> Self {
        Self { own: Some(own), services }
    }

    /// Listens to these services from now on.
    pub fn listen_to(&mut self, services: Arc<[Service]>) {
        self.services = services;
    }

    /// For somebody who listens to nobody: every sender is a stranger.
    #[must_use]
    pub fn nobody() -> Self {
        Self { own: None, services: Arc::from([]) }
    }

    /// The JID that `text` is, if it is one. Those that stand in nearly every message are not parsed again: a JID is
    /// written in its normal form, and that parses to itself.
    #[must_use]
    pub fn jid(&self, text: &str) -> Option<Jid> {
        if let Some(own) = self.own.as_ref().filter(|own| own.as_str() == text) {
            return Some(own.clone().into());
        }
        match self.services.iter().find(|service| service.jid().as_str() == text) {
            Some(service) => Some(service.jid().clone().into()),
            None => Jid::new(text).ok(),
        }
    }

    /// What the items of this sender are, if it is a service of the account.
    #[must_use]
    pub fn kind_of(&self, from: &Jid) -> Option<ServiceKind> {
        let sender = self.services.iter().find(|service| service.jid().as_str() == from.as_str());
        sender.map(Service::kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_jid_is_what_parsing_it_gives() {
        let own = FullJid::new("Front@ACME.test/Router é").unwrap();
        let services: Arc<[_]> =
            ["active-calls", "voicemail"].map(|name| Service::new(name, "XMPP.test").unwrap()).into();
        let hearing = Hearing::new(own.clone(), services);
        for text in [
            own.as_str(),
            "Front@ACME.test/Router é",
            "pubsub.active-calls.xmpp.test",
            "PubSub.active-calls.xmpp.test",
            "pubsub.active-calls.xmpp.test/x",
            "evil.test",
            "a@",
            "",
        ] {
            assert_eq!(hearing.jid(text), Jid::new(text).ok(), "{text:?}");
        }
    }

    #[test]
    fn only_the_service_itself_has_a_kind() {
        let services: Arc<[_]> = Arc::from([Service::new("active-calls", "xmpp.test").unwrap()]);
        let hearing = Hearing::new(FullJid::new("a@b/c").unwrap(), services);
        let kind = |text: &str| hearing.kind_of(&Jid::new(text).unwrap());
        assert_eq!(kind("pubsub.active-calls.xmpp.test"), Some(ServiceKind::Calls));
        assert_eq!(kind("PUBSUB.active-calls.xmpp.test"), Some(ServiceKind::Calls));
        for stranger in ["pubsub.active-calls.xmpp.test/x", "x@pubsub.active-calls.xmpp.test", "evil.test"] {
            assert_eq!(kind(stranger), None, "{stranger}");
        }
    }
}
