//! The sink actor: feeds one sink from the queue, in order within each call, and settles what it acknowledged.
//!
//! One step at a time: ask the plan, take, deliver, settle. What is taken next, and when, is decided by
//! [`crate::retry::flow`].

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tracing::field::display;

use super::fleet::{ActorDied, Fleet, Role};
use super::{House, Obituary};
use crate::board::SinkStatus;
use crate::config;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::retry::flow::{Change, Flow, Plan, Take};
use crate::sinks::Sink;
use crate::store::StoreError;
use depth::owes;
use step::{Dead, Desk, Outcome, Progress, Works};

mod canary;
mod depth;
mod step;
#[cfg(test)]
mod tests;

/// Between two tries at least.
const SHORTEST: Duration = Duration::from_millis(1);
/// The board is told how much is owed at most this often.
const COUNTING: Duration = Duration::from_millis(100);
/// Pause before the queue is asked again after the store failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the queue is looked at unasked: a step may go on and on, and an operator may change the queue.
const GLANCE: Duration = Duration::from_secs(1);

/// There may be something to deliver.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Let go of files and open them anew.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reopen;

/// Stop once what is due is delivered or a delivery fails, and at the latest at this moment. Answered when whatever was
/// answered by then is settled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain(pub Moment);

/// Begin nothing more, wait for what is under way, and stop; what is owed stays in the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dismiss;

/// The actor.
pub struct SinkActor {
    desk: Arc<Desk>,
    predecessor: Option<Addr<SinkActor>>,
    /// Away while a step is under way.
    works: Option<Works>,
    reopen: bool,
    again: bool,
    counted: Counted,
    timer: Timer,
    drained: Vec<tokio::sync::oneshot::Sender<()>>,
    _obituary: Obituary<ActorDied>,
}

/// What is waited for between two steps.
enum Timer {
    /// Nothing but news.
    None,
    /// For the store, which failed; news does not shorten that.
    Pausing(SpawnHandle),
    /// For the time of the next try, or for news.
    Waiting(SpawnHandle),
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

impl SinkActor {
    /// A sink that begins once its `predecessor`, if there is one, has settled what it had under way: else it would
    /// deliver that again, and out of order.
    pub(super) fn new(
        house: Arc<House>,
        name: SinkName,
        sink: &config::Sink,
        predecessor: Option<Addr<Self>>,
        fleet: &Addr<Fleet>,
        life: u64,
    ) -> Self {
        Self { predecessor, ..Self::with(house, name, sink, sink.options.open(), fleet, life) }
    }

    fn with(
        house: Arc<House>,
        name: SinkName,
        sink: &config::Sink,
        opened: Box<dyn Sink>,
        fleet: &Addr<Fleet>,
        life: u64,
    ) -> Self {
        let flow = Flow::new(opened.batch(), sink.delivery.backlog_rate);
        Self {
            _obituary: Obituary::new(fleet, ActorDied { role: Role::Sink(name.clone()), life }),
            desk: Arc::new(Desk {
                house,
                name,
                options: sink.options.clone(),
                delivery: sink.delivery,
                stopping: tokio::sync::watch::Sender::default(),
            }),
            predecessor: None,
            works: Some(Works { sink: opened, flow, longest: Duration::ZERO }),
            reopen: false,
            again: false,
            counted: Counted::Stale,
            timer: Timer::None,
            drained: Vec::new(),
        }
    }

    /// What is in the queue at the start is a backlog.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let works = self.works.take();
        let desk = Arc::clone(&self.desk);
        let predecessor = self.predecessor.take();
        let newest = async move {
            if let Some(predecessor) = predecessor {
                let _ = predecessor.send(Dismiss).await; // an error means that it is gone already
            }
            desk.house.store.newest(&desk.name).await
        };
        ctx.spawn(newest.into_actor(self).map(|newest, this, ctx| {
            this.works = works;
            if let (Some(works), Ok(newest)) = (&mut this.works, newest) {
                works.flow.drain(newest, Moment::now());
            }
            this.go(ctx);
        }));
    }

