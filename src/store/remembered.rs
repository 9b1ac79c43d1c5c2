//! What is remembered between events: the legs and calls that live, and the ids, legs and calls that are past.
//!
//! What lives is in memory, and as of the last checkpoint in the state. What is past is in memory until the next checkpoint,
//! and then in a generation on the disk. Whoever looks for something looks here first; only what a generation may hold is
//! looked for there, and that is nearly never something new.
//!
//! It is changed by what a record of the log says and by nothing else, while the router runs and when it starts. To apply
//! a record again that was applied before, with all that follow it, changes nothing. Must not know the log or the state.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::changes::Changes;
use super::{Recall, Recalled};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, EndedLeg, Leg};
use crate::domain::limits::LIVE_LEGS;
use crate::domain::name::{AccountName, NodeName};
use crate::generations::{Generations, Key, Kind, New, PastCall, ReadError};
use crate::log::{Entry, Offset};
use crate::state::Coverage;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Remembered {
    present: Mutex<Present>,
    generations: Generations,
}

#[derive(Debug, Default)]
struct Present {
    /// All records before this offset are applied.
    upto: Offset,
    legs: HashMap<Token, Arc<Leg>>,
    /// The live legs of each leaf (short service name, node), the oldest first.
    nodes: HashMap<(String, NodeName), BTreeSet<(Timestamp, Token)>>,
    calls: HashMap<Token, Call>,
    /// How many live legs each call has.
    members: HashMap<Token, u32>,
    coverage: HashMap<AccountName, Coverage>,
    /// What is past since the last checkpoint began.
    young: Past,
    /// What is past since the one before, while it is written.
    frozen: Arc<Past>,
    changed: Changed,
}

/// What is past and in no generation yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    ids: HashSet<Key>,
    legs: HashMap<Key, EndedLeg>,
    calls: HashMap<Key, PastCall>,
    /// When the oldest and the newest of the events were committed.
    times: Option<(i64, i64)>,
}

/// What has changed since the last checkpoint.
#[derive(Clone, Debug, Default)]
struct Changed {
    legs: HashSet<Token>,
    calls: HashSet<Token>,
    coverage: HashSet<AccountName>,
}

/// What goes into a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// All records before this offset are in it.
    pub(super) upto: Offset,
    pub(super) past: Arc<Past>,
    pub(super) legs: Vec<Arc<Leg>>,
    pub(super) ended_legs: Vec<Token>,
    pub(super) calls: Vec<Call>,
    pub(super) ended_calls: Vec<Token>,
    pub(super) coverage: Vec<Coverage>,
    changed: Changed,
}

/// What may be in a generation, and is nowhere else.
#[derive(Debug, Default)]
pub(super) struct Sought {
    events: Vec<Token>,
    legs: Vec<Token>,
    calls: Vec<Token>,
}

impl Past {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.legs.is_empty() && self.calls.is_empty()
    }

    fn extend(&mut self, later: Self) {
        self.ids.extend(later.ids);
        self.legs.extend(later.legs);
        self.calls.extend(later.calls);
        self.times = match (self.times, later.times) {
            (Some((oldest, _)), Some((_, newest))) => Some((oldest, newest)),
            (one, other) => one.or(other),
        };
    }

    /// Returns what a generation is made of, unless there is nothing.
    pub(super) fn generation(&self) -> Option<New> {
        (!self.is_empty()).then(|| New {
            ids: self.ids.iter().copied().collect(),
            legs: self.legs.iter().map(|(key, leg)| (*key, *leg)).collect(),
            calls: self.calls.iter().map(|(key, call)| (*key, *call)).collect(),
            times: self.times.unwrap_or_default(),
        })
    }
}

impl Sought {
    /// Returns whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.legs.is_empty() && self.calls.is_empty()
    }

    /// Looks for all of it, which may read from the disk.
    pub(super) fn find(&self, generations: &Generations, recalled: &mut Recalled) -> Result<(), ReadError> {
        for id in &self.events {
            if generations.find_id(&Key::from(id))? {
                recalled.events.push(id.clone());
            }
        }
        for token in &self.legs {
            let found = generations.find_leg(&Key::from(token))?;
            recalled.ended.extend(found.map(|leg| (token.clone(), leg)));
        }
        for partition in &self.calls {
            let found = generations.find_call(&Key::from(partition))?;
            recalled.calls.extend(found.map(|call| call.of(partition)));
        }
        Ok(())
    }
}

impl Present {
    /// Takes over a leg as a record says it is.
    fn learn_leg(&mut self, leg: &Arc<Leg>) {
        let before = match leg.ended {
            None => self.legs.insert(leg.token.clone(), Arc::clone(leg)),
            Some(_) => self.legs.remove(&leg.token),
        };
        self.changed.legs.insert(leg.token.clone());
        if let Some(before) = &before {
            self.leave(before);
        }
        match leg.ended {
            None => {
                let node = self.nodes.entry((leg.service.clone(), leg.node.clone())).or_default();
                node.insert((leg.began, leg.token.clone()));
                *self.members.entry(leg.partition.clone()).or_default() += 1;
            }
            Some(ended) => {
                self.young.legs.insert(Key::from(&leg.token), EndedLeg::of(leg, ended));
            }
        }
    }

