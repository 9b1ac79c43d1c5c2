//! From a publish to messages: who gets one, how it looks, and where it goes (protocol sheet section 7).

use std::collections::BTreeMap;
use std::time::Duration;

use super::markup::Tag;
use super::names::{CLIENT, DELAY, PUBSUB_EVENT, SHIM};
use super::node::{Node, collections_over};
use super::switchboard::{Deed, SessionId, Switchboard};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, Jid};

/// Messages kept per account while it is offline.
const MOST_STORED: usize = 100;

/// One thing that happens to a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An item is published: its id and payload (XML text, passed on as it is).
    Item(String, String),
    /// An item is retracted.
    Retract(String),
}

/// What is published at once on one leaf: one message per subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Short name of the service.
    pub service: String,
    /// The leaf.
    pub node: String,
    /// Items and retracts in order.
    pub entries: Vec<Entry>,
}

/// How notifications look and travel.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Style {
    /// Where the SHIM headers stand.
    pub headers: Headers,
    /// Whether messages are `headline`; otherwise they have no type.
    pub headline: bool,
    /// Whether the reply `pending` names its node.
    pub node_in_replies: bool,
    /// Whether an unsubscribe is followed by a `none`.
    pub unsubscribe_echoed: bool,
    /// Whether a message to an absent resource goes to another one of the account.
    pub fall_back: bool,
    /// Whether what nobody can take is kept for the next log-in.
    pub store_offline: bool,
    /// Share of notifications sent twice, 0 to 1.
    pub duplicated: f64,
    /// Share of notifications held back, 0 to 1.
    pub held_back: f64,
    /// How long they are held back.
    pub held_back_for: Duration,
    /// Share of notifications that carry an unrelated retract besides, 0 to 1.
    pub crowded: f64,
    /// Share of approvals that never come, 0 to 1.
    pub forgotten_approvals: f64,
    /// Whether published items are kept, so that they are there for who asks.
    pub items_kept: bool,
    /// Share of approvals that are a refusal, 0 to 1.
    pub denied_approvals: f64,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            headers: Headers::Mixed,
            headline: false,
            node_in_replies: false,
            unsubscribe_echoed: false,
            fall_back: true,
            store_offline: false,
            duplicated: 0.0,
            held_back: 0.0,
            held_back_for: Duration::ZERO,
            crowded: 0.0,
            forgotten_approvals: 0.0,
            items_kept: true,
            denied_approvals: 0.0,
        }
    }
}

/// Where the SHIM headers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Before the event.
    First,
    /// After the event.
    Last,
    /// First and last in turn.
    Mixed,
    /// Nowhere.
    Absent,
}

/// A message under way.
#[derive(Clone, Debug)]
pub(super) struct Notification {
    pub(super) to: Jid,
    pub(super) text: String,
    pub(super) headline: bool,
    /// Whether it is counted: an event, not a change of a subscription.
    pub(super) event: bool,
}

/// What matched for one subscriber: subids, and the collections they were reached through.
#[derive(Default)]
struct Match {
    subids: Vec<String>,
    collections: Vec<String>,
}

impl Switchboard {
    /// Publishes on a leaf: live items change, every subscriber gets one message.
    pub fn publish(&mut self, publication: &Publication, now: Moment) {
        self.observed.published += publication.entries.len() as u64;
        self.hub(&publication.service).apply(&publication.node, &publication.entries);
        let event = if self.dice.chance(self.style.crowded) {
            event_of(&publication.node, &crowd(&publication.entries))
        } else {
            event_of(&publication.node, &publication.entries)
        };
        self.broadcast(&publication.service, &publication.node, &event, now);
    }

    /// What each subscriber would be sent for a publication; nothing happens.
    pub(super) fn rendered(&mut self, publication: &Publication, now: Moment) -> Vec<(Jid, String)> {
        let event = event_of(&publication.node, &publication.entries);
        let subscribers = self.subscribers(&publication.service, &publication.node, now);
        let text = |(to, matched): (Jid, Match)| {
            let text = self.message(&publication.service, &to, &event, &matched);
            (to, text)
        };
        subscribers.into_iter().map(text).collect()
    }

    /// Removes all items of a leaf and says so.
    pub fn purge(&mut self, service: &str, node: &str, now: Moment) {
        self.hub(service).items.remove(node);
        let event = Tag::of("event", PUBSUB_EVENT).child(Tag::new("purge").attr("node", node)).finish();
        self.broadcast(service, node, &event, now);
    }

    fn broadcast(&mut self, service: &str, node: &str, event: &str, now: Moment) {
        for (to, matched) in self.subscribers(service, node, now) {
            let text = self.message(service, &to, event, &matched);
            let headline = self.style.headline;
            let notification = Notification { to, text, headline, event: true };
            if self.dice.chance(self.style.duplicated) {
                self.deliver(&notification, now);
            }
            if self.dice.chance(self.style.held_back) {
                self.schedule(now + self.style.held_back_for, Deed::Deliver(notification));
            } else {
                self.deliver(&notification, now);
            }
        }
    }