    /// Does what the plan says; while a step is under way, after it.
    fn go(&mut self, ctx: &mut Context<Self>) {
        let Some(works) = &mut self.works else {
            self.again = true;
            return;
        };
        if !self.desk.may_begin(works, Moment::now()) {
            return self.say_stopped(ctx);
        }
        if let Timer::Pausing(timer) | Timer::Waiting(timer) = std::mem::replace(&mut self.timer, Timer::None) {
            ctx.cancel_future(timer);
        }
        if std::mem::take(&mut self.reopen) {
            let Some(mut works) = self.works.take() else { return };
            let desk = Arc::clone(&self.desk);
            let reopened = async move {
                desk.reopen(&mut works).await;
                works
            };
            ctx.spawn(reopened.into_actor(self).map(|works, this, ctx| {
                this.works = Some(works);
                this.go(ctx);
            }));
            return;
        }
        let now = Moment::now();
        match works.flow.plan(now) {
            Plan::Take(take) => self.step(take, ctx),
            Plan::Wait(until) => {
                if let Some(works) = &self.works {
                    self.show(works, None); // news may have brought the next probe forward
                }
                self.timer = Timer::Waiting(ctx.run_later(now.until(until).max(SHORTEST), Self::go));
                self.say_stopped(ctx);
            }
        }
    }

    fn step(&mut self, take: Take, ctx: &mut Context<Self>) {
        let Some(mut works) = self.works.take() else { return };
        let desk = Arc::clone(&self.desk);
        let step = async move {
            let outcome = desk.step(&mut works, &take).await;
            (works, outcome)
        };
        ctx.spawn(step.into_actor(self).map(|(works, outcome), this, ctx| this.done(works, outcome, ctx)));
    }

    fn done(&mut self, mut works: Works, outcome: Outcome, ctx: &mut Context<Self>) {
        let woken = std::mem::take(&mut self.again);
        if woken {
            works.flow.news();
        }
        let now = Moment::now();
        let (at_once, pause) = match outcome {
            Outcome::Idle => {
                self.show(&works, None);
                (woken, None)
            }
            Outcome::Tried(progress) => {
                let at_once = (progress.more || woken) && (progress.any || !self.desk.is_stopping());
                self.tell(&works, &progress);
                self.show(&works, progress.failure);
                (at_once, None)
            }
            Outcome::Store(StoreError::Closed) => return, // the end: what is owed stays in the queue
            Outcome::Store(fault) => {
                self.desk.house.store_failed(&fault);
                tracing::error!(sink = %self.desk.name, %fault, "the queue cannot be read or settled");
                (false, Some(PAUSE))
            }
        };
        if let Some(caught_up) = works.flow.caught_up() {
            let held_calls = Some(works.flow.held()).filter(|held| *held > 0);
            tracing::info!(sink = %self.desk.name, held_calls, "{caught_up}");
        }
        let next = works.flow.next(now).map(|next| now.until(next).max(SHORTEST));
        self.works = Some(works);
        self.count(ctx);
        if at_once || self.reopen {
            return self.go(ctx);
        }
        self.timer = match (pause, next) {
            (Some(pause), _) => Timer::Pausing(ctx.run_later(pause, Self::go)),
            (None, Some(next)) => Timer::Waiting(ctx.run_later(next, Self::go)),
            (None, None) => Timer::None,
        };
        self.say_stopped(ctx);
    }

    /// Tells the log how the deliveries ended.
    fn tell(&self, works: &Works, tried: &Progress) {
        let sink = &self.desk.name;
        let why = tried.failure.as_deref();
        if let Some(Dead { events, first, why }) = &tried.dead {
            tracing::warn!(%sink, events, event_id = %first, why, "given up and kept as dead letters");
        }
        if let Some(why) = &tried.retried {
            let next_try = works.flow.next_try(Moment::now()).map(|at| display(at.utc()));
            tracing::warn!(%sink, why, held_calls = works.flow.held(), next_try, "a delivery failed and is tried again");
        }
        match tried.change {
            Some(Change::Down) => {
                let retry_at = works.flow.down_until().map(|at| display(at.utc()));
                tracing::warn!(%sink, why, retry_at, "the sink takes nothing: it is probed until it does");
            }
            Some(Change::Resting) => {
                let retry_at = works.flow.down_until().map(|at| display(at.utc()));
                tracing::error!(%sink, why, retry_at, "the sink wants no more events: it rests for an hour, or until a reload");
            }
            Some(Change::Back) => tracing::info!(%sink, "the sink accepts events again"),
            Some(Change::Freed) | None => {}
        }
    }

