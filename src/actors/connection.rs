//! The connection actor: one account.
//!
//! Carries out what [`crate::protocol::account`] decides: runs the session, matches answers to
//! requests, tells the subscriptions what concerns them and hands notifications to the router.

use std::sync::Arc;

use actix::prelude::*;
use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use minidom::Element;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use xmpp_parsers::jid::{BareJid, FullJid};

use super::chronicle;
use super::fleet::{ActorDied, Fleet, Role};
use super::ledger::{Known, Ledger};
use super::subscription::{Halt, Ready, Subscription};
use super::{Access, House, Obituary};
use crate::config;
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, NodeName, Subid};
use crate::domain::service::Service;
use crate::domain::status::{AccountState, GapReason, RejectReason, ResumptionOutcome};
use crate::protocol::account::{Account, Command};
use crate::protocol::acknowledgement::Resumption;
use crate::protocol::admission::Reception;
use crate::protocol::clock::Clock;
use crate::protocol::coverage::{Blind, Coverage, Delivery};
use crate::protocol::requests::{NoAnswer, Reply, Requests};
use crate::protocol::resync::Inquiry;
use crate::protocol::stanza::{self, Request};
use crate::xmpp::login::Credential;
use crate::xmpp::session::{self, Event, Outbox, Plan, Pulse};

mod clock;
mod coverage;
mod inbox;
mod nodes;
mod resumption;

pub use coverage::{Deaf, Ended, Standing};
pub use nodes::{SubscriptionDied, Want};

/// Send this request to a service and answer with what came of it.
#[derive(Message)]
#[rtype(result = "Reply")]
pub struct Ask {
    /// Whom to ask.
    pub service: BareJid,
    /// What to ask.
    pub request: Request,
}

/// Say goodbye and stop; answered when the session is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop {
    /// Whether to remove the subscriptions at the service first.
    pub unsubscribe: bool,
    /// Whether only this account stops. At the end of the process, the next one finds out what it missed.
    pub alone: bool,
}

/// This machine's clock was set, or stood still while the machine slept.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ClockStepped {
    /// By how much; less than nothing if it was set back.
    pub by: SignedDuration,
}

/// Who waits for the answer to a request.
enum Asker {
    Account,
    Clock,
    /// With what its answer tells the router, if it does.
    Subscription(oneshot::Sender<Reply>, Option<Inquiry>),
}

/// A session under way.
struct Live {
    outbox: Option<Outbox>,
    handled: watch::Sender<Option<u32>>,
    services: watch::Sender<Arc<[Service]>>,
    pulse: Arc<Pulse>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The actor.
pub struct Connection {
    house: Arc<House>,
    access: Access,
    name: AccountName,
    account: Arc<config::Account>,
    /// Until it is read.
    ledger: Option<Ledger>,
    machine: Account,
    requests: Requests<Asker>,
    reception: Option<Arc<Reception>>,
    live: Option<Live>,
    /// What it takes to go on with the session that was lost.
    lost: Option<Box<Resumption>>,
    /// What is to be sent once it goes on.
    waiting: Vec<Element>,
    subscriptions: Vec<(Service, NodeName, Addr<Subscription>)>,
    subids: Vec<(Service, NodeName, Subid)>,
    coverage: Coverage,
    clock: Clock,
    /// When the service was heard last: a dead link is noticed only later.
    heard: Timestamp,
    /// What the loss of the newest session was for coverage.
    gap: Option<GapReason>,
    timer: Option<SpawnHandle>,
    stopped: Option<oneshot::Sender<()>>,
    stopping: bool,
    /// Since when this account alone is to stop: from then on its events are not wanted.
    ending: Option<Moment>,
    _obituary: Obituary<ActorDied>,
}

impl Connection {
    /// An actor for `account`.
    pub(super) fn new(
        house: Arc<House>,
        access: Access,
        name: AccountName,
        account: Arc<config::Account>,
        ledger: Ledger,
        fleet: &Addr<Fleet>,
        life: u64,
    ) -> Self {
        let patience = access.connector.options().request_timeout;
        Self {
            coverage: Coverage::of(nodes_of(&account), Blind { since: Moment::now().utc(), reason: GapReason::Start }),
            clock: Clock::new(super::dice()),
            heard: Moment::now().utc(),
            gap: None,
            machine: Account::new(access.onsip.authorize, super::dice()),
            requests: Requests::new(patience),
            _obituary: Obituary::new(fleet, ActorDied { role: Role::Connection(name.clone()), life }),
            house,
            access,
            name,
            account,
            ledger: Some(ledger),
            reception: None,
            live: None,
            lost: None,
            waiting: Vec::new(),
            subscriptions: Vec::new(),
            subids: Vec::new(),
            timer: None,
            stopped: None,
            stopping: false,
            ending: None,
        }
    }

