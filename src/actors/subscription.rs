//! The subscription actor: one node of one account.
//!
//! Carries out what [`crate::protocol::subscription`] decides, and keeps the ledger up to date.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use jiff::Timestamp;
use tokio::sync::oneshot;
use xmpp_parsers::jid::FullJid;

use super::chronicle::{self, Subject};
use super::connection::{Ask, Connection, Deaf, Ended, Standing, SubscriptionDied};
use super::{House, Obituary};
use crate::domain::moment::Moment;
use crate::domain::status::{GapReason, ProbeOutcome, SubscriptionState};
use crate::protocol::coverage::Delivery;
use crate::protocol::notification::Change;
use crate::protocol::requests::{NoAnswer, Reply};
use crate::protocol::stanza::Request;
use crate::protocol::subscription::{Command, Fact, Leftover, Memory, Subscription as Machine, Terms};
use crate::store::LedgerEntry;

/// The account is connected as this JID and authorized.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ready(pub FullJid);

/// The connection is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Suspended;

/// The authorization was renewed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reauthorized {
    /// Whether it had ended before.
    pub lapsed: bool,
}

/// The service told of a changed subscription.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Changed(pub Change);

/// Remove what is ours at the service; answered once that is over, however it went.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave;

/// Stop, for good.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt;

/// The authorization ran out: from now on nothing is sure to be delivered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Lapsed;

/// A clock was set, ours or the service's: leases may end at another time than meant.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ClockSet;

/// Why an active subscription is not believed to deliver.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doubt {
    /// There is no authorization.
    Unauthorized,
    /// There is one again since then, and no list has shown the subscription yet.
    Unseen(Moment),
}

/// The actor.
pub struct Subscription {
    house: Arc<House>,
    subject: Subject,
    machine: Machine,
    connection: Addr<Connection>,
    timer: Option<SpawnHandle>,
    /// Counts requests and sessions, so that an answer of an older one is known as such.
    turn: u64,
    state: SubscriptionState,
    saved: Option<LedgerEntry>,
    saving: bool,
    told: Option<Standing>,
    delivery: Delivery,
    lease_until: Option<Timestamp>,
    doubt: Option<Doubt>,
    /// When it was seen last, if it was found missing.
    unseen_since: Option<Moment>,
    last_ended: Option<Moment>,
    leaving: Option<oneshot::Sender<()>>,
    _obituary: Obituary<SubscriptionDied>,
}

impl Subscription {
    /// An actor for the node of `terms`, with what the ledger remembers of it.
    pub(super) fn new(
        house: Arc<House>,
        subject: Subject,
        terms: Terms,
        probe: Duration,
        memory: Option<Memory>,
        asking: Option<(FullJid, Vec<Leftover>)>,
        connection: Addr<Connection>,
    ) -> Self {
        let note = SubscriptionDied { service: subject.service.clone(), node: subject.node.clone() };
        let machine = Machine::new(terms, memory, Moment::now(), super::dice()).probing(probe);
        Self {
            machine: match asking {
                Some((asked, recorded)) => machine.asking_for(asked, recorded),
                None => machine,
            },
            _obituary: Obituary::new(&connection, note),
            house,
            subject,
            connection,
            timer: None,
            turn: 0,
            state: SubscriptionState::Lost,
            saved: None,
            saving: false,
            told: None,
            delivery: Delivery::Stopped,
            lease_until: None,
            doubt: None,
            unseen_since: None,
            last_ended: None,
            leaving: None,
        }
    }

