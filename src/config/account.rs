//! One `[accounts.NAME]` section, from the settings.

use std::collections::BTreeMap;

use xmpp_parsers::jid::ResourcePart;

use super::address::{JID, NODE, RESOURCE, SERVICE, SIP_ADDRESS, carried_by_xml};
use super::{Account, Onsip};
use crate::domain::host;
use crate::domain::name::{AccountName, NodeName};
use crate::domain::service::{CALLS, KNOWN, Service};
use crate::settings::check::nearest;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

impl Account {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key { name: "jid", kind: Kind::Text(JID), absent: Absent::Refused, help: "Bare JID to log in as." },
        Key {
            name: "password",
            kind: Kind::Secret,
            absent: Absent::Refused,
            help: "Password of the log-in and of authorize-plain.",
        },
        Key {
            name: "resource",
            kind: Kind::Text(RESOURCE),
            absent: Absent::Fine,
            help: "XMPP resource to bind; by default `instance`.",
        },
        Key {
            name: "sip_address",
            kind: Kind::Text(SIP_ADDRESS),
            absent: Absent::Fine,
            help: "SIP address to authorize, user@domain; by default the JID.",
        },
        Key {
            name: "auth_for_all",
            kind: Kind::Flag,
            absent: Absent::Default("false"),
            help: "Whether to authorize all addresses of the same owner.",
        },
        Key {
            name: "enabled",
            kind: Kind::Flag,
            absent: Absent::Default("true"),
            help: "Whether the account runs at all.",
        },
        Key {
            name: "subscribe",
            kind: Kind::Lists { name: SERVICE, item: NODE },
            absent: Absent::Fine,
            help: "Nodes to subscribe to, by short service name; the whole list if present, \
                   by default active-calls = [\"/me/<bare jid>\"].",
        },
    ];

    /// Whether `other` is the same but for what it subscribes to.
    #[must_use]
    pub fn differs_in_nodes_alone(&self, other: &Self) -> bool {
        Self { subscribe: other.subscribe.clone(), ..self.clone() } == *other
    }

    /// Reads the section at `path`.
    pub fn read(
        section: &Section<'_>,
        path: &Path,
        instance: Option<&str>,
        onsip: Option<&Onsip>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let jid = section.get("jid").map(host::jid_in_unicode);
        let password = section.secret("password", path, problems);
        if let Some(Err(message)) = password.as_ref().map(|password| carried_by_xml(password.expose())) {
            problems.add(path.join("password"), message);
        }
        let resource = section.get("resource").or_else(|| instance.map(str::to_owned));
        // Two spellings of one resource are one resource.
        let resource = resource.and_then(|text| ResourcePart::new(&text).ok().map(|part| part.to_string()));
        let written = section.lists("subscribe");
        let own = jid.as_ref().map(|jid| format!("/me/{jid}"));
        let within = path.join("subscribe");
        if let Some(lists) = &written {
            look_over(lists, own.as_deref(), &within, problems);
        }
        let subscribe = match (own, written, onsip) {
            (_, Some(lists), Some(onsip)) => subscribe(lists, onsip, &within, problems),
            (Some(own), None, Some(onsip)) if !section.has("subscribe") => {
                subscribe(BTreeMap::from([(CALLS.to_owned(), vec![own])]), onsip, &within, problems)
            }
            _ => None,
        };
        let jid = jid?;
        Some(Self {
            password: password?,
            resource: resource?,
            sip_address: section.get("sip_address").unwrap_or_else(|| jid.to_string()),
            auth_for_all: section.get("auth_for_all")?,
            enabled: section.get("enabled")?,
            subscribe: subscribe?,
            jid,
        })
    }
}

fn subscribe(
    lists: BTreeMap<String, Vec<String>>,
    onsip: &Onsip,
    path: &Path,
    problems: &mut Problems,
) -> Option<Vec<(Service, Vec<NodeName>)>> {
    if lists.is_empty() {
        problems.add(path, "names no service; leave it out for the default, or say `enabled = false`");
    }
    let each = lists.into_iter().map(|(name, nodes)| {
        let service = Service::new(&name, &onsip.services_domain);
        let service = service.map_err(|fault| problems.add(path.join(&name), format_args!("is no service: {fault}")));
        Some((service.ok()?, nodes.into_iter().map(NodeName::from).collect()))
    });
    each.collect()
}

/// Finds services that nobody knows, and says where a list leaves out what the account has by default.
fn look_over(lists: &BTreeMap<String, Vec<String>>, own: Option<&str>, path: &Path, problems: &mut Problems) {
    for name in lists.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        if let Some(meant) = nearest(name, &KNOWN) {
            problems.add(path.join(name), format_args!("unknown service; the nearest known one is `{meant}`"));
        } else {
            let known: Vec<_> = KNOWN.iter().map(|known| format!("`{known}`")).collect();
            let text = "is none of the services that OnSIP is known to have, which are";
            problems.note(path.join(name), format_args!("{text} {}; is it spelt right?", known.join(", ")));
        }
    }
    if let Some(own) = own
        && !lists.is_empty()
        && lists.get(CALLS).is_none_or(|nodes| nodes.iter().all(|node| node != own))
    {
        let text = "is the whole list, and leaves out what is subscribed to without it: add";
        problems.note(path, format_args!("{text} {CALLS} = [{own:?}] if its calls are wanted"));
    }
}

/// Two accounts under one full JID would throw each other out, over and over.
pub fn distinct(accounts: &BTreeMap<AccountName, Account>, problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (name, account) in accounts.iter().filter(|(_, account)| account.enabled) {
        if let Some(first) = seen.insert((account.jid.as_str(), account.resource.as_str()), name) {
            let path = Path::default().join("accounts").join(name.as_str()).join("jid");
            let message = "has the same JID and resource as accounts.";
            problems.add(path, format_args!("{message}{first}; give one of them another `resource`"));
        }
    }
}
