//! The leg table: from what was seen to events with stable ids, once each (interface section 3).
//!
//! Works on what the store recalls for one batch and gives back what must be remembered, so it holds nothing between
//! batches and a restart changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::admission::Reception;
use super::notification::{Content, Notification, Part};
use crate::domain::event::{
    CallData, EndReason, Event, EventData, EventType, ItemData, Outcome, Receipt, RegistrationData, RegistrationFields,
};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::identity::Token;
use crate::domain::leg::{Call, EndedLeg, Leg};
use crate::domain::limits::ENDED_AT_ONCE;
use crate::domain::name::{ItemId, JidDomain, NodeName};
use crate::domain::service::{Service, ServiceKind};
use emission::{Ending, ending, envelope, origin, publish_time, receipt};
use life::{comes_late, ended_leg, learn, outcome, unseen_leg};
use naming::{end_event, end_type, item_type};
use purpose::purpose;

mod ageing;
mod emission;
mod foreign;
mod life;
mod naming;
mod purpose;
mod rest;

pub use ageing::Ages;
pub use naming::Names;

#[cfg(test)]
mod tests;

/// One part of one admitted message.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Who received it.
    pub reception: &'a Reception,
    /// Who sent it.
    pub service: &'a Service,
    /// The message.
    pub note: &'a Notification,
    /// The part.
    pub part: &'a Part,
    /// When the stanza was read.
    pub received: Timestamp,
}

/// What must be recalled before a batch of sightings can be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Ids of events that may have been seen before.
    pub events: Vec<Token>,
    /// Legs, by token.
    pub legs: Vec<Token>,
    /// Nodes (short service name, leaf) whose live legs are all wanted.
    pub nodes: Vec<(String, NodeName)>,
    /// Calls, by partition.
    pub calls: Vec<Token>,
}

/// What a sighting turned out to be.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// New events, in order.
    New(Vec<Event>),
    /// New events, in order, after which there are more: the same is to be seen again once these are committed.
    Partly(Vec<Event>),
    /// A copy of an event of this type that was seen before.
    Duplicate(EventType),
}

/// The legs and calls of one batch.
#[derive(Debug, Default)]
pub struct Legs {
    known: HashSet<Token>,
    table: HashMap<Token, Arc<Leg>>,
    ended: HashMap<Token, EndedLeg>,
    calls: HashMap<Token, Call>,
    changed: HashSet<Token>,
    changed_calls: HashSet<Token>,
    /// The domains of the accounts there are.
    domains: Arc<BTreeSet<JidDomain>>,
    /// Ends that were ignored since they were asked for.
    foreign: u64,
}

impl Wanted {
    /// Adds what `sighting` asks for. Returns its names, if it is of one thing.
    pub fn add(&mut self, sighting: Sighting<'_>) -> Option<Names> {
        let names = match sighting.part {
            Part::Item { node, item, published, content } => {
                Names::of_item(sighting.service, node, item, published.as_deref(), content)
            }
            Part::Retract { node, item } => Names::of_end(sighting.service, node, item),
            Part::Purge { node } | Part::Rest { node, .. } => {
                self.nodes.push((sighting.service.name().to_owned(), node.clone()));
                return None;
            }
            Part::Subscription(_) => return None,
        };
        self.events.push(names.event.clone());
        self.calls.push(names.partition.clone());
        self.legs.push(names.leg.clone());
        Some(names)
    }
}

impl Legs {
    /// Starts from what is remembered: events, live legs, legs that have ended, and calls. `domains` are those of the accounts
    /// there are.
    #[must_use]
    pub fn recalled(
        events: Vec<Token>,
        legs: Vec<Arc<Leg>>,
        ended: Vec<(Token, EndedLeg)>,
        calls: Vec<Call>,
        domains: Arc<BTreeSet<JidDomain>>,
    ) -> Self {
        Self {
            domains,
            known: events.into_iter().collect(),
            table: legs.into_iter().map(|leg| (leg.token.clone(), leg)).collect(),
            ended: ended.into_iter().collect(),
            calls: calls.into_iter().map(|call| (call.partition.clone(), call)).collect(),
            ..Self::default()
        }
    }