    /// A leg is not live any more as it was.
    fn leave(&mut self, leg: &Leg) {
        if let Place::Occupied(mut node) = self.nodes.entry((leg.service.clone(), leg.node.clone())) {
            node.get_mut().remove(&(leg.began, leg.token.clone()));
            if node.get().is_empty() {
                node.remove();
            }
        }
        if let Place::Occupied(mut members) = self.members.entry(leg.partition.clone()) {
            *members.get_mut() -= 1;
            if *members.get() == 0 {
                members.remove();
            }
        }
    }

    /// Takes over a call as a record says it is.
    fn learn_call(&mut self, call: &Call) {
        self.calls.insert(call.partition.clone(), call.clone());
        self.changed.calls.insert(call.partition.clone());
    }

    /// Calls of `partitions` without a live leg are past.
    fn end_calls<'a>(&mut self, partitions: impl Iterator<Item = &'a Token>) {
        for partition in partitions {
            if !self.members.contains_key(partition)
                && let Some(call) = self.calls.remove(partition)
            {
                self.changed.calls.insert(partition.clone());
                self.young.calls.insert(Key::from(partition), PastCall::from(&call));
            }
        }
    }

    fn past_leg(&self, key: &Key) -> Option<EndedLeg> {
        self.young.legs.get(key).or_else(|| self.frozen.legs.get(key)).copied()
    }

    fn past_call(&self, key: &Key) -> Option<PastCall> {
        self.young.calls.get(key).or_else(|| self.frozen.calls.get(key)).copied()
    }

    fn holds_id(&self, key: &Key) -> bool {
        self.young.ids.contains(key) || self.frozen.ids.contains(key)
    }
}