    fn subscribers(&self, service: &str, node: &str, now: Moment) -> BTreeMap<Jid, Match> {
        let mut all: BTreeMap<Jid, Match> = BTreeMap::new();
        let (Some(hub), Node::Leaf(address)) = (self.hubs.get(service), Node::parse(node)) else { return all };
        for jid in self.holders(&address, now) {
            let [all_domains, one_domain] = collections_over(&jid, &address);
            for name in [node, &all_domains, &one_domain] {
                for subscription in hub.subscriptions.get(name).into_iter().flatten() {
                    if !subscription.belongs_to(&jid) || !subscription.delivers(now) {
                        continue;
                    }
                    let matched = all.entry(subscription.jid.clone()).or_default();
                    matched.subids.push(subscription.subid.clone());
                    if name != node && !matched.collections.iter().any(|known| known == name) {
                        matched.collections.push(name.to_owned());
                    }
                }
            }
        }
        all
    }

    fn message(&mut self, service: &str, to: &Jid, event: &str, matched: &Match) -> String {
        let collections = matched.collections.iter().map(|node| header("Collection", node));
        let several = matched.subids.len() > 1;
        let subids = matched.subids.iter().filter(|_| several).map(|subid| header("SubID", subid));
        let headers = Tag::of("headers", SHIM).children(collections).children(subids).finish();
        self.turn = !self.turn;
        let (before, after) = match self.style.headers {
            Headers::Last => ("", headers.as_str()),
            Headers::Mixed if self.turn => ("", headers.as_str()),
            Headers::First | Headers::Mixed => (headers.as_str(), ""),
            Headers::Absent => ("", ""),
        };
        let message = self.envelope(service, to).maybe("type", self.style.headline.then_some("headline"));
        message.raw(before).raw(event).raw(after).finish()
    }

    pub(super) fn envelope(&self, service: &str, to: &Jid) -> Tag {
        Tag::of("message", CLIENT).attr("from", &self.service_jid(service)).attr("to", to.as_str())
    }

    /// Hands a message to the session it is for, to another one of that account, to the store, or to nobody.
    pub(super) fn deliver(&mut self, notification: &Notification, now: Moment) {
        let bare = notification.to.to_bare();
        let exact = notification.to.try_as_full().ok().and_then(|full| self.session_of(full));
        let sessions = match exact {
            Some(session) => vec![session],
            None if self.style.fall_back || notification.to.is_bare() => self.best_sessions(&bare),
            None => Vec::new(),
        };
        if sessions.is_empty() {
            if self.style.store_offline && !notification.headline {
                let stored = self.offline.entry(bare).or_default();
                if stored.len() < MOST_STORED {
                    stored.push((now, notification.text.clone()));
                }
            }
            self.observed.undelivered += u64::from(notification.event);
        }
        for session in sessions {
            let sent = self.notify(session, notification.text.clone());
            self.observed.delivered += u64::from(notification.event && sent);
        }
    }

    /// All sessions of the highest priority that is not negative.
    fn best_sessions(&self, jid: &BareJid) -> Vec<SessionId> {
        let present: Vec<_> = self.sessions_of(jid).filter_map(|(id, priority)| Some((priority?, id))).collect();
        let best = present.iter().map(|(priority, _)| *priority).max().filter(|priority| *priority >= 0);
        present.into_iter().filter(|(priority, _)| Some(*priority) == best).map(|(_, id)| id).collect()
    }

    /// Sends what was stored while `jid` was away, with the time it was meant for.
    pub(super) fn deliver_stored(&mut self, session: SessionId, jid: &BareJid) {
        for (meant_for, text) in self.offline.remove(jid).unwrap_or_default() {
            let delay = Tag::of("delay", DELAY).attr("from", jid.domain().as_str());
            let delay = delay.attr("stamp", &meant_for.utc().to_string()).finish();
            let text = match text.strip_suffix("</message>") {
                Some(open) => format!("{open}{delay}</message>"),
                None => text,
            };
            self.observed.delivered += u64::from(self.notify(session, text));
        }
    }
}

/// The entries among others a reader must not stumble over: a retract of an unknown item.
fn crowd(entries: &[Entry]) -> Vec<Entry> {
    let stranger = Entry::Retract("unknown:to=everybody/+".to_owned());
    std::iter::once(stranger).chain(entries.iter().cloned()).collect()
}

fn header(name: &str, value: &str) -> Tag {
    Tag::new("header").attr("name", name).text(value)
}

fn event_of(node: &str, entries: &[Entry]) -> String {
    let children = entries.iter().map(|entry| match entry {
        Entry::Item(id, payload) => Tag::new("item").attr("id", id).raw(payload),
        Entry::Retract(id) => Tag::new("retract").attr("id", id),
    });
    let items = Tag::new("items").attr("node", node).children(children);
    Tag::of("event", PUBSUB_EVENT).child(items).finish()
}
