//! The sink actor: feeds one sink from the queue, in order, and settles what it acknowledged.
//!
//! One step at a time: take what is due, deliver, settle. When deliveries are tried again is decided by
//! [`crate::retry`]. Steps that follow each other closely are held apart a little, so that each takes more at once.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use jiff::{SignedDuration, Timestamp};

use super::fleet::{ActorDied, Fleet, Role};
use super::{House, Obituary};
use crate::board::SinkStatus;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::domain::status::DeliveryOutcome;
use crate::retry::{self, Next};
use crate::sinks::{Failure, Options, Parcel, Sink};
use crate::store::{Depth, Owed, Settlement, StoreError};

/// After a step that emptied the queue the next one waits this long for more: a step costs about the same for one and
/// for many.
const GATHERING: Duration = Duration::from_millis(8);
/// Between two tries at least.
const SHORTEST: Duration = Duration::from_millis(1);
/// The board is told how much is owed at most this often.
const COUNTING: Duration = Duration::from_millis(100);
/// Pause before the queue is asked again after the store failed.
const PAUSE: Duration = Duration::from_millis(500);

/// How often the queue is looked at while a step goes on and on.
const GLANCE: Duration = Duration::from_secs(1);

/// There may be something to deliver.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Let go of files and open them anew.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reopen;

/// Stop once what is due is delivered or a delivery fails.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Stop at once; what is owed stays in the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dismiss;

/// The actor.
pub struct SinkActor {
    house: Arc<House>,
    name: SinkName,
    kind: &'static str,
    /// Away while a step is under way.
    sink: Option<Box<dyn Sink>>,
    failing: Option<Failing>,
    reopen: bool,
    again: bool,
    counted: Counted,
    timer: Option<SpawnHandle>,
    watch: Option<SpawnHandle>,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
    _obituary: Obituary<ActorDied>,
}

/// How well the board knows what is owed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// It has not been told of the newest step, and may be told at once.
    Stale,
    /// It was told a moment ago.
    Fresh,
    /// It was told a moment ago, and something has happened since.
    Again,
}

#[derive(Clone, Copy)]
struct Failing {
    since: Moment,
    failures: u32,
}

/// What one step brought.
struct Step {
    sink: Box<dyn Sink>,
    /// What is owed, asked for at once where the sink failed: both are seen together.
    depth: Option<Depth>,
    outcome: Outcome,
}

enum Outcome {
    /// Nothing is due.
    Idle,
    /// Some of it is delivered and nothing failed.
    Progress {
        /// There may be more.
        more: bool,
    },
    /// The sink failed.
    Failed { reason: String, after: Option<Duration>, progress: bool },
    /// The store failed.
    Store(StoreError),
}

impl SinkActor {
    pub(super) fn new(house: Arc<House>, name: SinkName, options: &Options, fleet: &Addr<Fleet>, life: u64) -> Self {
        Self {
            _obituary: Obituary::new(fleet, ActorDied { role: Role::Sink(name.clone()), life }),
            house,
            name,
            kind: options.kind(),
            sink: Some(options.open()),
            failing: None,
            reopen: false,
            again: false,
            counted: Counted::Stale,
            timer: None,
            watch: None,
            drained: Vec::new(),
        }
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        let timer = self.timer.take();
        let Some(sink) = self.sink.take() else {
            self.again = true;
            return;
        };
        if let Some(timer) = timer {
            ctx.cancel_future(timer);
        }
        let (house, name) = (Arc::clone(&self.house), self.name.clone());
        let step = step(house, name, sink, std::mem::take(&mut self.reopen));
        ctx.spawn(step.into_actor(self).map(|step, this, ctx| this.done(step, ctx)));
        self.watch(ctx);
    }

    /// A sink that hangs must not hide what it is owed.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        self.watch = Some(ctx.run_later(GLANCE, |this, ctx| {
            this.count(ctx);
            this.watch(ctx);
        }));
    }

    fn done(&mut self, step: Step, ctx: &mut Context<Self>) {
        self.sink = Some(step.sink);
        if let Some(watch) = self.watch.take() {
            ctx.cancel_future(watch);
        }
        let woken = std::mem::take(&mut self.again);
        let mut error = None;
        let next = match step.outcome {
            Outcome::Idle => woken.then_some(Duration::ZERO),
            Outcome::Progress { more } => {
                if self.failing.take().is_some() {
                    tracing::info!(sink = %self.name, "the sink accepts events again");
                }
                let at_once = more || (woken && !self.drained.is_empty());
                Some(if at_once { Duration::ZERO } else { GATHERING })
            }
            Outcome::Failed { reason, after, progress } => {
                let wait = self.fail(&reason, after, progress);
                error = Some(reason);
                Some(wait.max(SHORTEST))
            }
            Outcome::Store(StoreError::Closed) => return, // the end: what is owed stays in the queue
            Outcome::Store(fault) => {
                tracing::error!(sink = %self.name, %fault, "the queue cannot be read or settled");
                Some(PAUSE)
            }
        };
        self.show(error, step.depth);
        self.count(ctx);
        if next == Some(Duration::ZERO) {
            return self.step(ctx);
        }
        self.timer = next.map(|wait| ctx.run_later(wait, Self::step));
        for done in self.drained.drain(..) {
            let _ = done.send(());
        }
    }

    /// The sink failed; says when to try again.
    fn fail(&mut self, reason: &str, after: Option<Duration>, progress: bool) -> Duration {
        let now = Moment::now();
        if progress || self.failing.is_none() {
            tracing::warn!(sink = %self.name, reason, "a delivery failed and is tried again");
            self.failing = None;
        }
        let failing = self.failing.get_or_insert(Failing { since: now, failures: 0 });
        failing.failures += 1;
        match retry::schedule(failing.failures, now.since(failing.since), after, rand::random()) {
            Next::Again(wait) => wait,
            Next::GiveUp => Duration::ZERO, // the next step buries what still fails
        }
    }

    /// Tells the board whether the sink works.
    fn show(&self, error: Option<String>, depth: Option<Depth>) {
        let mut view = self.house.board.view();
        let status = view.sinks.entry(self.name.clone()).or_insert_with(|| SinkStatus {
            kind: self.kind,
            up: true,
            last_error: None,
            queued: 0,
            oldest: None,
            dead: 0,
        });
        status.up = self.failing.is_none();
        if let Some(depth) = depth {
            owes(status, depth);
        }
        if error.is_some() {
            status.last_error = error;
        }
    }

    /// Tells the board how much is owed, now or as soon as it may be told again.
    fn count(&mut self, ctx: &mut Context<Self>) {
        if self.counted != Counted::Stale {
            self.counted = Counted::Again;
            return;
        }
        self.counted = Counted::Fresh;
        let (house, name) = (Arc::clone(&self.house), self.name.clone());
        let depth = async move { house.store.depth(&name).await };
        ctx.spawn(depth.into_actor(self).map(|depth, this, ctx| {
            if let (Ok(depth), Some(status)) = (depth, this.house.board.view().sinks.get_mut(&this.name)) {
                owes(status, depth);
            }
            ctx.run_later(COUNTING, |this, ctx| {
                if std::mem::replace(&mut this.counted, Counted::Stale) == Counted::Again {
                    this.count(ctx);
                }
            });
        }));
    }
}

