//! Requests to a PubSub service (protocol sheet section 6).

use std::collections::{BTreeMap, VecDeque};

use minidom::Element;

use super::behaviour::{Approval, Failure};
use super::delivery::{Entry, Notification};
use super::markup::Tag;
use super::names::{DATA, PUBSUB, PUBSUB_EVENT};
use super::node::{Node, leaf_of};
use super::observed::Request;
use super::requests::{Answer, Query};
use super::subscription::{Options, State, Subscription};
use super::switchboard::{CountedBy, Deed, Switchboard};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, Jid};

/// Live items kept per leaf.
const MOST_ITEMS: usize = 1000;

/// What one PubSub service holds.
#[derive(Debug, Default)]
pub(super) struct Hub {
    /// By node.
    pub(super) subscriptions: BTreeMap<String, Vec<Subscription>>,
    /// By leaf.
    pub(super) items: BTreeMap<String, Items>,
}

/// Live items of a leaf, the oldest first: id and payload.
#[derive(Debug, Default)]
pub(super) struct Items(VecDeque<(String, String)>);

impl Items {
    fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Retract(id) => self.0.retain(|(known, _)| known != id),
            Entry::Item(id, payload) => {
                match self.0.iter_mut().find(|(known, _)| known == id) {
                    Some(item) => item.1.clone_from(payload),
                    None => self.0.push_back((id.clone(), payload.clone())),
                }
                if self.0.len() > MOST_ITEMS {
                    self.0.pop_front();
                }
            }
        }
    }
}

impl Hub {
    pub(super) fn add(&mut self, subscription: Subscription) {
        self.subscriptions.entry(subscription.node.clone()).or_default().push(subscription);
    }

    /// Removes the subscriptions of a node that are not to be kept.
    pub(super) fn keep(&mut self, node: &str, keep: impl FnMut(&Subscription) -> bool) {
        if let Some(entries) = self.subscriptions.get_mut(node) {
            entries.retain(keep);
            if entries.is_empty() {
                self.subscriptions.remove(node);
            }
        }
    }

    /// Live items change.
    pub(super) fn apply(&mut self, node: &str, entries: &[Entry]) {
        let items = self.items.entry(node.to_owned()).or_default();
        for entry in entries {
            items.apply(entry);
        }
        if items.0.is_empty() {
            self.items.remove(node);
        }
    }

    /// The subscriptions of one node, or of all.
    fn of_node(&self, node: Option<&str>) -> impl Iterator<Item = &Subscription> {
        let one = node.and_then(|node| self.subscriptions.get(node)).into_iter();
        let all = self.subscriptions.values().filter(move |_| node.is_none());
        one.chain(all).flatten()
    }
}

impl Switchboard {
    pub(super) fn hub(&mut self, service: &str) -> &mut Hub {
        self.hubs.entry(service.to_owned()).or_default()
    }

    pub(super) fn pubsub(&mut self, service: &str, query: &Query<'_>) -> Answer {
        let jid = query.from.to_bare();
        let Some(request) = query.payload.children().next() else {
            return Failure::new("modify", "bad-request").into();
        };
        let behaviour = self.behaviour(&jid);
        let (kind, scripted) = match (request.name(), query.set) {
            ("subscriptions", false) => (Request::List, behaviour.list.scripted()),
            ("subscribe", true) => (Request::Subscribe, behaviour.subscribe.scripted()),
            ("options", true) => (Request::Options, behaviour.options.scripted()),
            ("unsubscribe", true) => (Request::Unsubscribe, behaviour.unsubscribe.scripted()),
            ("items", false) => (Request::Items, behaviour.items.scripted()),
            _ => (Request::Unknown, Some(Failure::new("cancel", "feature-not-implemented").into())),
        };
        self.observed.saw(&jid, kind, query.now);
        if let Some(answer) = scripted {
            return answer;
        }
        let node = request.attr("node");
        if let Some(target) = node.and_then(|node| self.redirection(node, &jid)) {
            return Failure::moved("redirect", &self.service_jid(service), &target).into();
        }
        match (kind, node) {
            (Request::List, node) => self.list(service, node, &jid),
            (Request::Subscribe, Some(node)) => self.subscribe(service, node, request, query),
            (Request::Options, Some(node)) => self.set_options(service, node, request, query),
            (Request::Unsubscribe, Some(node)) => self.unsubscribe(service, node, request, query),
            (Request::Items, Some(node)) => self.items(service, node, &jid, query.now),
            _ => Failure::new("modify", "bad-request").pubsub("nodeid-required").into(),
        }
    }

    fn redirection(&self, node: &str, jid: &BareJid) -> Option<String> {
        if let Some(target) = self.redirects.get(node) {
            return Some(target.clone());
        }
        if let Some(target) = self.detour.from(node, jid) {
            return Some(target);
        }
        match Node::parse(node) {
            Node::Root => Some(format!("/me/{jid}")),
            Node::Domain(domain) => Some(format!("/me/{jid}/{domain}")),
            Node::Collection(..) | Node::Leaf(_) | Node::Unknown => None,
        }
    }

