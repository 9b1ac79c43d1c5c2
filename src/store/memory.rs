//! What was committed and is not in its tables yet: ids, legs and calls, as the journal holds them on the disk.
//!
//! Whoever looks for something looks here first, then into the tables: what leaves here is there already. Must not know
//! the tables.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key::Key;
use super::sieve::Sieve;
use super::{Recall, Recalled};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::name::NodeName;

/// Legs and calls that wait to be posted; beyond that every commit takes some along.
const WAITING: usize = 4096;
/// The same of ids, which are much smaller.
const WAITING_IDS: usize = 16_384;
/// Legs and calls posted at once. The more, the more of them share the pages of an index, and the longer others wait: this
/// many take some twenty milliseconds, every few seconds at most.
const SLICE: usize = 2048;
/// Ids posted at once.
const SLICE_OF_IDS: usize = 8192;

/// What was committed and is not posted.
#[derive(Debug, Default)]
pub(super) struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ids: HashSet<Token>,
    /// The same, by number, with the row of the journal that holds them.
    numbered: VecDeque<(i64, Numbered)>,
    /// Ids of the newest recall that are nowhere.
    absent: HashSet<Token>,
    /// The keys of all that is in the tables, or is here and comes there.
    sieve: Sieve,
    legs: HashMap<Token, Arc<Leg>>,
    calls: HashMap<Token, Touched>,
    /// Each leg and call once, with the row of the journal that changed it first.
    order: VecDeque<(i64, Thing)>,
    /// The newest row of the journal.
    newest: i64,
}

/// An id, its number, and when its event was received (microseconds UTC).
pub(super) type Numbered = (i64, Token, i64);

/// A call, and when it was touched (microseconds UTC).
pub(super) type Touched = (Call, i64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Thing {
    Leg(Token),
    Call(Token),
}

/// What one transaction adds.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// New ids, by number.
    pub(super) ids: Vec<Numbered>,
    /// The newest state of legs.
    pub(super) legs: Vec<Arc<Leg>>,
    /// The newest state of calls.
    pub(super) calls: Vec<Touched>,
}

impl Added {
    /// Whether there is nothing to write down.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.legs.is_empty() && self.calls.is_empty()
    }
}

/// What is to be posted next, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) ids: Vec<Numbered>,
    pub(super) legs: Vec<Arc<Leg>>,
    pub(super) calls: Vec<Touched>,
    things: usize,
    /// Rows of the journal below this one are needed no more then.
    pub(super) journal: i64,
    /// Whether there is more.
    pub(super) more: bool,
}

