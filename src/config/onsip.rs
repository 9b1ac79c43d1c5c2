//! The `[onsip]` section, from the settings.

use std::time::Duration;

use super::Onsip;
use super::address::{SERVICES_DOMAIN, auth};
use crate::domain::{BareJid, host};
use crate::protocol::legs::Ages;
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

impl Onsip {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "services_domain",
            kind: Kind::Text(SERVICES_DOMAIN),
            absent: Absent::Default("xmpp.onsip.com"),
            help: "Domain of the services: pubsub.active-calls.<this>, commands.auth.<this>, ...",
        },
        Key {
            name: "authorize",
            kind: Kind::Flag,
            absent: Absent::Default("true"),
            help: "Whether to run authorize-plain after log-in.",
        },
        Key {
            name: "subscription_lease",
            // pubsub#expire is a date with seconds.
            kind: Kind::Duration { min: Duration::from_secs(1) },
            absent: Absent::Default("2h"),
            help: "Lease asked for with a new or renewed subscription (pubsub#expire).",
        },
        Key {
            name: "approval_timeout",
            kind: Kind::Duration { min: Duration::from_millis(1) },
            absent: Absent::Default("30s"),
            help: "How long to wait for `subscribed` or `none` after `pending`.",
        },
        Key {
            name: "resync",
            kind: Kind::Flag,
            absent: Absent::Default("true"),
            help: "Whether to ask for the live calls and registrations once events can arrive again: what is missing ends.",
        },
        Key {
            name: "stale_ringing",
            kind: Kind::Duration { min: Duration::from_secs(1) },
            absent: Absent::Default("10m"),
            help: "Without news for so long, a leg of a call that nobody answered ends as `stale`.",
        },
        Key {
            name: "stale_answered",
            kind: Kind::Duration { min: Duration::from_secs(1) },
            absent: Absent::Default("12h"),
            help: "Without news for so long, an answered leg of a call ends as `stale`.",
        },
        Key {
            name: "probe_interval",
            kind: Kind::Duration { min: Duration::from_secs(1) },
            absent: Absent::Default("5m"),
            help: "How often an active subscription is looked up at the service, at the latest.",
        },
        Key {
            name: "unsubscribe_on_stop",
            kind: Kind::Flag,
            absent: Absent::Default("false"),
            help: "Whether a clean stop, or a reload that removes or disables an account, unsubscribes; \
                   by default subscriptions are kept and used again.",
        },
    ];

    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Option<Self> {
        let services_domain = host::unicode(&section.get::<String>("services_domain")?);
        Some(Self {
            auth: BareJid::new(&auth(&services_domain)).ok()?,
            authorize: section.get("authorize")?,
            subscription_lease: section.duration("subscription_lease")?,
            approval_timeout: section.duration("approval_timeout")?,
            resync: section.get("resync")?,
            stale: Ages { ringing: section.duration("stale_ringing")?, answered: section.duration("stale_answered")? },
            probe_interval: section.duration("probe_interval")?,
            unsubscribe_on_stop: section.get("unsubscribe_on_stop")?,
            services_domain,
        })
    }

    /// Whether a running account may go on under `new`: what only matters at its end may differ.
    #[must_use]
    pub fn runs_on_under(&self, new: &Self) -> bool {
        Self { unsubscribe_on_stop: new.unsubscribe_on_stop, ..self.clone() } == *new
    }
}
