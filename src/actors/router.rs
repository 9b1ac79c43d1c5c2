//! The router actor: decides what is an event, where it goes, and writes both down in one commit.
//!
//! Batches that arrive while a commit is under way are committed together in the next one. It
//! remembers nothing between commits, so it can be rebuilt at any time.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::fleet::{ActorDied, Fleet, Role};
use super::sink::{SinkActor, Wake};
use super::{House, Obituary};
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, SinkName};
use crate::protocol::admission::Reception;
use crate::protocol::coverage::{Change, Gap};
use crate::protocol::legs::{Legs, Verdict, Wanted};
use crate::protocol::notification::Notification;
use crate::routing::Routes;
use crate::store::{Commit, Recall, StoreError};
use ageing::Age;
use gaps::Gaps;
use tally::Tally;

mod ageing;
mod gaps;
mod tally;

pub use ageing::Stale;

/// Batches from connections that wait in the mailbox at most.
const MAILBOX: usize = 1024;
/// Pause before a commit that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Messages one account received, in order. Answered once they are on the disk: true, or false if they must be sent
/// again.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
pub struct Deliver {
    /// Who received them, and as whom.
    pub reception: Arc<Reception>,
    /// The messages.
    pub notes: Arc<[Notification]>,
    /// When they were read.
    pub received: Moment,
}

/// An account's events can reach us, or cannot any more. Answered as [`Deliver`] is.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
pub struct Cover {
    /// The account.
    pub account: AccountName,
    /// What changed.
    pub change: Change,
}

/// What waits to be committed, in the order it came.
#[derive(Clone)]
enum Batch {
    Deliver(Deliver),
    Cover(Cover),
    Age(Age),
}

/// Route to these sinks from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reroute {
    /// Sinks and rules.
    pub routes: Routes,
    /// Whom to wake.
    pub sinks: Vec<(SinkName, Addr<SinkActor>)>,
    /// Which legs are stale.
    pub stale: Stale,
}

/// The actor.
pub struct Router {
    house: Arc<House>,
    routes: Arc<Routes>,
    sinks: Vec<(SinkName, Addr<SinkActor>)>,
    waiting: Vec<(Batch, oneshot::Sender<bool>)>,
    committing: bool,
    stale: Stale,
    /// When this life began.
    born: Moment,
    _obituary: Obituary<ActorDied>,
}

impl Router {
    pub(super) fn new(house: Arc<House>, reroute: Reroute, fleet: &Addr<Fleet>, life: u64) -> Self {
        Self {
            house,
            routes: Arc::new(reroute.routes),
            sinks: reroute.sinks,
            stale: reroute.stale,
            born: Moment::now(),
            waiting: Vec::new(),
            committing: false,
            _obituary: Obituary::new(fleet, ActorDied { role: Role::Router, life }),
        }
    }

    fn take(&mut self, batch: Batch, ctx: &mut Context<Self>) -> ResponseFuture<bool> {
        let (asker, committed) = oneshot::channel();
        self.waiting.push((batch, asker));
        self.commit(ctx);
        Box::pin(async move { committed.await.unwrap_or(false) })
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        self.house.metrics.router_batches(self.waiting.len());
        self.house.measure_store();
        if self.committing || self.waiting.is_empty() {
            return;
        }
        self.committing = true;
        let (batches, askers): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
        let (house, routes) = (Arc::clone(&self.house), Arc::clone(&self.routes));
        let round = async move { round(&house, &routes, batches).await };
        ctx.spawn(round.into_actor(self).map(move |woken, this, ctx| {
            for asker in askers {
                let _ = asker.send(true);
            }
            for (name, sink) in this.sinks.iter().filter(|(name, _)| woken.contains(name)) {
                if let Err(SendError::Closed(_)) = sink.try_send(Wake) {
                    tracing::debug!(sink = %name, "the sink is being rebuilt");
                }
            }
            this.committing = false;
            this.commit(ctx);
        }));
    }
}

impl Batch {
    fn cover(&self) -> Option<&Cover> {
        match self {
            Self::Cover(cover) => Some(cover),
            Self::Deliver(_) | Self::Age(_) => None,
        }
    }

