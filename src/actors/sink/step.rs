//! One step of a sink: take what the plan asks for, deliver it within the time there is, settle what came of it.
//!
//! Must not know when the next step is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::actors::{House, trail};
use crate::config::Delivery;
use crate::domain::canary::Canary;
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::domain::status::DeliveryOutcome;
use crate::retry::flow::{Answer, Change, Ended, Flow, Take, Tried};
use crate::sinks::batch::{Batch, Standing};
use crate::sinks::{Failure, Options, Parcel, Sink};
use crate::store::{Owed, Pick, Settlement, StoreError};

/// Pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at a batch under way, at least.
const SHORTEST: Duration = Duration::from_millis(1);
/// At a stop, nothing more is begun so long before the end.
const MARGIN: Duration = Duration::from_secs(1);

/// Whose step it is, and how it is to be delivered to.
pub(super) struct Desk {
    pub(super) house: Arc<House>,
    pub(super) name: SinkName,
    pub(super) options: Options,
    pub(super) delivery: Delivery,
    /// Once it is known: how the sink stops.
    pub(super) stopping: watch::Sender<Option<Stop>>,
}

/// How a sink stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// When that was asked for.
    pub(super) from: Moment,
    /// Deliveries are awaited until then, if that is limited.
    pub(super) until: Option<Moment>,
    /// Nothing more is begun; else deliveries are begun as long as their answers can be expected in time.
    pub(super) leaving: bool,
}

/// What a step works with; away while one is under way.
pub(super) struct Works {
    pub(super) sink: Box<dyn Sink>,
    pub(super) flow: Flow,
    /// How long the slowest answer of the last step took.
    pub(super) longest: Duration,
}

/// What one step brought.
pub(super) enum Outcome {
    /// There was nothing to deliver.
    Idle,
    /// Something was delivered, or failed.
    Tried(Progress),
    /// The store failed.
    Store(StoreError),
}

/// How the deliveries of one step ended.
#[derive(Default)]
pub(super) struct Progress {
    /// Whether there may be more to deliver at once.
    pub(super) more: bool,
    /// Whether anything came off the queue.
    pub(super) any: bool,
    /// What that means for the sink as a whole.
    pub(super) change: Option<Change>,
    /// The first failure.
    pub(super) failure: Option<String>,
    /// The first failure of what is tried again.
    pub(super) retried: Option<String>,
    /// What became dead letters.
    pub(super) dead: Option<Dead>,
}

/// Events that were given up.
pub(super) struct Dead {
    pub(super) events: u64,
    /// The first of them.
    pub(super) first: Token,
    /// Why that was.
    pub(super) why: String,
}

/// What was taken from the queue.
struct Taken {
    owed: Vec<Owed>,
    /// Whether everything that is owed of the held calls among it is there.
    whole: bool,
    more: bool,
}

impl Desk {
    /// The sink stops at this moment at the latest.
    pub(super) fn stop(&self, until: Moment) {
        self.stopping.send_modify(|stop| {
            let earlier = stop.unwrap_or(Stop { from: Moment::now(), until: None, leaving: false });
            *stop = Some(Stop { until: Some(until), ..earlier });
        });
    }

    /// The sink begins nothing more.
    pub(super) fn leave(&self) {
        self.stopping.send_modify(|stop| {
            let earlier = stop.unwrap_or(Stop { from: Moment::now(), until: None, leaving: true });
            *stop = Some(Stop { leaving: true, ..earlier });
        });
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.borrow().is_some()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.stopping.borrow().is_some_and(|stop| stop.leaving)
    }

    /// Whether a step may begin at `now`.
    pub(super) fn may_begin(&self, works: &Works, now: Moment) -> bool {
        self.stopping.borrow().is_none_or(|stop| now < stop.last_begin(works.longest))
    }

    /// Lets go of files and connections and opens them anew, within the time there is.
    pub(super) async fn reopen(&self, works: &mut Works) {
        if timeout(self.delivery.timeout, works.sink.reopen()).await.is_err() {
            self.replace(&mut works.sink);
        }
        works.flow.hurry(Moment::now());
    }

    /// Does what `take` asks for.
    pub(super) async fn step(&self, works: &mut Works, take: &Take) -> Outcome {
        let taken = match self.take(&mut works.flow, take).await {
            Ok(taken) => taken,
            Err(fault) => {
                works.flow.lost();
                return Outcome::Store(fault);
            }
        };
        if taken.owed.is_empty() {
            works.flow.done(&[], &[], taken.whole, Moment::now(), rand::random());
            return Outcome::Idle;
        }
        match self.deliver(works, taken).await {
            Ok(progress) => Outcome::Tried(progress),
            Err(fault) => {
                works.flow.lost();
                Outcome::Store(fault)
            }
        }
    }