    fn list(&self, service: &str, node: Option<&str>, jid: &BareJid) -> Answer {
        let entries = self.hubs.get(service).into_iter().flat_map(|hub| hub.of_node(node));
        let children = entries.filter(|entry| entry.belongs_to(jid)).map(|entry| {
            let child = Tag::new("subscription").attr("subscription", entry.state.as_str());
            let child = child.attr("subid", &entry.subid).attr("jid", entry.jid.as_str());
            child.maybe("node", node.is_none().then_some(&entry.node))
        });
        Answer::of(Tag::of("pubsub", PUBSUB).child(Tag::new("subscriptions").children(children)))
    }

    fn subscribe(&mut self, service: &str, node: &str, request: &Element, query: &Query<'_>) -> Answer {
        let Some(jid) = request.attr("jid").and_then(|jid| Jid::new(jid).ok()) else {
            return Failure::new("modify", "bad-request").pubsub("jid-required").into();
        };
        if jid.to_bare() != query.from.to_bare() {
            return Failure::new("modify", "bad-request").pubsub("invalid-jid").into();
        }
        if Node::parse(node) == Node::Unknown {
            return Failure::new("cancel", "item-not-found").into();
        }
        let known = || self.hubs.get(service).into_iter().flat_map(|hub| hub.of_node(Some(node)));
        let own = || known().filter(|entry| entry.jid == jid);
        let count = match self.terms.counted_by {
            CountedBy::FullJid => own().count(),
            CountedBy::BareJid => known().filter(|entry| entry.belongs_to(&jid.to_bare())).count(),
        };
        if own().any(|entry| entry.state == State::Pending) {
            return Failure::new("auth", "not-authorized").pubsub("pending-subscription").into();
        }
        if count >= self.terms.most_subscriptions {
            return Failure::new("wait", "policy-violation").pubsub("too-many-subscriptions").into();
        }
        let form = query.payload.get_child("options", PUBSUB).and_then(|options| options.get_child("x", DATA));
        let subid = self.subids.next(query.now);
        let mut entry = Subscription::new(service, node, jid.clone(), subid.clone());
        entry.options = form.and_then(Options::from_form).map(|options| options.meant_by(self.clock_ahead));
        self.hub(service).add(entry);
        let forgotten = self.dice.chance(self.style.forgotten_approvals);
        let denied = self.dice.chance(self.style.denied_approvals);
        let (after, grant) = match self.behaviour(&jid.to_bare()).approval {
            _ if forgotten => (None, false),
            Approval::After(delay) => (Some(delay), !denied),
            Approval::Deny(delay) => (Some(delay), false),
            Approval::Silence => (None, false),
        };
        if let Some(delay) = after {
            let deed = Deed::Decide { service: service.to_owned(), node: node.to_owned(), subid, grant };
            self.schedule(query.now + delay, deed);
        }
        let named = self.style.node_in_replies.then_some(node);
        let reply = Tag::new("subscription").attr("subscription", "pending").attr("jid", jid.as_str());
        Answer::of(Tag::of("pubsub", PUBSUB).child(reply.maybe("node", named)))
    }

    /// Decides on a pending subscription; one that is gone or decided is left alone.
    pub(super) fn decide(&mut self, service: &str, node: &str, subid: &str, grant: bool, now: Moment) {
        let Some(entries) = self.hub(service).subscriptions.get(node) else { return };
        let pending = |entry: &&Subscription| entry.subid == subid && entry.state == State::Pending;
        let Some(jid) = entries.iter().find(pending).map(|entry| entry.jid.clone()) else { return };
        let granted = grant && self.may_subscribe(&jid.to_bare(), node, now);
        let hub = self.hub(service);
        if granted {
            let entries = hub.subscriptions.get_mut(node).into_iter().flatten();
            entries.filter(|entry| entry.subid == subid).for_each(|entry| entry.state = State::Subscribed);
        } else {
            hub.keep(node, |entry| entry.subid != subid);
        }
        self.tell(service, node, &jid, if granted { "subscribed" } else { "none" }, now);
    }

    fn may_subscribe(&self, jid: &BareJid, node: &str, now: Moment) -> bool {
        match Node::parse(node) {
            Node::Collection(owner, None) => owner == *jid && !self.visible(jid, now).is_empty(),
            Node::Collection(owner, Some(domain)) => {
                let inside = |address: &String| address.rsplit_once('@').is_some_and(|(_, host)| host == domain);
                owner == *jid && self.visible(jid, now).iter().any(inside)
            }
            Node::Leaf(address) => self.holders(&address, now).contains(jid),
            Node::Root | Node::Domain(_) | Node::Unknown => false,
        }
    }

    /// Sends the message that a subscription has a new state.
    pub(super) fn tell(&mut self, service: &str, node: &str, jid: &Jid, state: &str, now: Moment) {
        match state {
            "none" => self.observed.denials += 1,
            _ => self.observed.approvals += 1,
        }
        let change = Tag::new("subscription").attr("node", node).attr("jid", jid.as_str()).attr("subscription", state);
        let event = Tag::of("event", PUBSUB_EVENT).child(change);
        let text = self.envelope(service, jid).child(event).finish();
        self.deliver(&Notification { to: jid.clone(), text, headline: false, event: false }, now);
    }

