//! The fleet actor: starts and stops all others, rebuilds the dead, and drains them at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::join_all;
use tokio::time::timeout;
use tracing::field::display;

use super::connection::{ClockStepped, Connection, Stop, Want};
use super::ledger::Ledger;
use super::oversight::{OVERSIGHT, Oversight};
use super::router::{Reroute, Router, Stale};
use super::sink::{Dismiss, Drain, Reopen, SinkActor};
use super::{Access, House, chronicle};
use crate::board::AccountStatus;
use crate::config::{self, Config};
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, SinkName};
use crate::domain::status::{AccountState, ActorKind, GapReason};
use crate::protocol::clock::StepWatch;
use crate::protocol::coverage::Blind;
use crate::routing::Routes;
use crate::xmpp::connector::Connector;
use crate::xmpp::session::Bounds;

/// Batches and answers that wait in a connection's mailbox at most.
const MAILBOX: usize = 64;
/// How often the wall clock is held against the monotonic one.
const CLOCK_CHECK: Duration = Duration::from_secs(5);
/// How long accounts get to close their streams.
const CLOSING: Duration = Duration::from_secs(4);
/// How long after the beginning of a stop sinks may be at work: what their peers answer until then is settled.
const DRAINING: Duration = Duration::from_secs(7);
/// How long they get to settle it.
const SETTLING: Duration = Duration::from_millis(500);

/// Run this configuration from now on; what did not change is left alone.
#[derive(Message)]
#[rtype(result = "io::Result<Changes>")]
pub struct Apply(pub Config);

/// What an [`Apply`] did, by name: `accounts.front-desk`, `sinks.crm`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Accounts and sinks that run now and did not before.
    pub started: Vec<String>,
    /// Accounts and sinks that do not run any more.
    pub stopped: Vec<String>,
    /// Accounts and sinks that were started anew with other settings, and sinks with another rule.
    pub changed: Vec<String>,
}

impl Changes {
    fn between(old: Option<&Config>, new: &Config) -> Self {
        let mut changes = Self::default();
        let anew = old.is_some_and(|old| !same_access(old, new));
        let runs = |config: &Config, name: &AccountName| config.accounts.get(name).is_some_and(|a| a.enabled);
        let old_accounts = old.into_iter().flat_map(|old| old.accounts.keys());
        for name in new.accounts.keys().chain(old_accounts).collect::<BTreeSet<_>>() {
            let other = || anew || old.and_then(|old| old.accounts.get(name)) != new.accounts.get(name);
            let before = old.is_some_and(|old| runs(old, name));
            changes.note(before, runs(new, name), other, || format!("accounts.{name}"));
        }
        let old_sinks = old.into_iter().flat_map(|old| old.sinks.keys());
        for name in new.sinks.keys().chain(old_sinks).collect::<BTreeSet<_>>() {
            let (before, after) = (old.and_then(|old| old.sinks.get(name)), new.sinks.get(name));
            changes.note(before.is_some(), after.is_some(), || before != after, || format!("sinks.{name}"));
        }
        changes
    }

    fn note(&mut self, before: bool, after: bool, other: impl Fn() -> bool, name: impl Fn() -> String) {
        match (before, after) {
            (false, true) => self.started.push(name()),
            (true, false) => self.stopped.push(name()),
            (true, true) if other() => self.changed.push(name()),
            (true, true) | (false, false) => {}
        }
    }
}

/// Stop everything in good order; answered within ten seconds.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    /// Until then everything that came was received; later messages may not be.
    pub covered: Moment,
}

/// An actor is gone: the one of this role that was started as this life.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ActorDied {
    /// Which.
    pub role: Role,
    /// Tells it from its successors.
    pub life: u64,
}

/// What an actor is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The router.
    Router,
    /// The connection of an account.
    Connection(AccountName),
    /// A sink.
    Sink(SinkName),
}

struct Crew<A: Actor> {
    life: u64,
    addr: Addr<A>,
}

/// The actor.
pub struct Fleet {
    pub(super) house: Arc<House>,
    config: Option<Config>,
    access: Option<Access>,
    /// Threads for accounts, one per core; the router and the sinks have one each.
    decks: Vec<Arbiter>,
    routing: Arbiter,
    delivering: Arbiter,
    router: Option<Crew<Router>>,
    connections: BTreeMap<AccountName, Crew<Connection>>,
    /// Accounts that were told to stop and have not yet.
    leaving: BTreeSet<AccountName>,
    sinks: BTreeMap<SinkName, Crew<SinkActor>>,
    /// Sinks that were replaced or removed, and may have something under way yet.
    leaving_sinks: Vec<(SinkName, Addr<SinkActor>)>,
    pub(super) oversight: Oversight,
    lives: u64,
}