    async fn take(&self, flow: &mut Flow, take: &Take) -> Result<Taken, StoreError> {
        let (store, name) = (&self.house.store, &self.name);
        let mut owed = Vec::new();
        let mut whole = take.turned == 0;
        if !take.calls.is_empty() {
            owed = store.of_calls(name, &take.calls, take.of_calls).await?;
            owed.sort_by_key(|owed| take.calls.iter().position(|call| **call == *owed.partition));
            whole &= owed.len() < take.of_calls;
            let found: BTreeSet<Arc<str>> = owed.iter().map(|owed| owed.partition.as_str().into()).collect();
            flow.read_calls(&take.calls, &found, owed.len(), whole);
        }
        let (held, mut more) = (owed.len(), !whole && take.turned == 0);
        for part in &take.parts {
            let limit = part.limit.min(take.most.saturating_sub(owed.len()));
            if limit == 0 {
                continue;
            }
            let pick = Pick {
                after: part.after,
                until: part.until,
                without: take.without.clone(),
                first_below: part.first_below,
                limit,
            };
            let found = store.pick(name, &pick).await?;
            flow.read(part, &found.iter().map(|owed| owed.position).collect::<Vec<_>>(), limit);
            more |= found.len() == limit;
            let known: BTreeSet<i64> = owed.iter().map(|owed| owed.position).collect();
            owed.extend(found.into_iter().filter(|owed| !known.contains(&owed.position)));
        }
        owed.rotate_left(held); // what failed before comes last, for the sake of sinks that stop at a failure
        if let Some(turned) = take.turned.checked_rem(owed.len()) {
            owed.rotate_left(turned);
        }
        Ok(Taken { owed, whole, more })
    }

    async fn deliver(&self, works: &mut Works, taken: Taken) -> Result<Progress, StoreError> {
        let (intact, damaged): (Vec<_>, Vec<_>) = taken.owed.iter().partition(|owed| owed.intact);
        let batch = Batch::new(intact.iter().map(|owed| parcel(owed)).collect(), self.delivery.timeout);
        let overdue = self.hand_over(works, &batch).await;
        let now = Moment::now();
        let (outcomes, left) = batch.outcomes();
        works.flow.adapt(intact.len(), outcomes.len(), overdue);
        let longest = outcomes.iter().map(|outcome| outcome.times.1.since(outcome.times.0)).max();
        works.longest = longest.unwrap_or(works.longest);
        let answered = outcomes.into_iter().map(|outcome| (intact[outcome.place], outcome.answer, outcome.times));
        let answered = answered.chain(damaged.into_iter().map(|owed| (owed, self::damaged(), (now, now))));
        let answered: Vec<_> = answered.collect();
        let left: Vec<_> = left.into_iter().map(|place| intact[place].position).collect();
        let said: Vec<_> = answered.iter().map(|(owed, answer, _)| said(owed, answer, now)).collect();
        let Ended { change, dead } = works.flow.done(&said, &left, taken.whole, now, rand::random());
        let mut progress = Progress { more: taken.more || !left.is_empty(), change, ..Progress::default() };
        let mut settlements = Vec::with_capacity(answered.len());
        let mut counts = [0; 3];
        for (owed, answer, times) in answered {
            trail::answered(&self.house.traces, &self.name, owed, &answer, times);
            let settlement = progress.note(owed, answer, dead.contains(&owed.position));
            if Canary::is_one(&owed.partition) {
                settlements.push((owed.position, self.settle_canary(owed, settlement, times.1)));
                continue;
            }
            let outcome = match settlement {
                Settlement::Delivered => {
                    let time = times.1.utc().duration_since(owed.received).try_into().unwrap_or_default();
                    self.house.metrics.delivery_time(self.name.as_str(), time);
                    DeliveryOutcome::Delivered
                }
                Settlement::Retried => DeliveryOutcome::Retried,
                Settlement::Dead { .. } => DeliveryOutcome::Dead,
            };
            counts[outcome as usize] += 1;
            settlements.push((owed.position, settlement));
        }
        self.settle(settlements).await?;
        for (outcome, n) in DeliveryOutcome::ALL.iter().zip(counts) {
            self.house.metrics.delivery(self.name.as_str(), *outcome, n);
        }
        if matches!(progress.change, Some(Change::Back | Change::Freed)) {
            works.flow.drain(self.house.store.newest(&self.name).await?, Moment::now());
        }
        Ok(progress)
    }