    fn age(&self) -> Option<&Age> {
        match self {
            Self::Age(age) => Some(age),
            Self::Deliver(_) | Self::Cover(_) => None,
        }
    }
}

/// One group commit, tried until it succeeds; returns the sinks that are owed something.
async fn round(house: &House, routes: &Routes, batches: Vec<Batch>) -> Vec<SinkName> {
    let mut troubled = false;
    house.room().await;
    loop {
        match attempt(house, routes, &batches).await {
            Ok((tally, woken)) => {
                if troubled {
                    tracing::info!("the store takes events again");
                }
                house.board.view().store_fault = None;
                tally.tell(house);
                return woken;
            }
            Err(StoreError::Closed) => return Vec::new(), // the end: what is not committed is not promised
            Err(fault) => {
                house.store_failed(&fault);
                house.board.view().store_fault = fault.fault();
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(%fault, "events cannot be committed; receiving stops until they can");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn attempt(house: &House, routes: &Routes, batches: &[Batch]) -> Result<(Tally, Vec<SinkName>), StoreError> {
    let mut tally = Tally::of(&house.traces);
    let sightings = tally.admit(batches);
    let covers: Vec<_> = batches.iter().filter_map(Batch::cover).collect();
    let mut wanted = Wanted::default();
    let sightings: Vec<_> = sightings.into_iter().map(|sighting| (sighting, wanted.add(sighting))).collect();
    let ages: Vec<_> = batches.iter().filter_map(Batch::age).collect();
    wanted.legs.extend(ages.iter().flat_map(|age| age.legs.iter().cloned()));
    if wanted == Wanted::default() && covers.is_empty() {
        return Ok((tally, Vec::new()));
    }
    let Wanted { events, legs, nodes, mut calls } = wanted;
    calls.extend(covers.iter().map(|cover| Gap::partition(&cover.account)));
    let coverage = covers.iter().map(|cover| cover.account.clone()).collect();
    let recalled = house.store.recall(Recall { events, legs, nodes, calls, coverage }).await?;
    let mut legs = Legs::recalled(recalled.events, recalled.legs, recalled.calls);
    let mut gaps = Gaps::recalled(recalled.coverage);
    let mut commit = Commit::default();
    for cover in covers {
        if let Some(gap) = gaps.note(cover) {
            let event = gap.event(legs.next_of(&Gap::partition(&gap.account)));
            commit.events.push(tally.tell_gap(&gap, &event, routes));
        }
    }
    commit.coverage = gaps.changes();
    for (sighting, names) in sightings {
        match legs.see(sighting, names) {
            Verdict::New(events) => {
                for event in events {
                    commit.events.push(tally.emit(sighting, &event, routes));
                }
            }
            Verdict::Duplicate(kind) => tally.duplicate(sighting, kind),
        }
    }
    for event in ages.iter().flat_map(|age| age.carry_out(&mut legs)) {
        commit.events.push(tally.enqueue(&event, routes));
    }
    (commit.legs, commit.calls) = legs.changes();
    if commit.events.is_empty() && commit.coverage.is_empty() && commit.legs.is_empty() {
        return Ok((tally, Vec::new()));
    }
    let mut woken: Vec<_> = commit.events.iter().flat_map(|event| event.owed.iter().cloned()).collect();
    woken.sort();
    woken.dedup();
    tally.commits(Moment::now());
    house.store.commit(commit).await?;
    Ok((tally, woken))
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.age(ctx);
    }
}

impl Handler<Deliver> for Router {
    type Result = ResponseFuture<bool>;
    fn handle(&mut self, batch: Deliver, ctx: &mut Context<Self>) -> Self::Result {
        self.take(Batch::Deliver(batch), ctx)
    }
}

impl Handler<Cover> for Router {
    type Result = ResponseFuture<bool>;
    fn handle(&mut self, cover: Cover, ctx: &mut Context<Self>) -> Self::Result {
        self.take(Batch::Cover(cover), ctx)
    }
}

impl Handler<Reroute> for Router {
    type Result = ();
    fn handle(&mut self, reroute: Reroute, _: &mut Context<Self>) {
        self.routes = Arc::new(reroute.routes);
        self.sinks = reroute.sinks;
        self.stale = reroute.stale;
    }
}
