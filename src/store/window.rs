//! The newest part of the queue in memory, as it lies on the disk in packs: what goes straight through is decided here,
//! and the database only writes it down.
//!
//! Everything in a pack is newer than every row of `events`. Must not know the tables, nor what an event says.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Beside, CommitEvent, Owed, Pick, Settlement};
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;

/// Bytes of bodies that are kept in memory; older ones are read from their packs.
const MOST_BYTES: usize = 3 << 20;
/// Events that are kept in packs; beyond that the oldest become rows.
const MOST: usize = 16_384;
/// Events that become rows at once: some ten milliseconds' work.
const SPILLED: usize = 1024;
/// So long the sinks may keep new events waiting where the window fills up: rows cost much more than that.
const PATIENCE: Duration = Duration::from_millis(250);
/// Sinks with a bit have a lower number.
pub(super) const BITS: i64 = 63;

/// A sink: it is owed the events with its bit after `done` and up to `newest`, besides its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Debtor {
    pub(super) number: i64,
    pub(super) done: i64,
    pub(super) newest: i64,
    pub(super) owed: i64,
    pub(super) bytes: i64,
    pub(super) dead: i64,
    /// Whether it is owed anything by a row.
    pub(super) has_rows: bool,
}

/// One event of a pack.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) position: i64,
    pub(super) debtors: i64,
    pub(super) id: Token,
    pub(super) partition: Arc<str>,
    pub(super) received: Timestamp,
    pub(super) bytes: usize,
    /// The event as JSON, if it is still in memory.
    pub(super) body: Option<Arc<str>>,
}

impl Packed {
    /// A committed event, with what is owed of it by bits.
    pub(super) fn of(event: &CommitEvent, position: i64, debtors: i64) -> Self {
        Self {
            position,
            debtors,
            id: event.id.clone(),
            partition: event.partition.as_str().into(),
            received: event.received,
            bytes: event.body.len(),
            body: Some(Arc::clone(&event.body)),
        }
    }

    /// As it is owed, with its body or with what was read of it.
    pub(super) fn owed(self, read: impl FnOnce(i64) -> Option<(Arc<str>, bool)>) -> Option<Owed> {
        let Self { position, id, partition, received, body, .. } = self;
        let (body, intact) = body.map(|body| (body, true)).or_else(|| read(position))?;
        let partition = partition.as_ref().to_owned();
        Some(Owed { position, id, partition, received, attempts: 0, failing_since: None, body, intact })
    }
}

/// The events of one transaction.
#[derive(Debug, Default)]
struct Pack {
    events: Vec<Packed>,
    /// By the number of a sink: the last event it is owed by a bit.
    last_of: BTreeMap<i64, i64>,
    /// Bytes of the bodies in memory.
    bytes: usize,
    since: Option<Moment>,
}

impl Pack {
    fn last(&self) -> i64 {
        self.events.last().map_or(0, |event| event.position)
    }
}

#[derive(Debug, Default)]
struct State {
    sinks: BTreeMap<SinkName, Debtor>,
    packs: VecDeque<Pack>,
    /// Events in packs.
    events: usize,
    /// Bytes of the bodies in memory.
    bytes: usize,
    /// The newest position with a row.
    rows_upto: i64,
    next: i64,
}

/// The newest part of the queue.
#[derive(Debug, Default)]
pub(super) struct Window {
    state: Mutex<State>,
    freed: Notify,
    /// What others than we have done to the queues, until somebody asks; one entry for each sink at most.
    beside: Mutex<BTreeMap<SinkName, Beside>>,
}

/// What of a pick is in the window.
pub(super) struct Glance {
    pub(super) owed: Vec<Packed>,
    /// Whether there may be older ones among the rows.
    pub(super) rows: bool,
}

/// What a transaction does to the window, until it is committed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) sinks: BTreeMap<SinkName, Debtor>,
    before: BTreeMap<SinkName, Debtor>,
    pack: Pack,
    rows_upto: i64,
    next: i64,
    /// Packs up to this position are needed no more.
    pub(super) freed: Option<i64>,
}

impl Window {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew: all there is are rows up to `rows_upto`, and `next` is the first position that was never given.
    pub(super) fn reset(&self, sinks: BTreeMap<SinkName, Debtor>, rows_upto: i64, next: i64) {
        let mut state = self.state();
        let next = next.max(state.next);
        *state = State { sinks, rows_upto, next, ..State::default() };
    }

    /// Returns what others have done to the queues, whose counters are `now`: nobody else changes them beside us.
    pub(super) fn done_beside(&self, now: &BTreeMap<SinkName, Debtor>) -> BTreeMap<SinkName, Beside> {
        let state = self.state();
        let done = now.iter().map(|(name, now)| {
            let before = state.sinks.get(name).copied().unwrap_or_default();
            (name.clone(), Beside::between((before.owed, before.dead), (now.owed, now.dead)))
        });
        done.filter(|(_, done)| *done != Beside::default()).collect()
    }