    /// Judges one sighting, with the names it has, if they were made before.
    pub fn see(&mut self, sighting: Sighting<'_>, names: Option<Names>) -> Verdict {
        let service = sighting.service;
        match sighting.part {
            Part::Item { node, item, published, content } => {
                let published = published.as_deref();
                let names = names.unwrap_or_else(|| Names::of_item(service, node, item, published, content));
                self.item(sighting, names, node, item, published, content)
            }
            Part::Retract { node, item } => {
                let names = names.unwrap_or_else(|| Names::of_end(service, node, item));
                self.retract(sighting, names, node, item)
            }
            Part::Purge { node } => self.purge(sighting, node),
            Part::Rest { node, present, told_by } => self.rest(sighting, node, present, told_by.as_ref()),
            Part::Subscription(_) => Verdict::New(Vec::new()),
        }
    }

    /// The next position in a partition of its own, for what is no leg.
    pub fn next_of(&mut self, partition: &Token) -> u64 {
        self.advance(partition).sequence
    }

    /// What changed and must be remembered.
    #[must_use]
    pub fn changes(self) -> (Vec<Arc<Leg>>, Vec<Call>) {
        let Self { table, calls, changed, changed_calls, .. } = self;
        (
            table.into_iter().filter(|(token, _)| changed.contains(token)).map(|(_, leg)| leg).collect(),
            calls.into_iter().filter(|(token, _)| changed_calls.contains(token)).map(|(_, call)| call).collect(),
        )
    }

    fn item(
        &mut self,
        sighting: Sighting<'_>,
        names: Names,
        node: &NodeName,
        item: &ItemId,
        published: Option<&str>,
        content: &Content,
    ) -> Verdict {
        let Names { leg: token, event: id, partition } = names;
        let kind = item_type(content);
        if !self.known.insert(id.clone()) {
            self.vouch(sighting, &token, &partition);
            return Verdict::Duplicate(kind);
        }
        let published_at = published.and_then(publish_time);
        let past = self.ended.remove(&token);
        let past = past.map(|past| ended_leg(&past, unseen_leg(sighting, &token, node, item, &id), &partition));
        let known = self.table.remove(&token).or_else(|| past.map(Arc::new));
        let overtaken = known.as_ref().is_some_and(|leg| rest::overtaken(sighting, leg));
        let receipt = receipt(sighting, published, published_at);
        let receipt = Receipt { replayed: receipt.replayed || overtaken, ..receipt };
        let time = published_at.unwrap_or(sighting.received);
        let goes_on =
            |leg: &Leg, ended| overtaken || comes_late(leg, ended, &partition, content, receipt.replayed, published_at);
        let kept = known.clone().filter(|leg| self.is_strange(sighting, leg, &partition));
        let goes_on = |leg: &Arc<Leg>| kept.is_none() && leg.ended.is_none_or(|ended| goes_on(leg, ended));
        let leg = match known.filter(goes_on) {
            Some(leg) => Arc::unwrap_or_clone(leg),
            None => Leg { partition, began: time, ..unseen_leg(sighting, &token, node, item, &id) },
        };
        let leg = learn(leg, content, time);
        let leg = Leg {
            touched: sighting.received,
            account: Some(sighting.reception.account.clone()),
            collection: sighting.note.collection.clone(),
            told_by: foreign::with(&sighting.reception.domain, leg.told_by),
            ..leg
        };
        if kept.is_none() {
            self.changed.insert(token.clone());
        }
        let call = self.advance(&leg.partition);
        if leg.answered.is_some() && call.answered_by.is_none() {
            call.answered_by = Some(Fingerprint::from(&token));
        }
        let sequence = call.sequence;
        let origin = origin(sighting, node, item);
        let data = match content {
            Content::Call(state, fields) => EventData::Call(Box::new(CallData {
                origin,
                dialog_state: Some(*state),
                call: Arc::clone(fields),
                direction: leg.direction,
                purpose: Some(purpose(&leg.call)),
                receipt,
                outcome: Outcome::default(),
            })),
            Content::Registration(fields) => {
                EventData::Registration(Box::new(RegistrationData { origin, registration: fields.clone(), receipt }))
            }
            Content::Other(payload) => {
                EventData::Item(Box::new(ItemData { origin, payload: payload.clone(), receipt }))
            }
        };
        let event = envelope(sighting.service, &leg, id, kind, time, sequence, data);
        self.table.insert(token, kept.unwrap_or_else(|| leg.into()));
        Verdict::New(vec![event])
    }