    /// Has the sink deliver `batch`, for as long as any of it may be answered in time, and no longer than a stop allows.
    /// Returns whether a delivery ran out of time.
    async fn hand_over(&self, works: &mut Works, batch: &Batch) -> bool {
        if batch.parcels().is_empty() {
            return false;
        }
        let mut stopping = self.stopping.subscribe();
        let ended = {
            let delivering = works.sink.hand_over(batch);
            tokio::pin!(delivering);
            loop {
                let (now, stop) = (Moment::now(), *stopping.borrow_and_update());
                if let Some(stop) = stop {
                    batch.close(stop.last_begin(works.longest));
                }
                let last = stop.and_then(|stop| stop.until);
                let until = match batch.standing(now) {
                    Standing::Waiting(until) => last.map_or(until, |last| last.min(until)),
                    Standing::Over => break false,
                };
                if stop.is_some() && batch.is_at_rest(now) || last.is_some_and(|last| last <= now) {
                    break false;
                }
                tokio::select! {
                    biased;
                    () = &mut delivering => break true,
                    () = tokio::time::sleep(now.until(until).max(SHORTEST)) => {}
                    _ = stopping.changed() => {}
                }
            }
        };
        if ended {
            batch.complete();
            return false;
        }
        let overdue = batch.lapse(Moment::now());
        self.replace(&mut works.sink);
        overdue
    }

    /// Whatever hangs goes with the sink it hangs in.
    fn replace(&self, sink: &mut Box<dyn Sink>) {
        if !sink.stays() {
            *sink = self.options.open();
        }
    }

    /// Tried until it is written: what was delivered must not be delivered again because the disk is full.
    async fn settle(&self, settlements: Vec<(i64, Settlement)>) -> Result<(), StoreError> {
        let mut told = false;
        loop {
            match self.house.store.settle(&self.name, settlements.clone()).await {
                Ok(()) => {
                    if told {
                        self.house.board.view().unsettled.remove(&self.name);
                        tracing::info!(sink = %self.name, "deliveries are settled again");
                    }
                    return Ok(());
                }
                Err(fault @ (StoreError::Closed | StoreError::Refused(_))) => {
                    self.house.board.view().unsettled.remove(&self.name);
                    return Err(fault);
                }
                Err(fault) => {
                    self.house.store_failed(&fault);
                    if let Some(fault) = fault.fault() {
                        self.house.board.view().unsettled.insert(self.name.clone(), fault);
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(sink = %self.name, %fault, "deliveries cannot be settled; they wait until they can");
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What is not as it was written goes nowhere and holds up nothing; an operator finds it among the dead letters.
fn damaged() -> Result<(), Failure> {
    Err(Failure::Reject { reason: "damaged in the database: not what was once written".to_owned() })
}

/// An answer, as far as it matters for what comes next.
fn said(owed: &Owed, answer: &Result<(), Failure>, now: Moment) -> Tried {
    let failing_for = owed.failing_since.map(|since| now.utc().duration_since(since));
    let age = || now.utc().duration_since(owed.received).try_into().unwrap_or_default();
    Tried {
        position: owed.position,
        call: owed.partition.as_str().into(),
        answer: match answer {
            _ if !owed.intact => Answer::Damaged,
            Ok(()) => Answer::Passed,
            Err(Failure::Reject { .. }) => Answer::Refused,
            Err(Failure::Retry { after, .. }) => Answer::Failed(*after),
            Err(Failure::Pause { .. }) => Answer::Stop,
        },
        tries: owed.attempts,
        failing_for: failing_for.and_then(|time| time.try_into().ok()).unwrap_or_default(),
        age: (!Canary::is_one(&owed.partition)).then(age),
    }
}

impl Progress {
    /// What the queue must remember of an answer.
    fn note(&mut self, owed: &Owed, answer: Result<(), Failure>, dead: bool) -> Settlement {
        let reason = match answer {
            Ok(()) => {
                self.any = true;
                return Settlement::Delivered;
            }
            Err(Failure::Retry { reason, .. } | Failure::Pause { reason } | Failure::Reject { reason }) => reason,
        };
        if owed.intact {
            self.failure.get_or_insert_with(|| reason.clone());
        }
        if !dead {
            self.retried.get_or_insert(reason);
            return Settlement::Retried;
        }
        self.any = true;
        if !Canary::is_one(&owed.partition) {
            let first = || Dead { events: 0, first: owed.id.clone(), why: reason.clone() };
            self.dead.get_or_insert_with(first).events += 1;
        }
        Settlement::Dead { reason }
    }
}

impl Stop {
    /// From when on nothing more is begun: what is begun shall be answered before the end, by a sink that has last needed
    /// up to `longest` for an answer.
    fn last_begin(self, longest: Duration) -> Moment {
        match self.until.filter(|_| !self.leaving) {
            Some(until) => self.from.max(until - (2 * longest).max(MARGIN)),
            None => self.from,
        }
    }
}

fn parcel(owed: &Owed) -> Parcel {
    Parcel { id: owed.id.as_str().into(), partition: owed.partition.as_str().into(), body: Arc::clone(&owed.body) }
}