    fn carry_out(&mut self, commands: Vec<Command>, ctx: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::Connect(instead) => self.connect(instead, ctx),
                Command::Authorize => self.authorize(),
                Command::Serve(own) => self.tell_all(|| Ready(own.clone()), ctx),
                Command::Reauthorized { lapsed } => self.authorized_again(lapsed, ctx),
                Command::Suspend => self.suspend(ctx),
                Command::Became(state, why) => {
                    let change = self.coverage.credentials(state == AccountState::Refused);
                    self.cover(change, ctx);
                    chronicle::account(&self.house, &self.name, state, why.as_deref(), self.machine.deadline());
                }
            }
        }
        self.see_lapse(ctx);
        chronicle::account_details(&self.house, &self.name, &self.machine);
        self.set_timer(ctx);
    }

    fn connect(&mut self, instead: Option<String>, ctx: &mut Context<Self>) {
        let credential = Credential {
            jid: self.account.jid.clone(),
            password: self.account.password.clone(),
            resource: self.account.resource.clone(),
            refused_mechanisms: self.machine.refused_mechanisms(),
        };
        let Access { connector, bounds, .. } = self.access.clone();
        let (plan, urgency) = (self.lost.clone().map_or(Plan::Managed, Plan::Resume), self.machine.urgency());
        let services = services_of(&self.account);
        let session = session::start(connector, credential, services, instead, bounds, plan, urgency);
        ctx.add_stream(ReceiverStream::new(session.events));
        let (outbox, handled, services) = (Some(session.outbox), session.handled, session.services);
        self.live = Some(Live { outbox, handled, services, pulse: session.pulse, task: session.task });
    }

    fn authorize(&mut self) {
        let request = Request::Authorize {
            sip_address: self.account.sip_address.clone(),
            password: self.account.password.clone(),
            jid: self.account.jid.clone(),
            auth_for_all: self.account.auth_for_all,
        };
        self.request(&Arc::clone(&self.access.onsip).auth, &request, Asker::Account);
    }

    fn request(&mut self, to: &BareJid, request: &Request, asker: Asker) {
        let Some(own) = self.machine.jid() else {
            if let Asker::Subscription(waiting, _) = asker {
                drop(waiting.send(Err(NoAnswer::Disconnected)));
            }
            return;
        };
        let own = own.clone();
        let id = self.requests.open(to.clone(), asker, Moment::now());
        self.send(stanza::iq(&id, to, &own, &self.by_server(request.clone())));
    }

    /// Sends a stanza; one that finds the outbox full is counted, and the session ends. Where the session is lost, it
    /// waits for what becomes of that.
    fn send(&mut self, stanza: Element) {
        let outbox = self.live.as_ref().and_then(|live| live.outbox.as_ref());
        let sent = match outbox.filter(|_| !self.machine.is_held()) {
            Some(outbox) => outbox.try_send(Box::new(stanza)),
            None => Err(TrySendError::Closed(Box::new(stanza))),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.house.metrics.outbound_stanza_dropped(),
            Err(TrySendError::Closed(stanza)) => self.keep(*stanza),
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let clock = self.machine.own().and(self.clock.deadline());
        let due = self.machine.deadline().into_iter().chain(self.requests.deadline()).chain(clock).min();
        self.timer = due.map(|due| ctx.run_later(Moment::now().until(due), Self::tick));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = Moment::now();
        for asker in self.requests.expired(now) {
            self.house.metrics.request_timed_out();
            self.answered(asker, Err(NoAnswer::TimedOut), ctx);
        }
        self.feel_pulse();
        self.ask_time();
        let commands = self.machine.tick(self.now());
        self.carry_out(commands, ctx);
    }

    fn answered(&mut self, asker: Asker, reply: Reply, ctx: &mut Context<Self>) {
        match asker {
            // A subscription that is being rebuilt asks again.
            Asker::Subscription(waiting, _) => drop(waiting.send(reply)),
            Asker::Clock => self.time_told(&reply, ctx),
            Asker::Account => {
                let commands = self.machine.authorized(&reply, self.now());
                self.judge_clock();
                chronicle::granted(&self.house, &self.name, &self.account.sip_address, &self.machine);
                self.carry_out(commands, ctx);
            }
        }
    }

    fn up(&mut self, own: FullJid, ctx: &mut Context<Self>) {
        let asked = format!("{}/{}", self.account.jid, self.account.resource);
        chronicle::connected(&self.house, &self.name, own.as_str(), &asked);
        let given_up = self.machine.not_resumed(self.now());
        self.carry_out(given_up, ctx);
        self.subids.clear();
        self.show_pulse();
        self.heard = Moment::now().utc();
        self.receive_as(own.clone());
        self.send(stanza::presence());
        let commands = self.machine.connected(own, self.now());
        self.clock.connected(Moment::now());
        self.ask_time(); // before the authorization: what that grants is told by this clock
        self.carry_out(commands, ctx);
    }

    fn say_goodbye(&mut self, ctx: &mut Context<Self>) {
        if self.machine.own().is_none() {
            return self.end(ctx);
        }
        self.send(stanza::goodbye());
        if let Some(live) = &mut self.live {
            live.outbox = None; // the session closes its stream and tells when it is down
        }
    }

    /// Says that it is over only once nobody of ours can say anything any more.
    fn end(&mut self, ctx: &mut Context<Self>) {
        let live = self.live.take();
        let change = self.ending.and_then(|ending| {
            let delivered = live.as_ref().map_or(ending, |live| live.pulse.delivered().min(ending));
            self.coverage.stopped(delivered.utc())
        });
        let written = self.cover_until_written(change);
        let halted = join_all(self.subscriptions.iter().map(|(_, _, subscription)| subscription.send(Halt)));
        ctx.wait(join(halted, written).into_actor(self).map(|_, this, ctx| {
            if this.stopping && this.ending.is_none() {
                chronicle::stopped(&this.house, &this.name);
            }
            if let Some(stopped) = this.stopped.take() {
                let _ = stopped.send(());
            }
            ctx.stop();
        }));
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Some(ledger) = self.ledger.take() else { return };
        let name = self.name.clone();
        let known = async move { ledger.known(&name).await };
        ctx.wait(known.into_actor(self).map(|known, this, ctx| {
            let known = known.unwrap_or_else(|fault| {
                tracing::error!(account = %this.name, %fault, "the ledger could not be read");
                Known::default()
            });
            this.recall_coverage(known.coverage, ctx);
            for (service, node) in nodes_of(&Arc::clone(&this.account)) {
                this.subscribe(service, node, Delivery::Stopped, &known.lines, ctx);
            }
            let commands = this.machine.start(this.now());
            this.carry_out(commands, ctx);
        }));
    }
}