    /// Tells the board how the sink is, and the newest `failure`.
    fn show(&self, works: &Works, failure: Option<String>) {
        if self.desk.is_leaving() {
            return; // the board belongs to its successor, or has no place for it any more
        }
        let flow = &works.flow;
        let mut view = self.desk.house.board.view();
        let kind = self.desk.options.kind();
        let status = view.sinks.entry(self.desk.name.clone()).or_insert_with(|| SinkStatus::new(kind));
        status.state = flow.state();
        status.held = u64::try_from(flow.held()).unwrap_or(u64::MAX);
        status.held_retry_at = flow.held_until(Moment::now()).map(Moment::utc);
        status.retry_at = flow.down_until().map(Moment::utc);
        if failure.is_some() {
            status.last_error = failure;
        }
    }

    /// Where it is to stop: it has.
    fn say_stopped(&mut self, ctx: &mut Context<Self>) {
        for done in self.drained.drain(..) {
            let _ = done.send(());
        }
        if self.desk.is_stopping() {
            ctx.stop(); // what is begun now may be answered when nobody can settle it
        }
    }

    /// Tells the board how much is owed, now or as soon as it may be told again, and keeps that within its bounds.
    fn count(&mut self, ctx: &mut Context<Self>) {
        if self.counted != Counted::Stale {
            self.counted = Counted::Again;
            return;
        }
        self.counted = Counted::Fresh;
        let desk = Arc::clone(&self.desk);
        let survey = async move { desk.survey().await };
        ctx.spawn(survey.into_actor(self).map(|survey, this, ctx| {
            if let Ok(depth) = survey
                && !this.desk.is_leaving()
            {
                let blocking = this.desk.hold_up(depth);
                this.desk.house.metrics.pending(this.desk.name.as_str(), depth.pending);
                let kind = this.desk.options.kind();
                let mut view = this.desk.house.board.view();
                let status = view.sinks.entry(this.desk.name.clone()).or_insert_with(|| SinkStatus::new(kind));
                status.blocking = blocking;
                owes(status, depth);
            }
            ctx.run_later(COUNTING, |this, ctx| {
                if std::mem::replace(&mut this.counted, Counted::Stale) == Counted::Again {
                    this.count(ctx);
                }
            });
        }));
    }

    /// Looks at the queue unasked.
    fn glance(&mut self, ctx: &mut Context<Self>) {
        self.count(ctx);
        if self.works.is_some() && !matches!(self.timer, Timer::Pausing(_)) {
            self.go(ctx);
        }
    }
}

impl Actor for SinkActor {
    type Context = Context<Self>;

    /// A restart tries at once what is still owed (interface section 6, promise 2).
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.begin(ctx);
        self.count(ctx);
        self.keep_canaries(ctx);
        ctx.run_interval(GLANCE, Self::glance);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.desk.house.set_full(&self.desk.name, false);
    }
}

impl Handler<Wake> for SinkActor {
    type Result = ();
    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        if let Some(works) = &mut self.works {
            works.flow.news();
        }
        if !matches!(self.timer, Timer::Pausing(_)) {
            self.go(ctx);
        }
    }
}

impl Handler<Reopen> for SinkActor {
    type Result = ();
    fn handle(&mut self, _: Reopen, ctx: &mut Context<Self>) {
        self.reopen = true;
        self.go(ctx);
    }
}

impl Handler<Drain> for SinkActor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, Drain(until): Drain, ctx: &mut Context<Self>) -> Self::Result {
        self.desk.stop(until);
        let (done, drained) = tokio::sync::oneshot::channel();
        self.drained.push(done);
        self.go(ctx);
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

impl Handler<Dismiss> for SinkActor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Dismiss, ctx: &mut Context<Self>) -> Self::Result {
        self.desk.leave();
        let (done, left) = tokio::sync::oneshot::channel();
        self.drained.push(done);
        self.go(ctx);
        Box::pin(async move {
            let _ = left.await;
        })
    }
}