    /// Begins with this idea of what its events do.
    pub(super) fn expecting(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    fn carry_out(&mut self, commands: Vec<Command>, ctx: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::Send(request) => self.ask(request, ctx),
                Command::Became(state, why) => {
                    self.state = state;
                    self.delivery = self.delivery.then(state);
                    chronicle::subscription(&self.house, &self.subject, state, why.as_deref());
                }
                Command::Forget(jid) => self.forget(jid, ctx),
                Command::Tell(fact) => {
                    chronicle::fact(&self.house, &self.subject, fact);
                    self.judge_link(fact, ctx);
                }
            }
        }
        if self.leaving.is_some() {
            self.forget_once_left(ctx);
        } else {
            self.believe();
            self.doubt_authorization(ctx);
            self.remember(ctx);
        }
        self.set_timer(ctx);
    }

    /// After a lapse only a list that shows it proves that it delivers (protocol sheet section 6.4).
    fn believe(&mut self) {
        let seen = |since: Moment| self.machine.seen().is_some_and(|seen| seen >= since);
        if let Some(Doubt::Unseen(since)) = self.doubt
            && seen(since)
            && self.machine.delivers(Moment::now())
        {
            self.doubt = None;
            self.delivery = Delivery::Flows;
        } else if self.doubt.is_some() && self.delivery == Delivery::Flows {
            self.delivery = Delivery::Stopped;
        }
    }

    fn doubt_authorization(&mut self, ctx: &mut Context<Self>) {
        let ended = self.machine.last_ended();
        if std::mem::replace(&mut self.last_ended, ended) != ended {
            ctx.spawn(self.connection.send(Ended).into_actor(self).map(|_, _, _| ()));
        }
    }

    /// What a look at the service says of the time since the look before.
    fn judge_link(&mut self, fact: Fact, ctx: &mut Context<Self>) {
        let seen = self.machine.seen();
        match fact {
            Fact::Probe(ProbeOutcome::Unanswered) => {
                let deaf = Deaf { since: seen.map(Moment::utc) };
                ctx.spawn(self.connection.send(deaf).into_actor(self).map(|_, _, _| ()));
            }
            Fact::Probe(ProbeOutcome::Missing) => self.unseen_since = seen,
            Fact::Probe(ProbeOutcome::Found | ProbeOutcome::Failed)
            | Fact::Reused
            | Fact::Created
            | Fact::Removed
            | Fact::Renewal(_)
            | Fact::Resync(_) => {}
        }
    }

    fn ask(&mut self, request: Request, ctx: &mut Context<Self>) {
        self.turn += 1;
        let turn = self.turn;
        let answer = self.connection.send(Ask { service: self.subject.service.jid().clone(), request });
        let answer = answer.into_actor(self).map(move |reply, this, ctx| match reply {
            Ok(reply) if turn == this.turn => this.hear(&reply, ctx),
            Ok(_) => {} // of a session that is over
            Err(MailboxError::Timeout) => this.hear(&Err(NoAnswer::TimedOut), ctx),
            Err(MailboxError::Closed) => ctx.stop(), // the connection is rebuilt, and we with it
        });
        ctx.spawn(answer);
    }

    fn hear(&mut self, reply: &Reply, ctx: &mut Context<Self>) {
        let commands = self.machine.answered(reply, Moment::now());
        self.carry_out(commands, ctx);
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.machine.deadline().map(|due| {
            ctx.run_later(Moment::now().until(due), |this, ctx| {
                let commands = this.machine.tick(Moment::now());
                this.carry_out(commands, ctx);
            })
        });
    }

    /// Brings the ledger, the board and the connection's idea of us up to date.
    fn remember(&mut self, ctx: &mut Context<Self>) {
        let Some(memory) = self.machine.memory() else { return };
        chronicle::subscription_details(&self.house, &self.subject, &memory);
        self.tell_standing(&memory, ctx);
        let entry = self.entry(&memory);
        if self.saving || self.saved.as_ref() == Some(&entry) {
            return;
        }
        // One write at a time keeps the order; what changes meanwhile is written after it.
        self.saving = true;
        let house = Arc::clone(&self.house);
        let write = async move { house.store.write_ledger(entry.clone()).await.map(|()| entry) };
        ctx.spawn(write.into_actor(self).map(|written, this, ctx| {
            this.saving = false;
            if this.machine.has_left() {
                return;
            }
            match written {
                Ok(entry) => {
                    this.saved = Some(entry);
                    this.remember(ctx);
                }
                Err(fault) => {
                    let Subject { account, service, node } = &this.subject;
                    tracing::error!(%account, %service, %node, %fault, "the ledger could not be written");
                }
            }
        }));
    }

    /// Has the ledger forget what was held under an earlier resource.
    fn forget(&self, jid: FullJid, ctx: &mut Context<Self>) {
        let (house, subject) = (Arc::clone(&self.house), self.subject.clone());
        let forget = async move {
            let Subject { account, service, node } = &subject;
            if let Err(fault) = house.store.forget_ledger(account, service.name(), node, jid.as_str()).await {
                tracing::error!(%account, %service, %node, %fault, "the ledger keeps a line");
            }
        };
        ctx.spawn(forget.into_actor(self));
    }

    /// Has the ledger forget what is gone from the service; a clean end is no gap, so the connection is told nothing.
    fn forget_once_left(&mut self, ctx: &mut Context<Self>) {
        if !self.machine.has_left() {
            return;
        }
        let Some(left) = self.leaving.take() else { return };
        let gone = self.machine.memory().filter(|memory| memory.subid.is_none());
        let (house, subject) = (Arc::clone(&self.house), self.subject.clone());
        let forget = async move {
            if let Some(memory) = gone {
                let (service, jid) = (subject.service.name(), memory.jid.to_string());
                let forgotten = house.store.forget_ledger(&subject.account, service, &subject.node, &jid).await;
                if let Err(fault) = forgotten {
                    let Subject { account, service, node } = &subject;
                    tracing::error!(%account, %service, %node, %fault, "the ledger keeps a line");
                }
            }
            let _ = left.send(());
        };
        ctx.wait(forget.into_actor(self));
    }

    fn tell_standing(&mut self, memory: &Memory, ctx: &mut Context<Self>) {
        // What delivered until its lease was over was not renewed in time; what stopped before was ended.
        let lapsed = self.lease_until.is_some_and(|until| until <= Moment::now().utc());
        self.lease_until = memory.lease_until;
        let standing = Standing {
            service: self.subject.service.clone(),
            node: self.subject.node.clone(),
            subid: memory.subid.clone(),
            delivery: self.delivery,
            reason: match self.doubt {
                Some(_) => GapReason::Authorization,
                None if lapsed => GapReason::Lease,
                None => GapReason::Revoked,
            },
            since: self.unseen_since.take().map(Moment::utc),
        };
        let same = |told: &Standing| (told.delivery, &told.subid) == (standing.delivery, &standing.subid);
        if !self.told.as_ref().is_some_and(same) {
            self.told = Some(standing.clone());
            ctx.spawn(self.connection.send(standing).into_actor(self).map(|_, _, _| ()));
        }
    }

    fn entry(&self, memory: &Memory) -> LedgerEntry {
        LedgerEntry {
            account: self.subject.account.clone(),
            service: self.subject.service.name().to_owned(),
            node: self.subject.node.clone(),
            jid: memory.jid.to_string(),
            subid: memory.subid.clone(),
            state: self.state.as_str().to_owned(),
            lease_until: memory.lease_until.map(whole_seconds),
            renewed: memory.renewed.map(whole_seconds),
            assigned: self.machine.holds_assigned(),
        }
    }
}