    /// Finds the one subscription a request means, as its place among those of the node.
    fn meant(&self, service: &str, node: &str, request: &Element, query: &Query<'_>) -> Result<usize, Failure> {
        let Some(jid) = request.attr("jid").and_then(|jid| Jid::new(jid).ok()) else {
            return Err(Failure::new("modify", "bad-request").pubsub("jid-required"));
        };
        if jid.to_bare() != query.from.to_bare() {
            return Err(Failure::new("auth", "forbidden"));
        }
        let entries = self.hubs.get(service).and_then(|hub| hub.subscriptions.get(node));
        let own = entries.into_iter().flatten().enumerate().filter(|(_, entry)| entry.jid == jid);
        let own: Vec<_> = own.map(|(at, entry)| (at, entry.subid.as_str())).collect();
        match (own.as_slice(), request.attr("subid").filter(|subid| !subid.is_empty())) {
            ([], _) => Err(Failure::new("cancel", "unexpected-request").pubsub("not-subscribed")),
            ([(at, _)], None) => Ok(*at),
            (_, None) => Err(Failure::new("modify", "bad-request").pubsub("subid-required")),
            (own, Some(subid)) => {
                let found = own.iter().find(|(_, known)| *known == subid).map(|(at, _)| *at);
                found.ok_or_else(|| Failure::new("modify", "not-acceptable").pubsub("invalid-subid"))
            }
        }
    }

    fn set_options(&mut self, service: &str, node: &str, request: &Element, query: &Query<'_>) -> Answer {
        let at = match self.meant(service, node, request, query) {
            Ok(at) => at,
            Err(failure) => return failure.into(),
        };
        let Some(form) = request.get_child("x", DATA) else {
            return Failure::new("modify", "bad-request").pubsub("invalid-options").into();
        };
        let ahead = self.clock_ahead;
        match self.hub(service).subscriptions.get_mut(node).and_then(|entries| entries.get_mut(at)) {
            Some(entry) if entry.state == State::Subscribed => {
                entry.options = Options::from_form(form).map(|options| options.meant_by(ahead));
                entry.renewals += 1;
                Answer::done()
            }
            Some(_) | None => Failure::new("cancel", "unexpected-request").pubsub("not-subscribed").into(),
        }
    }

    fn unsubscribe(&mut self, service: &str, node: &str, request: &Element, query: &Query<'_>) -> Answer {
        let at = match self.meant(service, node, request, query) {
            Ok(at) => at,
            Err(failure) => return failure.into(),
        };
        let removed = self.hub(service).subscriptions.get_mut(node).map(|entries| entries.remove(at));
        self.hub(service).keep(node, |_| true);
        if let Some(entry) = removed.filter(|_| self.style.unsubscribe_echoed) {
            self.tell(service, node, &entry.jid, "none", query.now);
        }
        Answer::done()
    }

    fn items(&self, service: &str, node: &str, jid: &BareJid, now: Moment) -> Answer {
        if !self.may_subscribe(jid, node, now) {
            return Failure::new("auth", "forbidden").into();
        }
        let leaves = match Node::parse(node) {
            Node::Leaf(_) => vec![node.to_owned()],
            Node::Collection(_, domain) => {
                let inside =
                    |address: &&String| domain.as_ref().is_none_or(|domain| address.ends_with(&format!("@{domain}")));
                self.visible(jid, now).iter().filter(inside).map(|address| leaf_of(address)).collect()
            }
            Node::Root | Node::Domain(_) | Node::Unknown => Vec::new(),
        };
        let hub = self.hubs.get(service);
        let blocks = leaves.iter().map(|leaf| {
            let kept = hub.filter(|_| self.style.items_kept).and_then(|hub| hub.items.get(leaf));
            let live = kept.into_iter().flat_map(|items| &items.0);
            let items = live.map(|(id, payload)| Tag::new("item").attr("id", id).raw(payload));
            Tag::new("items").attr("node", leaf).children(items)
        });
        Answer::of(Tag::of("pubsub", PUBSUB).children(blocks))
    }

    /// All subscriptions of `jid`, whatever resource and state; of one node, or of all.
    pub fn subscriptions(&self, jid: &BareJid, node: Option<&str>) -> Vec<Subscription> {
        let entries = self.hubs.values().flat_map(|hub| hub.of_node(node));
        entries.filter(|entry| entry.belongs_to(jid)).cloned().collect()
    }

    /// How many subscriptions of all accounts would deliver now.
    pub fn delivering(&self, now: Moment) -> usize {
        let all = self.hubs.values().flat_map(|hub| hub.subscriptions.values().flatten());
        all.filter(|entry| entry.delivers(now)).count()
    }

    /// Ids of the live items of a leaf.
    pub fn live_items(&self, service: &str, node: &str) -> Vec<String> {
        let items = self.hubs.get(service).and_then(|hub| hub.items.get(node));
        items.into_iter().flat_map(|items| &items.0).map(|(id, _)| id.clone()).collect()
    }
}