    fn retract(&mut self, sighting: Sighting<'_>, names: Names, node: &NodeName, item: &ItemId) -> Verdict {
        let Names { leg: token, event, .. } = names;
        let leg = self.table.get(&token).cloned();
        let id = leg.as_ref().map_or(event, |leg| end_event(&token, Some(&leg.first_event)));
        let ended = leg.as_ref().is_some_and(|leg| leg.ended.is_some()) || self.ended.contains_key(&token);
        if ended || self.known.contains(&id) {
            return Verdict::Duplicate(end_type(sighting.service));
        }
        let leg = leg.unwrap_or_else(|| unseen_leg(sighting, &token, node, item, &id).into());
        if !self.may_end(sighting, &leg) {
            self.foreign += 1;
            return Verdict::New(Vec::new());
        }
        let ending = ending(sighting, &leg, EndReason::Retracted);
        Verdict::New(vec![self.end(ending, leg, id)])
    }

    fn purge(&mut self, sighting: Sighting<'_>, node: &NodeName) -> Verdict {
        let live = self.live(sighting.service, node);
        self.end_all(sighting, live, EndReason::Purged)
    }

    /// The live legs of a leaf.
    fn live(&self, service: &Service, node: &NodeName) -> Vec<Arc<Leg>> {
        let here = |leg: &&Arc<Leg>| leg.service == service.name() && leg.node == *node && leg.ended.is_none();
        self.table.values().filter(here).cloned().collect()
    }

    /// Ends live legs, the oldest first; those of one moment in the order of their items. Only some where there are many.
    fn end_all(&mut self, sighting: Sighting<'_>, mut live: Vec<Arc<Leg>>, reason: EndReason) -> Verdict {
        let before = live.len();
        live.retain(|leg| self.may_end(sighting, leg));
        let foreign = before - live.len();
        live.sort_by(|one, other| (one.began, &one.item).cmp(&(other.began, &other.item)));
        let all = live.len() <= ENDED_AT_ONCE;
        let ended = live.into_iter().take(ENDED_AT_ONCE).map(|leg| {
            let id = end_event(&leg.token, Some(&leg.first_event));
            self.end(ending(sighting, &leg, reason), leg, id)
        });
        let events = ended.collect();
        if !all {
            return Verdict::Partly(events);
        }
        self.foreign += foreign as u64;
        Verdict::New(events)
    }

    /// Ends a leg and makes the event of it.
    fn end(&mut self, ending: Ending<'_>, leg: Arc<Leg>, id: Token) -> Event {
        let Ending { service, origin, receipt, reason, answered_beside } = ending;
        let now = receipt.received_at;
        let leg = Leg { ended: Some(now), touched: now, ..Arc::unwrap_or_clone(leg) };
        let call = self.advance(&leg.partition);
        let by_another = answered_beside || call.answered_by.is_some_and(|by| by != Fingerprint::from(&leg.token));
        let elsewhere = leg.answered.is_none() && by_another;
        let sequence = call.sequence;
        let data = match service.kind() {
            ServiceKind::Calls => EventData::Call(Box::new(CallData {
                origin,
                dialog_state: None,
                call: Arc::clone(&leg.call),
                direction: leg.direction,
                purpose: (leg.first_event != id).then(|| purpose(&leg.call)),
                receipt,
                outcome: outcome(&leg, now, elsewhere, reason, &id),
            })),
            ServiceKind::Registrations => EventData::Registration(Box::new(RegistrationData {
                origin,
                registration: RegistrationFields::default(),
                receipt,
            })),
            ServiceKind::Items => EventData::Item(Box::new(ItemData { origin, payload: None, receipt })),
        };
        let event = envelope(service, &leg, id.clone(), end_type(service), now, sequence, data);
        self.known.insert(id);
        self.changed.insert(leg.token.clone());
        self.table.insert(leg.token.clone(), leg.into());
        event
    }

    /// The call, one event further.
    fn advance(&mut self, partition: &Token) -> &mut Call {
        self.changed_calls.insert(partition.clone());
        let call = self.calls.entry(partition.clone()).or_insert_with(|| Call {
            partition: partition.clone(),
            sequence: 0,
            answered_by: None,
            newest: 0,
        });
        call.sequence += 1;
        call
    }
}