/// A moment converted to UTC and back may differ by a microsecond; the ledger need not change for that.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl Actor for Subscription {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        chronicle::subscription(&self.house, &self.subject, SubscriptionState::Lost, None);
    }
}

impl Handler<Ready> for Subscription {
    type Result = ();
    fn handle(&mut self, Ready(own): Ready, ctx: &mut Context<Self>) {
        let commands = self.machine.ready(own, Moment::now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<Suspended> for Subscription {
    type Result = ();
    fn handle(&mut self, _: Suspended, ctx: &mut Context<Self>) {
        self.turn += 1;
        self.doubt = None;
        let commands = self.machine.suspended(Moment::now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<Lapsed> for Subscription {
    type Result = ();
    fn handle(&mut self, _: Lapsed, ctx: &mut Context<Self>) {
        self.doubt = Some(Doubt::Unauthorized);
        self.carry_out(Vec::new(), ctx);
    }
}

impl Handler<Reauthorized> for Subscription {
    type Result = ();
    fn handle(&mut self, Reauthorized { lapsed }: Reauthorized, ctx: &mut Context<Self>) {
        self.doubt = self.doubt.map(|_| Doubt::Unseen(Moment::now()));
        let commands = self.machine.reauthorized(lapsed, Moment::now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<ClockSet> for Subscription {
    type Result = ();
    fn handle(&mut self, _: ClockSet, ctx: &mut Context<Self>) {
        let commands = self.machine.clock_set(Moment::now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<Changed> for Subscription {
    type Result = ();
    fn handle(&mut self, Changed(change): Changed, ctx: &mut Context<Self>) {
        let commands = self.machine.changed(&change, Moment::now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<Leave> for Subscription {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) -> Self::Result {
        let (left, done) = oneshot::channel();
        self.leaving = Some(left);
        let commands = self.machine.leave(Moment::now());
        self.carry_out(commands, ctx);
        Box::pin(async move {
            let _ = done.await;
        })
    }
}

impl Handler<Halt> for Subscription {
    type Result = ();
    fn handle(&mut self, _: Halt, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
