//! The router actor: decides what is an event, where it goes, and writes both down in one commit.
//!
//! Batches that arrive while a commit is under way are committed together in the next one, large ones in pieces
//! (`rounds`). It remembers nothing between commits, so it can be rebuilt at any time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::fleet::{ActorDied, Fleet, Role};
use super::sink::{SinkActor, Wake};
use super::{GIVE_UP, House, Obituary};
use crate::domain::limits::ROUND_BYTES;
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, JidDomain, SinkName};
use crate::domain::status::RejectReason;
use crate::protocol::admission::Reception;
use crate::protocol::coverage::{Change, Gap};
use crate::protocol::legs::{Legs, Verdict, Wanted};
use crate::protocol::notification::Notification;
use crate::routing::Routes;
use crate::store::{Commit, Recall, StoreError};
use ageing::Age;
use gaps::Gaps;
pub(crate) use gaps::read as read_coverage;
use rounds::{Line, Piece, Place};
use tally::Tally;
use units::{Unit, Units};

mod ageing;
mod gaps;
mod rounds;
mod tally;
#[cfg(test)]
mod tests;
mod units;

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
    /// The domains of the accounts there are.
    pub domains: Arc<BTreeSet<JidDomain>>,
}

/// The actor.
pub struct Router {
    house: Arc<House>,
    routes: Arc<Routes>,
    sinks: Vec<(SinkName, Addr<SinkActor>)>,
    line: Line,
    stale: Stale,
    domains: Arc<BTreeSet<JidDomain>>,
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
            domains: reroute.domains,
            born: Moment::now(),
            line: Line::default(),
            _obituary: Obituary::new(fleet, ActorDied { role: Role::Router, life }),
        }
    }

    fn take(&mut self, batch: Batch, ctx: &mut Context<Self>) -> ResponseFuture<bool> {
        let (asker, committed) = oneshot::channel();
        self.line.add(batch, asker);
        self.commit(ctx);
        Box::pin(async move { committed.await.unwrap_or(false) })
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        self.house.metrics.router_batches(self.line.len());
        self.house.measure_store();
        let pieces = self.line.take();
        if pieces.is_empty() {
            return;
        }
        let (house, routes) = (Arc::clone(&self.house), Arc::clone(&self.routes));
        let domains = Arc::clone(&self.domains);
        let round = async move { round(&house, &routes, &domains, pieces).await };
        ctx.spawn(round.into_actor(self).map(move |done, this, ctx| {
            let Some(Done { reached, woken, .. }) = done else {
                // The store is closed, or has failed for good: what is not committed is not promised.
                this.line.give_up();
                return;
            };
            this.line.done(reached);
            for (name, sink) in this.sinks.iter().filter(|(name, _)| woken.contains(name)) {
                if let Err(SendError::Closed(_)) = sink.try_send(Wake) {
                    tracing::debug!(sink = %name, "the sink is being rebuilt");
                }
            }
            this.commit(ctx);
        }));
    }
}

/// What a round did.
struct Done {
    /// Of each piece: up to where it is committed; nothing where all of its batch is.
    reached: Vec<Option<Place>>,
    /// The sinks that are owed something.
    woken: Vec<SinkName>,
    tally: Tally,
}