impl Fleet {
    /// A fleet with nobody aboard.
    #[must_use]
    pub fn new(house: Arc<House>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            house,
            config: None,
            access: None,
            decks: (0..cores).map(|_| Arbiter::new()).collect(),
            routing: Arbiter::new(),
            delivering: Arbiter::new(),
            router: None,
            connections: BTreeMap::new(),
            leaving: BTreeSet::new(),
            sinks: BTreeMap::new(),
            leaving_sinks: Vec::new(),
            oversight: Oversight::default(),
            lives: 0,
        }
    }

    fn apply(&mut self, new: Config, ctx: &mut Context<Self>) -> io::Result<Changes> {
        let same_access = self.config.as_ref().is_some_and(|old| same_access(old, &new));
        match &self.access {
            // The file may hold other certificates under its old name.
            Some(access) if same_access => access.connector.renew()?,
            Some(_) | None => self.access = Some(access(&new, &self.house)?),
        }
        let changes = Changes::between(self.config.as_ref(), &new);
        if let Some(old) = self.config.take() {
            self.drop_gone(&old, &new, same_access, ctx);
        }
        let services = new.accounts.values().flat_map(|account| account.subscribe.iter().map(|(s, _)| s.name()));
        self.house.metrics.declare(new.accounts.keys(), services, new.sinks.keys());
        self.house.metrics.limit(new.metrics);
        let config = self.config.insert(new).clone();
        for (name, sink) in &config.sinks {
            if !self.sinks.contains_key(name) {
                self.start_sink(name, sink, ctx);
            }
        }
        self.reroute(&config, ctx);
        let ledger = Ledger::of(&self.house.store);
        for (name, account) in &config.accounts {
            self.begin(name, account, &ledger, ctx);
        }
        self.oversee(ctx);
        Ok(changes)
    }

    /// Whether the sink is configured; while nothing is, whatever there was counts.
    pub(super) fn has_sink(&self, name: &SinkName) -> bool {
        self.config.as_ref().is_none_or(|config| config.sinks.contains_key(name))
    }

    /// Whether the sink has something under way yet, though it was removed.
    pub(super) fn is_leaving(&self, name: &SinkName) -> bool {
        self.leaving_sinks.iter().any(|(leaving, addr)| leaving == name && addr.connected())
    }

    /// Starts an account that is to run and does not; one whose earlier life is not over yet starts after it.
    fn begin(&mut self, name: &AccountName, account: &config::Account, ledger: &Ledger, ctx: &mut Context<Self>) {
        if !account.enabled {
            self.show(name, AccountState::Disabled);
        } else if !self.connections.contains_key(name) {
            self.show(name, AccountState::Connecting);
            if !self.leaving.contains(name) {
                self.start_connection(name, account, ledger.clone(), ctx);
            }
        }
    }

    /// Lets an account go: its stream must be closed before another one binds the same resource.
    fn let_go(&mut self, name: &AccountName, connection: Addr<Connection>, stop: Stop, ctx: &mut Context<Self>) {
        self.leaving.insert(name.clone());
        let (name, stop) = (name.clone(), timeout(CLOSING, async move { connection.send(stop).await }));
        ctx.spawn(stop.into_actor(self).map(move |_, this, ctx| {
            this.leaving.remove(&name);
            let Some(config) = this.config.clone() else { return };
            this.house.pulses().remove(&name);
            // What it said at the end.
            this.house.board.forget_subscriptions(&name);
            match config.accounts.get(&name) {
                Some(account) => this.begin(&name, account, &Ledger::of(&this.house.store), ctx),
                None => this.house.board.forget_account(&name),
            }
        }));
    }

    /// Stops what is removed or changed.
    fn drop_gone(&mut self, old: &Config, new: &Config, same_access: bool, ctx: &mut Context<Self>) {
        for (name, account) in &old.accounts {
            let after = new.accounts.get(name).filter(|_| same_access);
            if after == Some(account) {
                continue;
            }
            if let Some(after) = after.filter(|after| account.differs_in_nodes_alone(after))
                && let Some(crew) = self.connections.get(name)
            {
                ctx.spawn(crew.addr.send(Want(Arc::new(after.clone()))).into_actor(self).map(|_, _, _| ()));
                continue;
            }
            // One that only changed finds its subscriptions again, and is blind since when it was.
            let stays = new.accounts.get(name).is_some_and(|account| account.enabled);
            if stays {
                self.house.board.forget_subscriptions(name);
            } else {
                self.house.board.forget_account(name);
            }
            if let Some(crew) = self.connections.remove(name) {
                let stop = Stop { unsubscribe: new.onsip.unsubscribe_on_stop && !stays, alone: true };
                self.let_go(name, crew.addr, stop, ctx);
            }
        }
        for (name, sink) in &old.sinks {
            if new.sinks.get(name).map(|sink| (&sink.options, sink.delivery)) != Some((&sink.options, sink.delivery)) {
                if !new.sinks.contains_key(name) {
                    self.house.board.view().leave(name); // what it is owed is counted and shown once it has left
                }
                if let Some(crew) = self.sinks.remove(name) {
                    // What it is owed stays in the queue.
                    ctx.spawn(crew.addr.send(Dismiss).into_actor(self).map(|_, _, _| ()));
                    self.leaving_sinks.retain(|(_, addr)| addr.connected());
                    self.leaving_sinks.push((name.clone(), crew.addr));
                }
            }
        }
    }

    fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    fn start_sink(&mut self, name: &SinkName, sink: &config::Sink, ctx: &mut Context<Self>) {
        let life = self.next_life();
        self.house.board.view().begin(name, sink.options.kind());
        let (house, fleet, sink) = (Arc::clone(&self.house), ctx.address(), sink.clone());
        let named = name.clone();
        let earlier = self.leaving_sinks.iter().rfind(|(leaving, _)| leaving == name);
        let predecessor = earlier.map(|(_, addr)| addr.clone());
        let addr = SinkActor::start_in_arbiter(&self.delivering.handle(), move |_| {
            SinkActor::new(house, named, &sink, predecessor, &fleet, life)
        });
        self.sinks.insert(name.clone(), Crew { life, addr });
    }

    fn start_connection(
        &mut self,
        name: &AccountName,
        account: &config::Account,
        ledger: Ledger,
        ctx: &mut Context<Self>,
    ) {
        let Some(access) = self.access.clone() else { return };
        let life = self.next_life();
        let (house, fleet, account) = (Arc::clone(&self.house), ctx.address(), Arc::new(account.clone()));
        let named = name.clone();
        let deck = usize::try_from(life).unwrap_or_default() % self.decks.len();
        let addr = Connection::start_in_arbiter(&self.decks[deck].handle(), move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Connection::new(house, access, named, account, ledger, &fleet, life)
        });
        self.connections.insert(name.clone(), Crew { life, addr });
    }

    fn reroute(&mut self, config: &Config, ctx: &mut Context<Self>) {
        let routes = Routes::new(config.sinks.iter().map(|(name, sink)| (name.clone(), sink.when.clone())));
        let sinks = self.sinks.iter().map(|(name, crew)| (name.clone(), crew.addr.clone())).collect();
        let stale = Stale { services_domain: config.onsip.services_domain.clone(), ages: config.onsip.stale };
        let enabled = config.accounts.values().filter(|account| account.enabled);
        let domains = Arc::new(enabled.map(|account| account.jid.domain().as_str().into()).collect());
        let reroute = Reroute { routes, sinks, stale, domains };
        match &self.router {
            Some(crew) if crew.addr.connected() => {
                let sent = crew.addr.send(reroute);
                ctx.spawn(sent.into_actor(self).map(|_, _, _| ()));
            }
            Some(_) | None => {
                let life = self.next_life();
                let (house, fleet) = (Arc::clone(&self.house), ctx.address());
                let addr = Router::start_in_arbiter(&self.routing.handle(), move |_| {
                    Router::new(house, reroute, &fleet, life)
                });
                self.house.set_router(addr.clone());
                self.router = Some(Crew { life, addr });
            }
        }
    }

    fn show(&self, name: &AccountName, state: AccountState) {
        let since = Moment::now().utc();
        let mut view = self.house.board.view();
        let before = view.accounts.remove(name).and_then(|before| before.blind);
        let blind = match state {
            AccountState::Disabled => None,
            _ if self.leaving.contains(name) => before, // its earlier life tells when that ends
            _ => before.or(Some(Blind { since, reason: GapReason::Start })),
        };
        view.accounts.insert(name.clone(), AccountStatus { blind, ..AccountStatus::new(state, since) });
    }

    fn rebuild(&mut self, role: Role, life: u64, ctx: &mut Context<Self>) {
        let Some(config) = self.config.clone() else { return };
        let (kind, account, sink) = match &role {
            Role::Router if self.router.as_ref().is_some_and(|crew| crew.life == life) => {
                (ActorKind::Router, None, None)
            }
            Role::Connection(name) if self.connections.get(name).is_some_and(|crew| crew.life == life) => {
                (ActorKind::Connection, Some(display(name)), None)
            }
            Role::Sink(name) if self.sinks.get(name).is_some_and(|crew| crew.life == life) => {
                (ActorKind::Sink, None, Some(display(name)))
            }
            Role::Router | Role::Connection(_) | Role::Sink(_) => return, // stopped by us, or replaced already
        };
        tracing::error!(actor = %kind, account, sink, "an actor died and is rebuilt");
        self.house.metrics.actor_restarted(kind);
        match role {
            Role::Router => {
                self.router = None;
                self.reroute(&config, ctx);
            }
            Role::Connection(name) => {
                if let Some(account) = config.accounts.get(&name) {
                    self.start_connection(&name, account, Ledger::of(&self.house.store), ctx);
                }
            }
            Role::Sink(name) => {
                if let Some(sink) = config.sinks.get(&name) {
                    self.start_sink(&name, sink, ctx);
                    self.reroute(&config, ctx);
                }
            }
        }
    }
}