async fn step(house: Arc<House>, name: SinkName, mut sink: Box<dyn Sink>, reopen: bool) -> Step {
    if reopen {
        sink.reopen().await;
    }
    let most = sink.batch();
    let outcome = match house.store.due(&name, 0, most).await {
        Ok(due) if due.is_empty() => Outcome::Idle,
        Ok(due) => match deliver(&house, &name, sink.as_mut(), &due).await {
            Outcome::Progress { .. } => Outcome::Progress { more: due.len() >= most },
            other => other,
        },
        Err(fault) => Outcome::Store(fault),
    };
    let depth = match outcome {
        Outcome::Failed { .. } => house.store.depth(&name).await.ok(),
        Outcome::Idle | Outcome::Progress { .. } | Outcome::Store(_) => None,
    };
    Step { sink, depth, outcome }
}

async fn deliver(house: &House, name: &SinkName, sink: &mut dyn Sink, due: &[Owed]) -> Outcome {
    let parcels: Vec<_> = due.iter().map(parcel).collect();
    let answers = sink.deliver(&parcels).await;
    let now = Moment::now().utc();
    let mut settlements = Vec::with_capacity(due.len());
    let mut failed = None;
    let (mut delivered, mut retried, mut dead) = (0, 0, 0);
    for (owed, answer) in due.iter().zip(answers) {
        let settlement = match answer {
            Ok(()) => {
                delivered += 1;
                let time = now.duration_since(owed.received).try_into().unwrap_or_default();
                house.metrics.delivery_time(name.as_str(), time);
                Settlement::Delivered
            }
            Err(Failure::Retry { reason, .. }) if owed.failing_since.is_some_and(|since| too_long(since, now)) => {
                dead += 1;
                Settlement::Dead { reason }
            }
            Err(Failure::Retry { reason, after }) => {
                retried += 1;
                failed.get_or_insert((reason, after));
                Settlement::Retried
            }
            Err(Failure::Reject { reason }) => {
                dead += 1;
                Settlement::Dead { reason }
            }
        };
        settlements.push((owed.position, settlement));
    }
    if let Err(fault) = house.store.settle(name, settlements).await {
        return Outcome::Store(fault); // delivered again later: at least once
    }
    let counts =
        [(DeliveryOutcome::Delivered, delivered), (DeliveryOutcome::Retried, retried), (DeliveryOutcome::Dead, dead)];
    for (outcome, n) in counts {
        house.metrics.delivery(name.as_str(), outcome, n);
    }
    match failed {
        Some((reason, after)) => Outcome::Failed { reason, after, progress: delivered + dead > 0 },
        None => Outcome::Progress { more: true },
    }
}

fn owes(status: &mut SinkStatus, depth: Depth) {
    (status.queued, status.oldest, status.dead) = (depth.events, depth.oldest, depth.dead);
}

fn too_long(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= SignedDuration::try_from(retry::HORIZON).unwrap_or(SignedDuration::MAX)
}

fn parcel(owed: &Owed) -> Parcel {
    Parcel { id: owed.id.as_str().into(), partition: owed.partition.as_str().into(), body: Arc::clone(&owed.body) }
}

impl Actor for SinkActor {
    type Context = Context<Self>;

    /// A restart tries at once what is still owed (interface section 6, promise 2).
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(ctx);
    }
}

impl Handler<Wake> for SinkActor {
    type Result = ();
    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        if self.timer.is_none() {
            self.step(ctx);
        }
    }
}

impl Handler<Reopen> for SinkActor {
    type Result = ();
    fn handle(&mut self, _: Reopen, ctx: &mut Context<Self>) {
        self.reopen = true;
        self.step(ctx);
    }
}

impl Handler<Drain> for SinkActor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> Self::Result {
        let (done, drained) = tokio::sync::oneshot::channel();
        self.drained.push(done);
        self.step(ctx);
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

impl Handler<Dismiss> for SinkActor {
    type Result = ();
    fn handle(&mut self, _: Dismiss, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