    /// Keeps what others have done until somebody asks.
    pub(super) fn keep_beside(&self, done: BTreeMap<SinkName, Beside>) {
        let mut kept = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, done) in done {
            kept.entry(name).or_default().add(done);
        }
    }

    /// Returns what others have done since the last time somebody asked.
    pub(super) fn take_beside(&self) -> BTreeMap<SinkName, Beside> {
        std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many events are in packs.
    pub(super) fn len(&self) -> usize {
        self.state().events
    }

    /// The first position that was never given.
    pub(super) fn next(&self) -> i64 {
        self.state().next
    }

    /// Up to which position packs are to become rows, where there are too many events in them.
    pub(super) fn surplus(&self) -> Option<i64> {
        let state = self.state();
        if state.events <= MOST {
            return None;
        }
        let mut events = 0;
        let spilled = |pack: &&Pack| {
            let before = events;
            events += pack.events.len();
            before < SPILLED
        };
        state.packs.iter().take_while(spilled).last().map(Pack::last)
    }

    /// The packs up to this position are rows now.
    pub(super) fn spilled(&self, upto: i64) {
        let mut state = self.state();
        state.drop_packs(upto);
        state.rows_upto = state.rows_upto.max(upto);
    }

    /// Waits until the window is not about to fill up any more, or a sink has kept it waiting for so long that it will.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            let Some(since) = self.fills_since() else { return };
            let left = Moment::now().until(since + PATIENCE);
            if left.is_zero() || timeout(left, freed).await.is_err() {
                return;
            }
        }
    }

    /// Since when the oldest pack waits for its sinks, if the window is filling up.
    fn fills_since(&self) -> Option<Moment> {
        let state = self.state();
        state.packs.front().filter(|_| state.events > MOST - MOST / 4).and_then(|pack| pack.since)
    }

    /// A plan that changes nothing yet.
    pub(super) fn plan(&self) -> Plan {
        let state = self.state();
        let State { sinks, rows_upto, next, .. } = &*state;
        Plan { sinks: sinks.clone(), before: sinks.clone(), rows_upto: *rows_upto, next: *next, ..Plan::default() }
    }

    /// Plans `settlements`, if they are deliveries of exactly what comes next for `sink`, all of it in packs.
    pub(super) fn settle(&self, plan: &mut Plan, sink: &SinkName, settlements: &[(i64, Settlement)]) -> Option<()> {
        let debtor = plan.sinks.get_mut(sink)?;
        let state = self.state();
        if debtor.has_rows
            || debtor.done < state.rows_upto
            || !settlements.iter().all(|(_, settlement)| *settlement == Settlement::Delivered)
        {
            return None;
        }
        let mut positions: Vec<i64> = settlements.iter().map(|(position, _)| *position).collect();
        positions.sort_unstable();
        let (mut bytes, mut count) = (0, 0);
        let mut events = state.owed_to(*debtor, debtor.done);
        for position in &positions {
            match events.next() {
                Some(event) if event.position == *position => {
                    bytes += size(event.bytes);
                    count += 1;
                }
                Some(_) | None => return None,
            }
        }
        if let Some(last) = positions.last() {
            debtor.done = *last;
            debtor.owed -= count;
            debtor.bytes -= bytes;
        }
        Some(())
    }

    /// Finds what is needed no more, and says how the plan is written down.
    pub(super) fn complete(&self, plan: &mut Plan) {
        let done: BTreeMap<i64, i64> = plan.sinks.values().map(|debtor| (debtor.number, debtor.done)).collect();
        let needless =
            |pack: &&Pack| pack.last_of.iter().all(|(sink, last)| done.get(sink).is_some_and(|done| done >= last));
        plan.freed = self.state().packs.iter().take_while(needless).last().map(Pack::last);
    }

    /// What was planned is on the disk.
    pub(super) fn apply(&self, plan: Plan) {
        let mut state = self.state();
        if let Some(freed) = plan.freed {
            state.drop_packs(freed);
            self.freed.notify_waiters();
        }
        state.sinks = plan.sinks;
        state.next = plan.next;
        if !plan.pack.events.is_empty() {
            state.add(Pack { since: Some(Moment::now()), ..plan.pack });
        }
    }

    /// What `pick` asks for, as far as it is here.
    pub(super) fn pick(&self, sink: &SinkName, pick: &Pick) -> Glance {
        let state = self.state();
        let Some(debtor) = state.sinks.get(sink) else { return Glance { owed: Vec::new(), rows: false } };
        let rows = debtor.has_rows || debtor.done < state.rows_upto;
        let without: HashSet<&str> = pick.without.iter().map(AsRef::as_ref).collect();
        let owed = state
            .owed_to(*debtor, debtor.done.max(pick.after))
            .take_while(|event| event.position <= pick.until)
            .filter(|event| without.is_empty() || !without.contains(&*event.partition))
            .take(pick.limit);
        Glance { owed: owed.cloned().collect(), rows: rows && pick.after < state.rows_upto }
    }

    /// What of these calls is owed to `sink` and here.
    pub(super) fn of_calls(&self, sink: &SinkName, calls: &[Arc<str>], limit: usize) -> Vec<Packed> {
        let state = self.state();
        let Some(debtor) = state.sinks.get(sink) else { return Vec::new() };
        let calls: HashSet<&str> = calls.iter().map(AsRef::as_ref).collect();
        let owed = state.owed_to(*debtor, debtor.done).filter(|event| calls.contains(&*event.partition));
        owed.take(limit).cloned().collect()
    }

    /// The newest position owed to `sink` that is here.
    pub(super) fn newest(&self, sink: &SinkName) -> Option<i64> {
        let state = self.state();
        let debtor = state.sinks.get(sink)?;
        state.owed_to(*debtor, debtor.done).last().map(|event| event.position)
    }

    /// The sink, whether it may be owed rows, and the receipt of the oldest event here that it is owed.
    pub(super) fn depth(&self, sink: &SinkName) -> Option<(Debtor, bool, Option<Timestamp>)> {
        let state = self.state();
        let debtor = state.sinks.get(sink)?;
        let oldest = state.owed_to(*debtor, debtor.done).next().map(|event| event.received);
        Some((*debtor, debtor.has_rows || debtor.done < state.rows_upto, oldest))
    }
}

