//! What a service may do to an account that takes more than one word: detours, surplus, crowds and floods.
//!
//! Must not know how often, or why.

use super::calls::Call;
use super::delivery::Publication;
use super::markup::Tag;
use super::names::{CLIENT, PUBSUB_EVENT};
use super::node::{Node, collections_over, leaf_of};
use super::subscription::{State, Subscription};
use super::switchboard::{Order, SessionId, Switchboard};
use crate::domain::BareJid;
use crate::domain::moment::Moment;

/// Who calls in a crowd.
const CALLER: &str = "sip:+12125550199@carrier.test";
/// Calls of the mischief have numbers above those of a test or of the traffic.
const FIRST_NUMBER: u64 = 1 << 62;

/// Redirects before the collection of an account is reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Detour {
    /// How many.
    pub(super) hops: u16,
    /// Whether the last leads back to the first.
    pub(super) circle: bool,
}

impl Detour {
    /// Where a request of `jid` for `node` is sent instead.
    pub(super) fn from(self, node: &str, jid: &BareJid) -> Option<String> {
        let here = match Node::parse(node) {
            Node::Collection(_, None) => 0,
            Node::Collection(_, Some(_)) | Node::Root | Node::Domain(_) | Node::Leaf(_) | Node::Unknown => {
                node.strip_prefix("/moved/")?.strip_suffix(&format!("/{jid}"))?.parse::<u16>().ok()?
            }
        };
        let [start, end] = collections_over(jid, jid.as_str());
        match here + 1 {
            hop if hop > self.hops => None,
            hop if hop < self.hops => Some(format!("/moved/{hop}/{jid}")),
            _ if self.circle => Some(start),
            _ => Some(end),
        }
    }
}

/// How bad some incidents are.
#[derive(Clone, Debug)]
pub(super) struct Severity {
    /// Where somebody is sent.
    pub(super) host: String,
    /// Calls in one message.
    pub(super) many_items: u16,
    /// Calls in a flood.
    pub(super) flood_calls: u16,
}

/// An event on the victim's own leaf, to a resource of it or, without one, to its bare JID.
pub(super) fn stray(from: &str, victim: &BareJid, resource: &str, payload: &str) -> String {
    let to = if resource.is_empty() { victim.to_string() } else { format!("{victim}/{resource}") };
    let item = Tag::new("item").attr("id", "stray").raw(payload);
    let items = Tag::new("items").attr("node", &leaf_of(victim.as_str())).child(item);
    let event = Tag::of("event", PUBSUB_EVENT).child(items);
    Tag::of("message", CLIENT).attr("from", from).attr("to", &to).child(event).finish()
}

impl Switchboard {
    /// Breaks a connection in the middle of what it is told.
    pub(super) fn break_off(&mut self, id: SessionId, text: &str, now: Moment) {
        let half: String = text.chars().take(text.chars().count() / 2).collect();
        self.order(id, Order::Write(half));
        self.order(id, Order::Close);
        self.disconnected(id, now);
    }

    /// Doubles the first subscription of `jid` until no more are allowed.
    pub(super) fn fill_up(&mut self, jid: &BareJid, now: Moment) {
        let all = self.subscriptions(jid, None);
        let Some(first) = all.iter().find(|entry| entry.state == State::Subscribed) else { return };
        let same = |entry: &&Subscription| {
            (&entry.jid, &entry.node, &entry.service) == (&first.jid, &first.node, &first.service)
        };
        for _ in all.iter().filter(same).count()..self.terms.most_subscriptions {
            let subid = self.subids.next(now);
            self.hub(&first.service).add(first.doubled(subid));
        }
    }

    /// Calls that begin in one message and end in one.
    pub(super) fn crowd(&mut self, jid: &BareJid, count: u16, now: Moment) {
        let mut calls = self.new_calls(jid, count, now);
        let placed = calls.iter_mut().flat_map(|call| call.place(now)).collect();
        let ended = calls.iter_mut().flat_map(Call::hang_up).collect();
        for publication in [placed, ended].into_iter().filter_map(in_one) {
            self.publish(&publication, now);
        }
    }

    /// Calls that begin and end at once, a message for each.
    pub(super) fn flood(&mut self, jid: &BareJid, count: u16, now: Moment) {
        for mut call in self.new_calls(jid, count, now) {
            for publication in call.place(now).into_iter().chain(call.hang_up()) {
                self.publish(&publication, now);
            }
        }
    }

    fn new_calls(&self, jid: &BareJid, count: u16, now: Moment) -> Vec<Call> {
        let first = FIRST_NUMBER + now.utc().as_microsecond().unsigned_abs() + self.observed.published;
        (0..u64::from(count)).map(|each| Call::incoming(first + each, jid.as_str(), CALLER, 1)).collect()
    }
}

fn in_one(all: Vec<Publication>) -> Option<Publication> {
    let first = all.first()?;
    let (service, node) = (first.service.clone(), first.node.clone());
    Some(Publication { service, node, entries: all.into_iter().flat_map(|one| one.entries).collect() })
}
