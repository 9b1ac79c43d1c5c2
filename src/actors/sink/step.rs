//! One step of a sink: take what the plan asks for, deliver it within the time there is, settle what came of it.
//!
//! Must not know when the next step is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use crate::actors::{House, trail};
use crate::config::Delivery;
use crate::domain::canary::Canary;
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::domain::status::DeliveryOutcome;
use crate::retry;
use crate::retry::flow::{Answer, Change, Flow, Take};
use crate::sinks::{Failure, Options, Parcel, Sink};
use crate::store::{Owed, Pick, Settlement, StoreError};

/// Pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Whose step it is, and how it is to be delivered to.
pub(super) struct Desk {
    pub(super) house: Arc<House>,
    pub(super) name: SinkName,
    pub(super) options: Options,
    pub(super) delivery: Delivery,
}

/// What a step works with; away while one is under way.
pub(super) struct Works {
    pub(super) sink: Box<dyn Sink>,
    pub(super) flow: Flow,
}

/// What one step brought.
pub(super) enum Outcome {
    /// There was nothing to deliver.
    Idle,
    /// Something was delivered, or failed.
    Tried(Tried),
    /// The store failed.
    Store(StoreError),
}

/// How the deliveries of one step ended.
#[derive(Default)]
pub(super) struct Tried {
    /// Whether there may be more to deliver at once.
    pub(super) more: bool,
    /// Whether anything came off the queue.
    pub(super) progress: bool,
    /// What that means for the sink as a whole.
    pub(super) change: Option<Change>,
    /// The first failure that is tried again.
    pub(super) failure: Option<String>,
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
            works.flow.done(&[], taken.whole, Moment::now(), rand::random());
            return Outcome::Idle;
        }
        match self.deliver(works, taken).await {
            Ok(tried) => Outcome::Tried(tried),
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
            flow.read_calls(&take.calls, &found, whole);
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
            flow.read(part.kind, found.len(), limit, found.last().map(|owed| owed.position));
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

    async fn deliver(&self, works: &mut Works, taken: Taken) -> Result<Tried, StoreError> {
        let parcels: Vec<_> = taken.owed.iter().filter(|owed| owed.intact).map(parcel).collect();
        let begun = Moment::now();
        let mut answers = self.hand_over(&mut works.sink, &parcels).await.into_iter();
        let now = Moment::now();
        let mut tried = Tried { more: taken.more, ..Tried::default() };
        let mut said = Vec::with_capacity(taken.owed.len());
        let mut settlements = Vec::with_capacity(taken.owed.len());
        let mut counts = [0; 3];
        for owed in &taken.owed {
            let answer = if owed.intact { answers.next().unwrap_or_else(no_answer) } else { damaged() };
            trail::answered(&self.house.traces, &self.name, owed, &answer, (begun, now));
            let (settlement, answer) = settle(owed, answer, now.utc(), &mut tried);
            said.push((owed.partition.as_str().into(), answer));
            if Canary::is_one(&owed.partition) {
                settlements.push((owed.position, self.settle_canary(owed, settlement, now)));
                continue;
            }
            let outcome = match settlement {
                Settlement::Delivered => {
                    let time = now.utc().duration_since(owed.received).try_into().unwrap_or_default();
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
        tried.change = works.flow.done(&said, taken.whole, Moment::now(), rand::random());
        if tried.change == Some(Change::Back)
            && let Some(mark) = self.house.store.newest(&self.name).await?
        {
            works.flow.drain(mark, Moment::now());
        }
        Ok(tried)
    }

    /// One answer for each of `parcels`, within the time there is.
    async fn hand_over(&self, sink: &mut Box<dyn Sink>, parcels: &[Parcel]) -> Vec<Result<(), Failure>> {
        if parcels.is_empty() {
            return Vec::new();
        }
        let retry = |reason: String| Err(Failure::Retry { reason, after: None });
        if let Ok(mut answers) = timeout(self.delivery.timeout, sink.deliver(parcels)).await {
            answers.resize_with(parcels.len(), no_answer);
            return answers;
        }
        self.replace(sink);
        parcels.iter().map(|_| retry(format!("no answer within {:?}", self.delivery.timeout))).collect()
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
                Ok(()) => return Ok(()),
                Err(fault @ (StoreError::Closed | StoreError::Refused(_))) => return Err(fault),
                Err(fault) => {
                    self.house.store_failed(&fault);
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(sink = %self.name, %fault, "deliveries cannot be settled; they wait until they can");
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn no_answer() -> Result<(), Failure> {
    Err(Failure::Retry { reason: "the sink gave no answer".to_owned(), after: None })
}

/// What is not as it was written goes nowhere and holds up nothing; an operator finds it among the dead letters.
fn damaged() -> Result<(), Failure> {
    Err(Failure::Reject { reason: "damaged in the database: not what was once written".to_owned() })
}

/// What the queue must remember of an answer, and what it says about the sink.
fn settle(owed: &Owed, answer: Result<(), Failure>, now: Timestamp, tried: &mut Tried) -> (Settlement, Answer) {
    let mut bury = |reason: String| {
        if !Canary::is_one(&owed.partition) {
            let first = || Dead { events: 0, first: owed.id.clone(), why: reason.clone() };
            tried.dead.get_or_insert_with(first).events += 1;
        }
        Settlement::Dead { reason }
    };
    match answer {
        Ok(()) => {
            tried.progress = true;
            (Settlement::Delivered, Answer::Settled)
        }
        Err(Failure::Reject { reason }) => {
            let settlement = bury(reason);
            tried.progress = true;
            (settlement, Answer::Settled)
        }
        Err(Failure::Retry { reason, .. } | Failure::Pause { reason })
            if owed.failing_since.is_some_and(|since| too_long(since, now)) =>
        {
            let settlement = bury(reason.clone());
            tried.failure.get_or_insert(reason);
            (settlement, Answer::GivenUp)
        }
        Err(Failure::Retry { reason, after }) => {
            tried.failure.get_or_insert(reason);
            (Settlement::Retried, Answer::Failed(after))
        }
        Err(Failure::Pause { reason }) => {
            tried.failure.get_or_insert(reason);
            (Settlement::Retried, Answer::Stop)
        }
    }
}

fn too_long(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= SignedDuration::try_from(retry::HORIZON).unwrap_or(SignedDuration::MAX)
}

fn parcel(owed: &Owed) -> Parcel {
    Parcel { id: owed.id.as_str().into(), partition: owed.partition.as_str().into(), body: Arc::clone(&owed.body) }
}