impl Remembered {
    /// Begins with what lives as of a checkpoint, which has seen all records before `upto`.
    pub(super) fn new(
        generations: Generations,
        upto: Offset,
        legs: Vec<Arc<Leg>>,
        calls: Vec<Call>,
        coverage: Vec<Coverage>,
    ) -> Self {
        let mut present = Present { upto, ..Present::default() };
        legs.iter().for_each(|leg| present.learn_leg(leg));
        calls.iter().for_each(|call| present.learn_call(call));
        present.coverage = coverage.into_iter().map(|line| (line.account.clone(), line)).collect();
        present.changed = Changed::default();
        Self { present: Mutex::new(present), generations }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is past and on the disk.
    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Applies a record that is on the disk: its events, the first at `first`, and what it changed, at the time `committed`.
    pub(super) fn apply(&self, first: Offset, committed: i64, entries: &[Entry], changes: &Changes) {
        let present = &mut *self.present();
        present.young.ids.extend(entries.iter().map(|entry| Key::from(&entry.id)));
        if !entries.is_empty() {
            let (oldest, _) = present.young.times.unwrap_or((committed, committed));
            present.young.times = Some((oldest, committed));
        }
        changes.legs.iter().for_each(|leg| present.learn_leg(leg));
        changes.calls.iter().for_each(|call| present.learn_call(call));
        let partitions = changes.legs.iter().map(|leg| &leg.partition);
        present.end_calls(partitions.chain(changes.calls.iter().map(|call| &call.partition)));
        for line in &changes.coverage {
            present.coverage.insert(line.account.clone(), line.clone());
            present.changed.coverage.insert(line.account.clone());
        }
        present.upto = Offset(first.0 + entries.len() as u64);
    }

    /// Returns whether no event with this id was committed. May read from the disk.
    pub(super) fn is_new(&self, id: &Token) -> Result<bool, ReadError> {
        let key = Key::from(id);
        if self.present().holds_id(&key) {
            return Ok(false);
        }
        Ok(!self.generations.may_hold(Kind::Id, &key) || !self.generations.find_id(&key)?)
    }

    /// Returns what of `recall` is in memory, and what of it may be in a generation.
    pub(super) fn recall(&self, recall: &Recall) -> (Recalled, Sought) {
        let (mut recalled, mut sought) = (Recalled::default(), Sought::default());
        let present = self.present();
        for id in &recall.events {
            let key = Key::from(id);
            if present.holds_id(&key) {
                recalled.events.push(id.clone());
            } else if self.generations.may_hold(Kind::Id, &key) {
                sought.events.push(id.clone());
            }
        }
        for token in &recall.legs {
            if let Some(leg) = present.legs.get(token) {
                recalled.legs.push(Arc::clone(leg));
                continue;
            }
            let key = Key::from(token);
            match present.past_leg(&key) {
                Some(leg) => recalled.ended.push((token.clone(), leg)),
                None if self.generations.may_hold(Kind::Leg, &key) => sought.legs.push(token.clone()),
                None => {}
            }
        }
        let asked: HashSet<&Token> = recall.legs.iter().collect();
        for node in &recall.nodes {
            let live = present.nodes.get(node).into_iter().flatten().take(LIVE_LEGS);
            let others = live.filter(|(_, token)| !asked.contains(token));
            recalled.legs.extend(others.filter_map(|(_, token)| present.legs.get(token).cloned()));
        }
        let partitions: HashSet<&Token> =
            recall.calls.iter().chain(recalled.legs.iter().map(|leg| &leg.partition)).collect();
        for partition in partitions {
            if let Some(call) = present.calls.get(partition) {
                recalled.calls.push(call.clone());
                continue;
            }
            let key = Key::from(partition);
            match present.past_call(&key) {
                Some(call) => recalled.calls.push(call.of(partition)),
                None if self.generations.may_hold(Kind::Call, &key) => sought.calls.push(partition.clone()),
                None => {}
            }
        }
        recalled.coverage =
            recall.coverage.iter().filter_map(|account| present.coverage.get(account).cloned()).collect();
        (recalled, sought)
    }

    /// Returns live legs of a service (short name) untouched since `ringing`, or since `answered` where they were answered;
    /// the oldest first, at most `limit`. Looks at all of them.
    pub(super) fn stale(&self, service: &str, ringing: Timestamp, answered: Timestamp, limit: usize) -> Vec<Arc<Leg>> {
        let is_stale = |leg: &&Arc<Leg>| {
            leg.service == service && leg.touched < if leg.answered.is_some() { answered } else { ringing }
        };
        let mut stale: Vec<Arc<Leg>> = self.present().legs.values().filter(is_stale).cloned().collect();
        stale.sort_by(|one, other| (one.touched, &one.token).cmp(&(other.touched, &other.token)));
        stale.truncate(limit);
        stale
    }

    /// Returns how many legs of a service (short name) are live. Looks at all of them.
    pub(super) fn live(&self, service: &str) -> u64 {
        self.present().legs.values().filter(|leg| leg.service == service).count() as u64
    }

    /// Returns where the newest event of a call is, if that is in memory.
    pub(super) fn newest_of(&self, partition: &Token) -> Option<Offset> {
        let present = self.present();
        let newest = present.calls.get(partition).map(|call| call.newest);
        let newest = newest.or_else(|| Some(present.past_call(&Key::from(partition))?.newest))?;
        (newest > 0).then_some(Offset(newest))
    }

    /// Returns until when the events of each account could arrive, by name.
    pub(super) fn coverage(&self) -> Vec<Coverage> {
        let mut lines: Vec<Coverage> = self.present().coverage.values().cloned().collect();
        lines.sort_by(|one, other| one.account.cmp(&other.account));
        lines
    }

    /// Accounts were heard, as the clock reads at `now`: what is covered reaches so far. What lies ahead of `now` is of before
    /// the clock was set back.
    pub(super) fn hear(&self, heard: &BTreeMap<AccountName, Timestamp>, now: Option<Timestamp>) {
        let present = &mut *self.present();
        for (account, until) in heard {
            if let Some(line) = present.coverage.get_mut(account).filter(|line| line.open)
                && (line.until < *until || now.is_some_and(|now| line.until > now))
            {
                line.until = *until;
            }
        }
    }

    /// Ends all that the router before this one left open: nothing of it is covered by this one, until it says so.
    pub(super) fn end_coverage(&self) {
        let present = &mut *self.present();
        for line in present.coverage.values_mut().filter(|line| line.open) {
            (line.open, line.reason) = (false, Some("restart".to_owned()));
            present.changed.coverage.insert(line.account.clone());
        }
    }

    /// Returns how many ids, legs and calls are past and in no generation yet.
    pub(super) fn young(&self) -> usize {
        let present = self.present();
        present.young.ids.len() + present.young.legs.len() + present.young.calls.len()
    }

    /// Takes what goes into a checkpoint. It ends with [`Remembered::written`] or [`Remembered::not_written`].
    pub(super) fn take(&self) -> Taken {
        let present = &mut *self.present();
        let mut past = Arc::unwrap_or_clone(mem::take(&mut present.frozen));
        past.extend(mem::take(&mut present.young));
        present.frozen = Arc::new(past);
        let changed = mem::take(&mut present.changed);
        let mut taken = Taken { upto: present.upto, past: Arc::clone(&present.frozen), ..Taken::default() };
        for token in &changed.legs {
            match present.legs.get(token) {
                Some(leg) => taken.legs.push(Arc::clone(leg)),
                None => taken.ended_legs.push(token.clone()),
            }
        }
        for partition in &changed.calls {
            match present.calls.get(partition) {
                Some(call) => taken.calls.push(call.clone()),
                None => taken.ended_calls.push(partition.clone()),
            }
        }
        taken.coverage = changed.coverage.iter().filter_map(|account| present.coverage.get(account).cloned()).collect();
        taken.changed = changed;
        taken
    }

    /// The checkpoint is on the disk, and its generation is adopted.
    pub(super) fn written(&self) {
        self.present().frozen = Arc::default();
    }

    /// The checkpoint failed: all of it goes into the next one.
    pub(super) fn not_written(&self, taken: Taken) {
        let changed = &mut self.present().changed;
        changed.legs.extend(taken.changed.legs);
        changed.calls.extend(taken.changed.calls);
        changed.coverage.extend(taken.changed.coverage);
    }
}