/// Whether accounts reach the service as before.
fn same_access(old: &Config, new: &Config) -> bool {
    old.xmpp == new.xmpp && old.onsip.runs_on_under(&new.onsip)
}

fn access(config: &Config, house: &House) -> io::Result<Access> {
    Ok(Access {
        connector: Connector::new(config.xmpp.clone())?,
        bounds: Bounds::new(config.xmpp.concurrent_logins, Some(Arc::clone(&house.metrics))),
        onsip: Arc::new(config.onsip.clone()),
    })
}

impl Actor for Fleet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(OVERSIGHT, Self::oversee);
        let mut watch = StepWatch::new(Moment::now());
        ctx.run_interval(CLOCK_CHECK, move |this, ctx| {
            let Some(step) = watch.step(Moment::now()) else { return };
            let seconds = step.as_secs_f64();
            tracing::warn!(seconds, "this machine's clock was set, or the machine slept: leases are asked for anew");
            for crew in this.connections.values() {
                ctx.spawn(crew.addr.send(ClockStepped { by: step }).into_actor(this).map(|_, _, _| ()));
            }
        });
    }
}

impl Handler<Apply> for Fleet {
    type Result = io::Result<Changes>;
    fn handle(&mut self, Apply(config): Apply, ctx: &mut Context<Self>) -> Self::Result {
        self.apply(config, ctx)
    }
}

