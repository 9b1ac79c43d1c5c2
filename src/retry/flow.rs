//! What one sink gets next: calls whose time has come, fresh events and backlog in their shares, or a probe.
//!
//! A call that fails beside others that do not is held on its own. A sink that takes nothing of several calls is down:
//! it is probed with a few events of several calls, each time another one in front, so that no poison event can keep it
//! down. After it came back, what waits is a backlog with a rate of its own.
//!
//! # When a refusal is about the event
//!
//! A peer that refuses everything (a wrong token, a moved path, a table that is gone) says nothing about an event. So:
//!
//! * An event that is refused holds up its call, as any failure does, and is tried again on the schedule.
//! * Once another event has passed after that, it is tried again at once; refused again, it is a dead letter, and what
//!   follows in its call goes on. A sink that gets an event an hour decides after an hour.
//! * Refusals and failures of several calls with no success between are the sink's: it is down and probed, and no refusal
//!   until it is back counts against an event. Nor does one that follows another call's fresh failure.
//! * While nothing passes nothing becomes a dead letter, but for what has failed for [`HORIZON`].
//!
//! # When it works again
//!
//! The first success after an outage frees the calls that are held: they are tried at once, at the rate of the backlog. So
//! does the first success after calls failed again and again with none between, though they were too few for an outage.
//! A call that is freed again and again, and fails each time, is freed later each time. Once all that had piled up is
//! delivered, or has failed again on its own, [`Flow::caught_up`] says so, once.
//!
//! # How many are taken
//!
//! A sink that has run out of time for what it was handed is handed less, and more again as soon as it takes it all.
//!
//! Pure. Must not know the queue: it says which parts of it to read, and is told what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::HORIZON;
use super::ages::Ages;
use super::backlog::Backlog;
use super::calls::HeldCalls;
use super::catching_up::{CatchingUp, CaughtUp};
use super::outage::{Outage, REST};
use crate::domain::moment::Moment;
use crate::domain::status::SinkState;

mod terms;

pub use terms::{Answer, Change, Ended, Part, PartKind, Take, Tried};

/// Calls that fail, one after the other and with no success between, before it is the sink that is down.
const EVIDENCE: usize = 4;
/// A sink that is slow is handed at least so many events at once: several calls, whose deliveries go side by side.
const FEWEST: usize = 32;
/// How often the queue is read from its beginning again while some of it is passed over.
const AGAIN: Duration = Duration::from_secs(10);
/// The same for fresh events while a backlog drains: some wait for it.
const AGAIN_FRESH: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Read this part of the queue and deliver it.
    Take(Take),
    /// Nothing before this moment, unless there is news.
    Wait(Moment),
}

/// How one call fared in a delivery.
#[derive(Default)]
struct Fared {
    passed: bool,
    died: bool,
    /// Whether something failed, and for how long the peer asked to be left alone.
    #[expect(clippy::option_option, reason = "a failure without a wish is a failure")]
    failed: Option<Option<Duration>>,
    refused: Option<u64>,
}

/// The state of one sink's delivery.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Events taken at once: never more than `most`.
    batch: usize,
    most: usize,
    ages: Ages,
    /// Deliveries that have succeeded.
    passes: u64,
    /// The newest position that was ever read.
    seen: i64,
    rate: u32,
    held: HeldCalls,
    /// Calls that failed since anything succeeded; not more than [`EVIDENCE`].
    failed: BTreeSet<Arc<str>>,
    outage: Option<Outage>,
    backlog: Option<Backlog>,
    catching_up: Option<CatchingUp>,
    /// The queue is read up to here: what is left before it is of held calls, or of calls with a backlog.
    after: i64,
    again: Option<Moment>,
    up: bool,
    turn: bool,
    /// Held calls that are due together fail together where the sink stops at the first: each time another one leads.
    turned: usize,
}