/// One group commit, tried until something of it succeeds. Nothing comes of it once the store is closed or has failed for
/// good.
///
/// A commit that is refused for what is in it is tried with half of it, until the one thing that is at fault is alone. That
/// is left out and counted: it must not stop everybody else for ever.
async fn round(house: &House, routes: &Routes, domains: &Arc<BTreeSet<JidDomain>>, pieces: Vec<Piece>) -> Option<Done> {
    let (mut failing, mut troubled) = (None, false);
    let mut most = usize::MAX;
    house.room().await;
    loop {
        let units = Units::of(&pieces, Moment::now());
        let refused = match attempt(house, routes, domains, &pieces, units, most).await {
            Ok(mut done) => {
                if troubled {
                    tracing::info!("the store takes events again");
                }
                house.board.view().store_fault = None;
                std::mem::take(&mut done.tally).tell(house);
                return Some(done);
            }
            Err((StoreError::Closed, _)) => return None,
            Err((fault @ StoreError::Refused(_), refused)) if refused > 0 => {
                house.store_failed(&fault);
                tracing::debug!(%fault, things = refused, "a commit is refused for what is in it");
                if refused == 1 {
                    return Some(leave_out(house, &pieces, &fault));
                }
                refused
            }
            Err((fault, _)) => {
                house.store_failed(&fault);
                if house.is_over() {
                    return None;
                }
                house.board.view().store_fault = fault.fault();
                let now = Moment::now();
                let since = *failing.get_or_insert(now);
                if fault.lasts() && now.since(since) >= GIVE_UP {
                    house.fail(&fault);
                    return None;
                }
                if !std::mem::replace(&mut troubled, true) {
                    tracing::error!(%fault, "events cannot be committed; receiving stops until they can");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        most = refused / 2;
    }
}

/// Leaves out the first thing there is, which the store refuses whatever is beside it.
fn leave_out(house: &House, pieces: &[Piece], fault: &StoreError) -> Done {
    let units = Units::of(pieces, Moment::now());
    let first = units.all.first();
    let account = first.and_then(|(_, unit)| unit.account());
    tracing::error!(account = account.map(tracing::field::display), %fault, "the store can never take this: it is left out");
    house.metrics.rejected(RejectReason::Refused, 1);
    let mut done = Done { reached: units.reached(pieces, 1), woken: Vec::new(), tally: Tally::of(&house.traces) };
    done.tally.reject(units.rejected, &done.reached);
    std::mem::take(&mut done.tally).tell(house);
    done
}

/// Commits as many things of `pieces` as fit, `most` at most. With an error: how many things were tried.
async fn attempt(
    house: &House,
    routes: &Routes,
    domains: &Arc<BTreeSet<JidDomain>>,
    pieces: &[Piece],
    units: Units<'_>,
    most: usize,
) -> Result<Done, (StoreError, usize)> {
    let most = most.min(units.all.len());
    let failed = |fault: StoreError| (fault, most);
    let mut recall = Recall::default();
    let mut wanted = Wanted::default();
    let mut names = Vec::with_capacity(most);
    for (_, unit) in units.all.iter().take(most) {
        names.push(match unit {
            Unit::Seen(sighting) => wanted.add(*sighting),
            Unit::Cover(cover) => {
                wanted.calls.push(Gap::partition(&cover.account));
                recall.coverage.push(cover.account.clone());
                None
            }
            Unit::Age(age) => {
                wanted.legs.extend(age.legs.iter().cloned());
                None
            }
        });
    }
    let mut done = Done { reached: Vec::new(), woken: Vec::new(), tally: Tally::of(&house.traces) };
    if wanted == Wanted::default() && recall.coverage.is_empty() {
        done.reached = units.reached(pieces, most);
        done.tally.reject(units.rejected, &done.reached);
        return Ok(done);
    }
    let Wanted { events, legs, nodes, calls } = wanted;
    let recalled = house.store.recall(Recall { events, legs, nodes, calls, ..recall }).await.map_err(failed)?;
    let now = Moment::now();
    let mut legs = Legs::recalled(recalled.events, recalled.legs, recalled.ended, recalled.calls, Arc::clone(domains));
    let mut gaps = Gaps::recalled(recalled.coverage);
    let mut commit = Commit::default();
    let (mut seen, mut bytes) = (0, 0);
    for ((_, unit), names) in units.all.iter().zip(names) {
        let before = commit.events.len();
        let mut whole = true;
        match *unit {
            Unit::Seen(sighting) => {
                match legs.see(sighting, names) {
                    Verdict::New(events) => {
                        commit.events.extend(events.iter().map(|event| done.tally.emit(sighting, event, routes)));
                    }
                    Verdict::Partly(events) => {
                        commit.events.extend(events.iter().map(|event| done.tally.emit(sighting, event, routes)));
                        whole = false;
                    }
                    Verdict::Duplicate(kind) => done.tally.duplicate(sighting, kind),
                }
                done.tally.foreign(&sighting.reception.account, legs.take_foreign());
            }
            Unit::Cover(cover) => {
                if let Some(gap) = gaps.note(cover) {
                    let event = gap.event(legs.next_of(&Gap::partition(&gap.account)));
                    commit.events.push(done.tally.tell_gap(&gap, &event, routes));
                }
            }
            Unit::Age(age) => {
                for event in age.carry_out(&mut legs, now) {
                    commit.events.push(done.tally.enqueue(&event, routes));
                }
            }
        }
        bytes += commit.events[before..].iter().map(|event| event.body.len()).sum::<usize>();
        if !whole {
            break;
        }
        seen += 1;
        if bytes >= ROUND_BYTES {
            break;
        }
    }
    commit.coverage = gaps.changes();
    (commit.legs, commit.calls) = legs.changes();
    done.reached = units.reached(pieces, seen);
    done.tally.reject(units.rejected, &done.reached);
    if commit.events.is_empty() && commit.coverage.is_empty() && commit.legs.is_empty() {
        return Ok(done);
    }
    done.woken = commit.events.iter().flat_map(|event| event.owed.iter().cloned()).collect();
    done.woken.sort();
    done.woken.dedup();
    done.tally.commits(Moment::now());
    house.store.commit(commit).await.map_err(failed)?;
    Ok(done)
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
        self.domains = reroute.domains;
    }
}