impl State {
    /// Adds the newest pack; of old ones the bodies make room.
    fn add(&mut self, pack: Pack) {
        self.events += pack.events.len();
        self.bytes += pack.bytes;
        self.packs.push_back(pack);
        let mut over = self.bytes.saturating_sub(MOST_BYTES);
        for old in self.packs.iter_mut().filter(|pack| pack.bytes > 0) {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(old.bytes);
            self.bytes -= std::mem::take(&mut old.bytes);
            old.events.iter_mut().for_each(|event| event.body = None);
        }
    }

    fn drop_packs(&mut self, upto: i64) {
        while let Some(front) = self.packs.front().filter(|front| front.last() <= upto) {
            self.bytes -= front.bytes;
            self.events -= front.events.len();
            self.packs.pop_front();
        }
    }

    /// What is owed to `debtor` beyond `after` and here, in queue order.
    fn owed_to(&self, debtor: Debtor, after: i64) -> impl Iterator<Item = &Packed> {
        let bit = if debtor.number < BITS { 1_i64 << debtor.number } else { 0 };
        let from = self.packs.partition_point(|pack| pack.last() <= after);
        let newest = debtor.newest;
        self.packs
            .range(from..)
            .flat_map(|pack| &pack.events)
            .skip_while(move |event| event.position <= after)
            .take_while(move |event| event.position <= newest)
            .filter(move |event| event.debtors & bit != 0)
    }
}

impl Plan {
    /// Plans to keep those of `events` that are `fresh`; not if that takes rows.
    pub(super) fn commit(&mut self, events: &[CommitEvent], fresh: &[bool]) -> Option<()> {
        let first = self.next;
        for ((position, event), _) in (first..).zip(events).zip(fresh).filter(|(_, fresh)| **fresh) {
            if event.body.is_empty() {
                return None; // the table will refuse it
            }
            let mut debtors = 0;
            for sink in &event.owed {
                let debtor = self.sinks.get_mut(sink).filter(|debtor| debtor.number < BITS)?;
                let bit = 1_i64 << debtor.number;
                if debtors & bit != 0 {
                    continue; // named twice
                }
                if debtor.done >= debtor.newest {
                    debtor.done = position - 1;
                } else if debtor.newest <= self.rows_upto {
                    return None; // too much would have to be passed over to find the next
                }
                debtor.newest = position;
                debtor.owed += 1;
                debtor.bytes += size(event.body.len());
                debtors |= bit;
                self.pack.last_of.insert(debtor.number, position);
            }
            if debtors != 0 {
                self.pack.bytes += event.body.len();
                self.pack.events.push(Packed::of(event, position, debtors));
            }
        }
        self.next = first + i64::try_from(events.len()).unwrap_or(i64::MAX - first);
        Some(())
    }

    /// The sinks it changes.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Debtor> {
        self.sinks.iter().filter(|(name, debtor)| self.before.get(*name) != Some(*debtor)).map(|(_, debtor)| debtor)
    }

    /// The events it keeps.
    pub(super) fn events(&self) -> &[Packed] {
        &self.pack.events
    }
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