impl Flow {
    /// A sink that takes up to `batch` events at once, and a backlog at `rate` events per second (0: without a limit).
    #[must_use]
    pub fn new(batch: usize, rate: u32) -> Self {
        Self {
            batch: batch.max(1),
            most: batch.max(1),
            ages: Ages::default(),
            passes: 0,
            seen: 0,
            rate,
            held: HeldCalls::default(),
            failed: BTreeSet::new(),
            outage: None,
            backlog: None,
            catching_up: None,
            after: 0,
            again: None,
            up: true,
            turn: false,
            turned: 0,
        }
    }

    /// What is owed up to the position `mark` is a backlog from now on; nothing is owed where there is none.
    pub fn drain(&mut self, mark: Option<i64>, now: Moment) {
        if let Some(catching_up) = &mut self.catching_up {
            catching_up.up_to(mark.unwrap_or_default());
        }
        let Some(mark) = mark else { return };
        self.backlog = Some(Backlog::new(mark, self.rate, now));
        self.start_over(mark, now);
    }

    /// Something new is owed.
    pub fn news(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.news = true;
        }
    }

    /// What is to be tried again is tried at once: the sink was opened anew by an operator.
    pub fn hurry(&mut self, now: Moment) {
        self.held.all_due(now);
        if let Some(outage) = &mut self.outage {
            (outage.until, outage.resting) = (now, false);
        }
    }

    /// What to do now.
    pub fn plan(&mut self, now: Moment) -> Plan {
        if let Some(outage) = &mut self.outage {
            let at = outage.next();
            if now < at {
                return Plan::Wait(at);
            }
            return Plan::Take(outage.probe(self.batch, self.seen, now));
        }
        if self.again.is_none_or(|again| again <= now) {
            let start = self.backlog.map_or(0, |backlog| backlog.mark);
            self.start_over(start, now);
        }
        self.turn = !self.turn;
        let quarter = self.batch.div_ceil(4);
        let mut calls = if self.batch > 1 || self.turn { self.held.due(now, quarter) } else { Vec::new() };
        let mut of_calls = quarter;
        if calls.iter().any(|call| self.held.is_refused_alone(call, self.passes)) {
            // Refused ones leave as fast as new ones can come, however many of them there are.
            of_calls = self.batch.div_ceil(2);
            calls = self.held.due(now, of_calls);
        }
        let mut allowed = 0;
        if let Some(backlog) = &mut self.backlog {
            allowed = backlog.allowance(self.batch, now);
            if !calls.is_empty() {
                // Held calls are a part of what waits: they and the rest of it share the rate.
                let share = if backlog.taken { allowed } else { usize::midpoint(allowed, self.turn.into()) };
                of_calls = of_calls.min(share);
                allowed -= of_calls;
            }
            if of_calls == 0 {
                calls.clear();
            }
        }
        if let Some(turned) = self.turned.checked_rem(calls.len()) {
            calls.rotate_left(turned);
            self.turned = self.turned.wrapping_add(1);
        }
        let parts = match &self.backlog {
            None => vec![Part::new(PartKind::Rest, self.after, i64::MAX, None, self.batch)],
            Some(backlog) => {
                let (mark, half) = (backlog.mark, self.batch.div_ceil(2));
                let allowed = allowed.min(if self.turn { self.batch } else { half });
                let allowed = if backlog.taken { 0 } else { allowed };
                let fresh = if self.turn { half } else { self.batch };
                // Whatever is owed before the fresh part is read goes before what is fresh of its call.
                let after = self.after.max(mark);
                let fresh = Part::new(PartKind::Fresh, after, i64::MAX, Some(after + 1), fresh);
                let old = Part::new(PartKind::Backlog, backlog.after, mark, None, allowed);
                let parts = if self.turn { [fresh, old] } else { [old, fresh] };
                parts.into_iter().filter(|part| part.limit > 0).collect()
            }
        };
        let without = self.held.names();
        Plan::Take(Take { of_calls, calls, without, parts, most: self.batch, turned: 0 })
    }

    /// A part was read: the events at the positions `found`, at most `limit`.
    pub fn read(&mut self, part: &Part, found: &[i64], limit: usize) {
        let (last, found_all) = (found.last().copied(), found.len() < limit);
        self.seen = self.seen.max(last.unwrap_or_default());
        match part.kind {
            PartKind::Rest | PartKind::Fresh => {
                self.after = last.unwrap_or(self.after);
                if part.kind == PartKind::Rest
                    && part.after == 0
                    && let Some(catching_up) = &mut self.catching_up
                {
                    catching_up.read(found.first().copied());
                }
            }
            PartKind::Backlog => {
                if let Some(backlog) = &mut self.backlog {
                    backlog.spend(found.len());
                    backlog.after = last.unwrap_or(backlog.after);
                    backlog.taken = found_all;
                }
            }
            PartKind::Others => {
                if let Some(outage) = &mut self.outage {
                    outage.probed = last.filter(|_| !found_all).unwrap_or(0);
                }
            }
            PartKind::Oldest => {}
        }
    }

    /// `events` events of `calls` were read, all there are if `whole`; those without any are held no longer.
    pub fn read_calls(&mut self, calls: &[Arc<str>], found: &BTreeSet<Arc<str>>, events: usize, whole: bool) {
        if let Some(backlog) = &mut self.backlog {
            backlog.spend(events);
        }
        for call in calls.iter().filter(|call| whole && !found.contains(*call)) {
            self.let_go(call);
        }
    }

    /// The delivery of `tried`, in the order of the answers, has ended; the events at the positions `left` were taken and
    /// not tried. `whole`: there was no more of the held calls among them. `chance`: from 0 to 1.
    pub fn done(&mut self, tried: &[Tried], left: &[i64], whole: bool, now: Moment, chance: f64) -> Ended {
        self.pass_over(left);
        let whole = whole && left.is_empty();
        if tried.is_empty() {
            if let Some(outage) = self.outage.as_mut().filter(|_| left.is_empty()) {
                outage.find_nothing(now);
            }
            self.end_backlog();
            return Ended::default();
        }
        if let Some(last) = tried.iter().rfind(|tried| tried.answer != Answer::Damaged) {
            self.up = last.answer == Answer::Passed;
        }
        let before = self.passes;
        let (calls, dead) = self.judge(tried, now);
        let outcome = self.change(tried, &calls, before, whole, now, chance);
        if let Some(catching_up) = &mut self.catching_up {
            for Tried { position, call, answer, age, .. } in tried {
                match (answer, age) {
                    (Answer::Passed, Some(age)) => catching_up.passed(*position, call, *age),
                    (Answer::Passed, None) | (Answer::Damaged, _) => {}
                    (Answer::Failed(_) | Answer::Refused | Answer::Stop, _) => catching_up.failed(call),
                }
            }
        }
        self.end_backlog();
        Ended { change: outcome, dead }
    }

    /// Says once, after a step, that what had piled up while the sink took nothing is delivered.
    pub fn caught_up(&mut self) -> Option<CaughtUp> {
        if self.outage.is_some() || self.backlog.is_some() {
            return None;
        }
        let ended = self.catching_up.as_mut()?.ended(|call| self.held.contains(call))?;
        self.catching_up = None;
        Some(ended).filter(|ended| ended.events > 0)
    }

    /// A backlog that is taken is none any more, once the calls that were freed with it are through.
    fn end_backlog(&mut self) {
        let Some(backlog) = self.backlog.filter(|backlog| backlog.taken) else { return };
        let held = |call: &str| self.held.contains(call);
        if backlog.is_unlimited() || !self.catching_up.as_mut().is_some_and(|catching_up| catching_up.waits(held)) {
            (self.backlog, self.after, self.again) = (None, 0, None);
        }
    }

    /// Says how each call fared, and which events are given up.
    fn judge<'a>(&mut self, tried: &'a [Tried], now: Moment) -> (BTreeMap<&'a Arc<str>, Fared>, BTreeSet<i64>) {
        let (mut calls, mut dead) = (BTreeMap::<_, Fared>::new(), BTreeSet::new());
        for Tried { position, call, answer, tries, failing_for, .. } in tried {
            let fared = calls.entry(call).or_default();
            let gone = match answer {
                Answer::Passed => {
                    self.passes += 1;
                    self.failed.clear();
                    fared.passed = true;
                    self.ages.forget(*position);
                    continue;
                }
                Answer::Damaged => true,
                Answer::Refused if self.is_poison(call) => true,
                Answer::Failed(_) | Answer::Refused | Answer::Stop => {
                    self.ages.failed(*position, *tries, *failing_for, now) >= HORIZON
                }
            };
            if gone {
                self.ages.forget(*position);
                fared.died = true;
                dead.insert(*position);
                continue;
            }
            fared.failed = fared.failed.max(Some(answer.after()));
            if *answer == Answer::Refused {
                fared.refused.get_or_insert(self.passes);
            }
            if !self.held.contains(call) && self.failed.len() < self.most.max(EVIDENCE) {
                self.failed.insert(Arc::clone(call));
            }
        }
        (calls, dead)
    }

    /// Whether a refusal of this call, now, is about its event.
    fn is_poison(&self, call: &str) -> bool {
        self.outage.is_none()
            && self.held.is_refused_alone(call, self.passes)
            && self.failed.iter().all(|other| **other == *call)
    }

    fn change(
        &mut self,
        tried: &[Tried],
        calls: &BTreeMap<&Arc<str>, Fared>,
        before: u64,
        whole: bool,
        now: Moment,
        chance: f64,
    ) -> Option<Change> {
        if tried.iter().any(|tried| tried.answer == Answer::Stop) {
            self.up = false;
            return self.rest(now);
        }
        let after = tried.iter().filter_map(|tried| tried.answer.after()).max();
        if self.passes > before {
            let back = self.free(before, now, chance);
            let room = self.settle(calls, whole, now, chance);
            self.held.try_refused_again(self.passes, now);
            // Several calls at the end that had not failed before: it has stopped taking anything.
            let stopped = back != Some(Change::Back) && self.failed.len() >= EVIDENCE;
            return if room && !stopped { back } else { Some(self.go_down(after, now, chance)) };
        }
        if let Some(outage) = &mut self.outage {
            if calls.values().all(|fared| fared.failed.is_none()) {
                outage.find_nothing(now);
                return None;
            }
            outage.fail(after, now, chance);
            if let [alone] = tried {
                outage.suspect(&alone.call);
            }
            return None;
        }
        let failing = calls.iter().filter(|(_, fared)| fared.failed.is_some());
        self.failed.extend(failing.map(|(call, _)| Arc::clone(call)).take(self.most));
        if self.failed.len() < EVIDENCE && self.settle(calls, whole, now, chance) {
            return None;
        }
        Some(self.go_down(after, now, chance))
    }

    /// Something has passed, for the first time since `before` deliveries had succeeded: frees the calls that failed with the
    /// sink.
    fn free(&mut self, before: u64, now: Moment, chance: f64) -> Option<Change> {
        let (outcome, of, waiting) = if let Some(outage) = self.outage.take() {
            self.held.free_all(now);
            for call in &outage.suspects {
                self.held.suspect(call, self.passes, now, chance);
            }
            self.failed.clear();
            (Change::Back, None, self.held.hopeful())
        } else {
            let freed = self.held.free_starved(before, now);
            if freed.is_empty() {
                return None;
            }
            let waiting = &freed & &self.held.hopeful();
            (Change::Freed, Some(freed), waiting)
        };
        self.catching_up = Some(CatchingUp::begin(self.catching_up.take(), of, waiting));
        Some(outcome)
    }

    /// Holds the calls that failed and lets go of those that did not. False if there is no room to hold them.
    fn settle(&mut self, calls: &BTreeMap<&Arc<str>, Fared>, whole: bool, now: Moment, chance: f64) -> bool {
        let mut room = true;
        for (call, fared) in calls {
            if fared.passed || fared.died {
                self.held.proceed(call, fared.passed, now);
            }
            match fared.failed {
                Some(after) => room &= self.held.hold(call, self.passes, now, after, chance),
                None if whole && !fared.died => self.let_go(call),
                None => {}
            }
            if let Some(passes) = fared.refused {
                self.held.refuse(call, passes);
            }
        }
        room
    }

    /// The sink was handed `taken` events and has tried `tried` of them before its time was over; some were given up
    /// without an answer if it is `overdue`.
    pub fn adapt(&mut self, taken: usize, tried: usize, overdue: bool) {
        self.batch = if overdue {
            self.batch.div_ceil(4)
        } else if tried < taken {
            (2 * tried).clamp(FEWEST.min(self.most), self.most)
        } else if taken >= self.batch {
            (2 * self.batch).min(self.most)
        } else {
            self.batch
        };
    }

    /// What was taken and not tried is read again.
    fn pass_over(&mut self, left: &[i64]) {
        if left.is_empty() {
            return;
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.refund(left.iter().filter(|position| **position <= backlog.mark).count());
        }
        self.lost();
    }

    /// What came for a held call while it was read was passed over: the queue is read from its beginning again.
    fn let_go(&mut self, call: &str) {
        if self.held.release(call) {
            self.again = None;
        }
    }

    /// The store could not be read or written: whatever was taken is taken again.
    pub fn lost(&mut self) {
        self.after = 0;
        self.again = None;
        if let Some(backlog) = &mut self.backlog {
            (backlog.after, backlog.taken) = (0, false);
        }
    }

    /// When there is something to do without news.
    #[must_use]
    pub fn next(&self, now: Moment) -> Option<Moment> {
        match &self.outage {
            Some(outage) => Some(outage.next()),
            // Something that was passed over may go now.
            None if self.again.is_none() => Some(now),
            None => {
                let backlog = self.backlog.map(|backlog| now + backlog.wait(now));
                let held = self.held.next().map(|due| backlog.map_or(due, |backlog| due.max(backlog)));
                let rest = backlog.filter(|_| self.backlog.is_some_and(|backlog| !backlog.taken));
                [held, rest].into_iter().flatten().min()
            }
        }
    }

    /// Returns how the sink is, in a word.
    #[must_use]
    pub fn state(&self) -> SinkState {
        match &self.outage {
            Some(outage) if outage.resting => SinkState::Resting,
            None if self.up => SinkState::Up,
            Some(_) | None => SinkState::Down,
        }
    }

    /// When a sink that takes nothing is tried again, whatever with.
    #[must_use]
    pub fn down_until(&self) -> Option<Moment> {
        self.outage.as_ref().map(Outage::next)
    }

    /// When anything that failed is tried next.
    #[must_use]
    pub fn next_try(&self, now: Moment) -> Option<Moment> {
        self.down_until().or(self.held_until(now))
    }

    /// How many calls are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// When the next of the held calls is tried; none also where that is as soon as the sink has room for it.
    #[must_use]
    pub fn held_until(&self, now: Moment) -> Option<Moment> {
        let due = self.held.next()?;
        Some(self.down_until().unwrap_or(due)).filter(|at| *at > now)
    }

    fn start_over(&mut self, from: i64, now: Moment) {
        self.after = from;
        let pause = if self.backlog.is_some() { AGAIN_FRESH } else { AGAIN };
        // With nothing passed over, the beginning of the queue is where to read on.
        let passes_over = self.backlog.is_some() || !self.held.is_empty();
        self.again = Some(if passes_over { now + pause } else { now });
    }

    fn go_down(&mut self, after: Option<Duration>, now: Moment, chance: f64) -> Change {
        let mut outage = Outage::new(now);
        outage.fail(after, now, chance);
        self.outage = Some(outage);
        self.held.forgive();
        self.failed.clear();
        self.backlog = None;
        self.lost();
        Change::Down
    }

    fn rest(&mut self, now: Moment) -> Option<Change> {
        let mut outage = self.outage.take().unwrap_or(Outage::new(now));
        let rested = std::mem::replace(&mut outage.resting, true);
        (outage.until, outage.soonest) = (now + REST, now + REST);
        self.outage = Some(outage);
        self.failed.clear();
        self.backlog = None;
        self.lost();
        if rested { None } else { Some(Change::Resting) }
    }
}

#[cfg(test)]
mod tests;