impl StreamHandler<Box<Event>> for Connection {
    fn handle(&mut self, event: Box<Event>, ctx: &mut Context<Self>) {
        match *event {
            Event::Up(own) => self.up(own, ctx),
            Event::Resumed(own) => self.resumed(own, ctx),
            Event::Unresumable => chronicle::resumption(&self.house, &self.name, ResumptionOutcome::GivenUp),
            Event::Received(received, at, room, upto) => self.received(received, at, room, upto, ctx),
            Event::Oversize(n) => self.house.metrics.rejected(RejectReason::Oversize, n),
            Event::MechanismsRefused(refused) => {
                chronicle::mechanisms_refused(&self.name, refused);
                self.machine.mechanisms_refused(refused);
            }
            Event::Failed { failure, unresumed } => {
                self.live = None;
                chronicle::failed(&self.house, &self.name, &failure);
                if unresumed {
                    let given_up = self.machine.not_resumed(self.now());
                    self.carry_out(given_up, ctx);
                }
                let commands = self.machine.failed(&failure, self.now());
                self.carry_out(commands, ctx);
            }
            Event::Down(loss, ..) if self.stopping => {
                chronicle::lost(&self.house, &self.name, &loss);
                self.end(ctx);
            }
            Event::Down(loss, heard, resumption) => {
                self.down(&loss, heard.set_back(Moment::now()).utc(), resumption, ctx);
            }
        }
    }

    /// A session's stream ends with it; the actor goes on.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Ask> for Connection {
    type Result = ResponseFuture<Reply>;
    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) -> Self::Result {
        let (asker, answer) = oneshot::channel();
        let inquiry = self.inquiry(&ask);
        self.request(&ask.service, &ask.request, Asker::Subscription(asker, inquiry));
        self.set_timer(ctx);
        Box::pin(async move { answer.await.unwrap_or(Err(NoAnswer::Disconnected)) })
    }
}

impl Handler<Stop> for Connection {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, stop: Stop, ctx: &mut Context<Self>) -> Self::Result {
        let (stopped, done) = oneshot::channel();
        self.stopping = true;
        self.stopped = Some(stopped);
        self.ending = stop.alone.then(Moment::now);
        if stop.unsubscribe && self.machine.own().is_some() {
            self.unsubscribe(ctx);
        } else {
            self.say_goodbye(ctx);
        }
        Box::pin(async move {
            let _ = done.await;
        })
    }
}

fn services_of(account: &config::Account) -> Arc<[Service]> {
    account.subscribe.iter().map(|(service, _)| service.clone()).collect()
}

/// Every node of `account`, with its service.
fn nodes_of(account: &config::Account) -> impl Iterator<Item = (Service, NodeName)> {
    account.subscribe.iter().flat_map(|(service, nodes)| nodes.iter().map(|node| (service.clone(), node.clone())))
}

#[cfg(test)]
impl Handler<super::tests::Startle> for Connection {
    type Result = ();
    fn handle(&mut self, _: super::tests::Startle, _: &mut Context<Self>) {
        drop(self.subscriptions[0].2.try_send(super::tests::Panic));
    }
}