/// What the memory says to a recall, and what is left to be looked for in the tables.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) recalled: Recalled,
    pub(super) events: Vec<Token>,
    pub(super) legs: Vec<Token>,
    /// Legs of the asked nodes whose rows are out of date.
    pub(super) outdated: HashSet<Token>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next row of the journal.
    pub(super) fn next(&self) -> i64 {
        self.state().newest + 1
    }

    /// Keeps what is on the disk now, its legs and calls in the row `row` of the journal.
    pub(super) fn keep(&self, row: i64, added: Added) {
        let state = &mut *self.state();
        if !added.is_empty() {
            state.newest = state.newest.max(row);
        }
        for (number, id, at) in added.ids {
            state.absent.remove(&id);
            state.sieve.add(&Key::from(&id));
            if state.ids.insert(id.clone()) {
                state.numbered.push_back((row, (number, id, at)));
            }
        }
        for leg in added.legs {
            let token = leg.token.clone();
            if state.legs.insert(token.clone(), leg).is_none() {
                state.sieve.add(&Key::from(&token));
                state.order.push_back((row, Thing::Leg(token)));
            }
        }
        for (call, touched) in added.calls {
            let partition = call.partition.clone();
            let before = state.calls.get(&partition).map(|(_, touched)| *touched);
            let touched = before.map_or(touched, |before| touched.max(before));
            if state.calls.insert(partition.clone(), (call, touched)).is_none() {
                state.sieve.add(&Key::from(&partition));
                state.order.push_back((row, Thing::Call(partition)));
            }
        }
    }

    /// The newest number that an id here has.
    pub(super) fn newest_number(&self) -> i64 {
        self.state().numbered.back().map_or(0, |(_, (number, ..))| *number)
    }

    /// Whether an id is new, as far as that is known without the tables.
    pub(super) fn is_new(&self, id: &Token) -> Option<bool> {
        let state = self.state();
        if state.ids.contains(id) {
            return Some(false);
        }
        (state.absent.contains(id) || !state.sieve.may_hold(&Key::from(id))).then_some(true)
    }

    /// What of `recall` is here.
    pub(super) fn recall(&self, recall: &Recall) -> Remembered {
        let state = self.state();
        let mut said = Remembered::default();
        let in_tables = |token: &Token| state.sieve.may_hold(&Key::from(token));
        for id in &recall.events {
            if state.ids.contains(id) {
                said.recalled.events.push(id.clone());
            } else if in_tables(id) {
                said.events.push(id.clone());
            }
        }
        for token in &recall.legs {
            match state.legs.get(token) {
                Some(leg) => said.recalled.legs.push(Arc::clone(leg)),
                None if in_tables(token) => said.legs.push(token.clone()),
                None => {}
            }
        }
        if !recall.nodes.is_empty() {
            let nodes: HashSet<(&str, &NodeName)> =
                recall.nodes.iter().map(|(service, node)| (service.as_str(), node)).collect();
            let asked: HashSet<&Token> = recall.legs.iter().collect();
            for leg in state.legs.values().filter(|leg| nodes.contains(&(leg.service.as_str(), &leg.node))) {
                said.outdated.insert(leg.token.clone());
                if leg.ended.is_none() && !asked.contains(&leg.token) {
                    said.recalled.legs.push(Arc::clone(leg));
                }
            }
        }
        said
    }

    /// Those of `partitions` that are here, and those that may be in the tables.
    pub(super) fn calls(&self, partitions: HashSet<Token>) -> (Vec<Call>, Vec<Token>) {
        let state = self.state();
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for partition in partitions {
            match state.calls.get(&partition) {
                Some((call, _)) => found.push(call.clone()),
                None if state.sieve.may_hold(&Key::from(&partition)) => others.push(partition),
                None => {}
            }
        }
        (found, others)
    }

    /// Notes that these ids were neither here nor in the tables.
    pub(super) fn note_absent(&self, ids: HashSet<Token>) {
        self.state().absent = ids;
    }

    /// Whether the keys of all that is in the tables should be read, so that what is new is known to be.
    pub(super) fn knows_too_little(&self) -> bool {
        self.state().sieve.is_worn()
    }

    /// The tables are about to be read; there should be room for so many keys.
    pub(super) fn learn(&self, keys: usize) {
        let state = &mut *self.state();
        state.sieve.begin(keys);
        for token in state.ids.iter().chain(state.legs.keys()).chain(state.calls.keys()) {
            state.sieve.add(&Key::from(token));
        }
    }

    /// Keys that are in the tables.
    pub(super) fn are_there(&self, keys: impl IntoIterator<Item = Key>) {
        let state = &mut *self.state();
        keys.into_iter().for_each(|key| state.sieve.add(&key));
    }

    /// All keys in the tables were told.
    pub(super) fn learned(&self) {
        self.state().sieve.complete();
    }

    /// How many legs, calls and ids wait to be posted.
    pub(super) fn len(&self) -> usize {
        let state = self.state();
        state.order.len() + state.numbered.len()
    }

    /// Whether so much waits that some of it is to be posted with the next commit.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.order.len() > WAITING || state.numbered.len() > WAITING_IDS
    }

    /// What is to be posted next, if there is anything.
    pub(super) fn slice(&self) -> Option<Slice> {
        let state = self.state();
        let (things, ids) = (state.order.len().min(SLICE), state.numbered.len().min(SLICE_OF_IDS));
        if things + ids == 0 {
            return None;
        }
        let mut slice = Slice { things, ..Slice::default() };
        slice.ids = state.numbered.range(..ids).map(|(_, numbered)| numbered.clone()).collect();
        for (_, thing) in state.order.range(..things) {
            match thing {
                Thing::Leg(token) => slice.legs.extend(state.legs.get(token).cloned()),
                Thing::Call(partition) => slice.calls.extend(state.calls.get(partition).cloned()),
            }
        }
        // In the order of their keys, those that share a page of an index stand side by side.
        slice.legs.sort_unstable_by(|one, other| one.token.cmp(&other.token));
        slice.calls.sort_unstable_by(|(one, _), (other, _)| one.partition.cmp(&other.partition));
        let rows = state.order.get(things).map(|(row, _)| *row).into_iter();
        let rows = rows.chain(state.numbered.get(ids).map(|(row, _)| *row));
        slice.journal = rows.min().unwrap_or(state.newest + 1);
        slice.more = state.order.len() > things || state.numbered.len() > ids;
        Some(slice)
    }

    /// Lets go of what is in the tables now.
    pub(super) fn posted(&self, slice: &Slice) {
        let state = &mut *self.state();
        for (_, thing) in state.order.drain(..slice.things) {
            match thing {
                Thing::Leg(token) => drop(state.legs.remove(&token)),
                Thing::Call(partition) => drop(state.calls.remove(&partition)),
            }
        }
        for (_, (_, id, _)) in state.numbered.drain(..slice.ids.len()) {
            state.ids.remove(&id);
        }
    }
}