impl Handler<Reopen> for Fleet {
    type Result = ();
    fn handle(&mut self, _: Reopen, ctx: &mut Context<Self>) {
        for crew in self.sinks.values() {
            ctx.spawn(crew.addr.send(Reopen).into_actor(self).map(|_, _, _| ()));
        }
    }
}

impl Handler<ActorDied> for Fleet {
    type Result = ();
    fn handle(&mut self, died: ActorDied, ctx: &mut Context<Self>) {
        self.rebuild(died.role, died.life, ctx);
    }
}

impl Handler<Shutdown> for Fleet {
    type Result = ResponseFuture<()>;

    /// First the accounts, so that nothing more is received; then the sinks, so that what was received is delivered.
    fn handle(&mut self, Shutdown { covered }: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let unsubscribe = self.config.take().is_some_and(|config| config.onsip.unsubscribe_on_stop);
        chronicle::stopping(&self.house, covered);
        let connections: Vec<_> = std::mem::take(&mut self.connections).into_values().map(|crew| crew.addr).collect();
        let leaving = std::mem::take(&mut self.leaving_sinks).into_iter().map(|(_, addr)| addr);
        let sinks: Vec<_> =
            std::mem::take(&mut self.sinks).into_values().map(|crew| crew.addr).chain(leaving).collect();
        let until = Moment::now() + DRAINING;
        Box::pin(async move {
            let closing = join_all(connections.iter().map(|addr| addr.send(Stop { unsubscribe, alone: false })));
            if timeout(CLOSING, closing).await.is_err() {
                tracing::warn!("some streams did not close in time");
            }
            let draining = join_all(sinks.iter().map(|addr| addr.send(Drain(until))));
            if timeout(Moment::now().until(until) + SETTLING, draining).await.is_err() {
                tracing::warn!("some sinks did not finish in time; what they are owed stays in the queue");
            }
        })
    }
}

#[cfg(test)]
impl Handler<super::tests::Startle> for Fleet {
    type Result = ();
    fn handle(&mut self, startle: super::tests::Startle, _: &mut Context<Self>) {
        match startle.role {
            Role::Router => drop(self.router.as_ref().map(|crew| crew.addr.try_send(super::tests::Panic))),
            Role::Sink(name) => drop(self.sinks[&name].addr.try_send(super::tests::Panic)),
            Role::Connection(ref name) if startle.its_subscription => {
                drop(self.connections[name].addr.clone().try_send(startle));
            }
            Role::Connection(name) => drop(self.connections[&name].addr.try_send(super::tests::Panic)),
        }
    }
}
