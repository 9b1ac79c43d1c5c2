//! The PubSub services of OnSIP: a short name and the JID it stands for (protocol sheet section 2).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use xmpp_parsers::jid::{BareJid, Jid};

/// Short name of the service of calls.
pub const CALLS: &str = "active-calls";

/// Short names of the services that OnSIP is known to have (protocol sheet section 2). There may be others.
pub const KNOWN: [&str; 6] = [CALLS, "user-agents", "voicemail", "directories", "recent-calls", "preferences"];

/// What the events of a service are (interface section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// `active-calls`: an item is a leg of a call.
    Calls,
    /// `user-agents`: an item is a registered phone.
    Registrations,
    /// Everything else: an item is passed on whole.
    Items,
}

impl ServiceKind {
    /// What the events of the service with this short name are.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            CALLS => Self::Calls,
            "user-agents" => Self::Registrations,
            _ => Self::Items,
        }
    }

    /// Whether its items are what is going on now, so that those that are gone are over; else they are kept for years.
    #[must_use]
    pub fn comes_and_goes(self) -> bool {
        match self {
            Self::Calls | Self::Registrations => true,
            Self::Items => false,
        }
    }
}

/// One PubSub service: its short name (`active-calls`), used in configuration, labels and events, and its JID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    name: Arc<str>,
    jid: BareJid,
}

impl Service {
    /// The service `name` below `services_domain`: `pubsub.<name>.<services_domain>`.
    ///
    /// # Errors
    /// If the two do not make a JID.
    pub fn new(name: &str, services_domain: &str) -> Result<Self, xmpp_parsers::jid::Error> {
        let jid = BareJid::new(&format!("pubsub.{name}.{services_domain}"))?;
        Ok(Self { name: name.into(), jid })
    }

    /// The short name, e.g. `active-calls`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The JID requests go to and notifications come from.
    #[must_use]
    pub fn jid(&self) -> &BareJid {
        &self.jid
    }

    /// Whether `from` is exactly this service.
    #[must_use]
    pub fn is(&self, from: &Jid) -> bool {
        from.resource().is_none() && from.to_bare() == self.jid
    }

    /// What its events are.
    #[must_use]
    pub fn kind(&self) -> ServiceKind {
        ServiceKind::named(&self.name)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}
