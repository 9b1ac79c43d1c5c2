//! One account of the router: its pure machines, wired as the connection and the subscription actors wire them.
//!
//! The only file here that knows the router's machines. Everything between the actors travels as a [`Hop`], in order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::moment::Moment;
use onsip_router::domain::name::NodeName;
use onsip_router::domain::service::Service;
use onsip_router::domain::status::{AccountState, GapReason, ProbeOutcome, SubscriptionState};
use onsip_router::protocol::account::{Account, Command};
use onsip_router::protocol::backoff::Dice;
use onsip_router::protocol::clock::Clock;
use onsip_router::protocol::coverage::{self, Blind, Coverage, Delivery, Record};
use onsip_router::protocol::link::{Failure, Loss};
use onsip_router::protocol::notification;
use onsip_router::protocol::requests::{NoAnswer, Reply, Requests};
use onsip_router::protocol::stanza::Request;
use onsip_router::protocol::subscription::{self, Fact, Memory, Subscription, Terms};
use xmpp_parsers::jid::{BareJid, FullJid, Jid};

use super::service::{Asked, Query};
use super::{LEASE, PATIENCE, Time, from_utc};

/// What the router asks the outside world to do.
#[derive(Debug)]
pub enum Act {
    /// Make a session.
    Connect,
    /// Send this request.
    Send { id: String, query: Query },
    /// End the session: it delivers nothing.
    Drop,
}

/// What an operator configures, and what is the same in every life of the router.
pub struct Setting {
    own: FullJid,
    auth: BareJid,
    auth_sender: Jid,
    nodes: Vec<(Service, NodeName, Jid)>,
    probe: Duration,
}

impl Setting {
    /// The account of this number, which looks its subscriptions up so often. Every third watches two nodes, of those
    /// every other through a redirect.
    pub fn numbered(number: usize, probe: Duration) -> Self {
        let bare = format!("user{number}@acme.test");
        let auth = BareJid::new("commands.auth.xmpp.test").unwrap();
        let mut wanted = vec![("active-calls", format!("/me/{bare}"))];
        match number % 6 {
            0 => wanted.push(("user-agents", format!("/me/{bare}"))),
            3 => wanted.push(("user-agents", "/".to_owned())),
            _ => {}
        }
        let node = |(name, node): (&str, String)| {
            let service = Service::new(name, "xmpp.test").unwrap();
            let sender = Jid::from(service.jid().clone());
            (service, NodeName::from(node), sender)
        };
        Self {
            own: FullJid::new(&format!("{bare}/router")).unwrap(),
            auth_sender: Jid::from(auth.clone()),
            auth,
            nodes: wanted.into_iter().map(node).collect(),
            probe,
        }
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn own(&self) -> &FullJid {
        &self.own
    }

    /// Where a redirect of this node leads.
    pub fn target(&self, node: usize) -> String {
        format!("xmpp:{}?;node=/me/{}", self.nodes[node].0.jid(), self.own.to_bare())
    }

    fn coverage(&self, blind: Blind) -> Coverage {
        Coverage::of(self.nodes.iter().map(|(service, node, _)| (service.clone(), node.clone())), blind)
    }
}

/// Who waits for the answer to a request.
enum Asker {
    Account,
    Clock,
    Node { node: usize, turn: u64 },
}

/// On its way from one actor to another.
enum Hop {
    Ready(usize),
    Suspended(usize),
    Lapsed(usize),
    Reauthorized(usize, bool),
    Changed(usize, &'static str),
    Ask(usize, u64, Request),
    Hear(usize, u64, Rc<Reply>),
    Standing { node: usize, delivery: Delivery, reason: GapReason, since: Option<Timestamp> },
    Ended,
    Deaf(Option<Timestamp>),
}

/// Why an active subscription is not believed to deliver.
#[derive(Clone, Copy, PartialEq)]
enum Doubt {
    Unauthorized,
    Unseen(Moment),
}

/// A subscription actor.
struct Watcher {
    machine: Subscription,
    turn: u64,
    in_flight: u32,
    state: SubscriptionState,
    delivery: Delivery,
    told: Delivery,
    doubt: Option<Doubt>,
    unseen_since: Option<Moment>,
    last_ended: Option<Moment>,
}

impl Watcher {
    /// After a lapse only a list that shows it proves that it delivers.
    fn believe(&mut self, now: Moment) {
        let seen = |since: Moment| self.machine.seen().is_some_and(|seen| seen >= since);
        if let Some(Doubt::Unseen(since)) = self.doubt
            && seen(since)
            && self.machine.delivers(now)
        {
            self.doubt = None;
            self.delivery = Delivery::Flows;
        } else if self.doubt.is_some() && self.delivery == Delivery::Flows {
            self.delivery = Delivery::Stopped;
        }
    }
}

/// A connection actor with its subscriptions.
pub struct Router {
    machine: Account,
    requests: Requests<Asker>,
    watchers: Vec<Watcher>,
    coverage: Coverage,
    /// What the store holds of it.
    record: Option<Record>,
    /// The windows that are over, since somebody looked.
    pub told: Vec<(Blind, Timestamp)>,
    clock: Clock,
    heard: Timestamp,
    gap: Option<GapReason>,
    abandoned_first: bool,
    hops: VecDeque<Hop>,
    state: AccountState,
    covered: bool,
    gap_from: Option<Timestamp>,
    /// What is to be carried out by the outside world.
    pub acts: Vec<Act>,
    /// How often coverage ended.
    pub gaps: u64,
    /// The largest number of requests under way for one node.
    pub most_in_flight: u32,
}

impl Router {
    /// A router that starts, with what its ledger holds of each node.
    pub fn new(
        setting: &Setting,
        ledger: Vec<Option<Memory>>,
        record: Option<Record>,
        now: Moment,
        dice: &mut Dice,
    ) -> Self {
        let begun = Blind { since: now.utc(), reason: GapReason::Start };
        let nodes = setting.nodes.iter().zip(ledger);
        let watchers = nodes.map(|((service, node, _), memory)| Watcher {
            machine: Subscription::new(
                Terms {
                    service: service.clone(),
                    node: node.clone(),
                    lease: LEASE,
                    approval_timeout: Duration::from_secs(30),
                    resync: true,
                },
                memory,
                now,
                seeded(dice),
            )
            .probing(setting.probe),
            turn: 0,
            in_flight: 0,
            state: SubscriptionState::Lost,
            delivery: Delivery::Stopped,
            told: Delivery::Stopped,
            doubt: None,
            unseen_since: None,
            last_ended: None,
        });
        Self {
            watchers: watchers.collect(),
            machine: Account::new(true, seeded(dice)),
            requests: Requests::new(PATIENCE),
            coverage: setting.coverage(record.map_or(begun, |record| record.window(now.utc()))),
            record,
            told: Vec::new(),
            clock: Clock::new(seeded(dice)),
            heard: now.utc(),
            gap: None,
            abandoned_first: false,
            hops: VecDeque::new(),
            state: AccountState::Connecting,
            covered: false,
            gap_from: None,
            acts: Vec::new(),
            gaps: 0,
            most_in_flight: 0,
        }
    }

    /// What the ledger holds of each node, in whole seconds.
    pub fn ledger(&self) -> Vec<Option<Memory>> {
        let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap();
        let memories = self.watchers.iter().map(|watcher| watcher.machine.memory());
        let kept = |memory: Memory| Memory {
            lease_until: memory.lease_until.map(whole),
            renewed: memory.renewed.map(whole),
            ..memory
        };
        memories.map(|memory| memory.map(kept)).collect()
    }

    /// Whether an operator reads that this node's events arrive.
    pub fn believes(&self, node: usize) -> bool {
        let active = matches!(self.watchers[node].state, SubscriptionState::Active | SubscriptionState::Renewing);
        active && self.state == AccountState::Online
    }

    pub fn state(&self) -> AccountState {
        self.state
    }

    pub fn node_state(&self, node: usize) -> SubscriptionState {
        self.watchers[node].state
    }

    /// Whether the account counts as covered.
    pub fn covered(&self) -> bool {
        self.covered
    }

    /// Where the newest gap begins.
    pub fn gap_from(&self) -> Option<Timestamp> {
        self.gap_from
    }

    pub fn start(&mut self, setting: &Setting, now: Moment) {
        let commands = self.machine.start(self.clock.by_server(now));
        self.carry_out(setting, commands, now);
    }

    pub fn up(&mut self, setting: &Setting, now: Moment) {
        self.heard = now.utc();
        let commands = self.machine.connected(setting.own.clone(), self.clock.by_server(now));
        self.clock.connected(now);
        self.ask_time(setting, now);
        self.carry_out(setting, commands, now);
    }

    pub fn failed(&mut self, setting: &Setting, failure: &Failure, now: Moment) {
        let commands = self.machine.failed(failure, self.clock.by_server(now));
        self.carry_out(setting, commands, now);
    }

    /// The session is over. Whether a subscription hears first that its request was abandoned, or that there is no
    /// connection, is a matter of chance.
    pub fn down(&mut self, setting: &Setting, loss: &Loss, abandoned_first: bool, now: Moment) {
        self.abandoned_first = abandoned_first;
        self.lose(setting, loss, self.heard, now);
        self.settle(setting, now);
    }

    fn lose(&mut self, setting: &Setting, loss: &Loss, heard: Timestamp, now: Moment) {
        let doubted = self.requests.doubted().map(Moment::utc);
        self.heard = doubted.map_or(heard, |doubted| doubted.min(heard));
        self.gap = loss.gap();
        let commands = self.machine.lost(loss, self.clock.by_server(now));
        self.queue(setting, commands, now);
    }

    fn suspend(&mut self) {
        if let Some(reason) = self.gap {
            let change = self.coverage.disconnected(reason, self.heard);
            self.cover(change.as_ref());
        }
        let abandoned = self.requests.abandon();
        self.clock.disconnected();
        let suspended = (0..self.watchers.len()).map(Hop::Suspended);
        if self.abandoned_first {
            self.abandon(abandoned);
            self.hops.extend(suspended);
        } else {
            self.hops.extend(suspended);
            self.abandon(abandoned);
        }
    }

    fn abandon(&mut self, abandoned: Vec<Asker>) {
        for asker in abandoned {
            if let Asker::Node { node, turn } = asker {
                self.watchers[node].in_flight -= 1;
                self.hops.push_back(Hop::Hear(node, turn, Rc::new(Err(NoAnswer::Disconnected))));
            }
        }
    }

    /// An answer came in.
    pub fn receive(&mut self, setting: &Setting, id: &str, asked: Asked, reply: &Rc<Reply>, now: Moment) {
        self.heard = now.utc();
        let sender = match asked {
            Asked::Account => &setting.auth_sender,
            Asked::Node(node) => &setting.nodes[node].2,
        };
        if let Some(asker) = self.requests.answered(id, Some(sender), now) {
            self.answered(setting, &asker, reply, now);
        }
        self.settle(setting, now);
    }

    /// A message about a subscription came in: it goes to every subscription of that service.
    pub fn changed(&mut self, setting: &Setting, node: usize, state: &'static str, now: Moment) {
        self.heard = now.utc();
        self.hops.push_back(Hop::Changed(node, state));
        self.settle(setting, now);
    }

    /// Time has passed: whoever has something to do does it.
    pub fn tick(&mut self, setting: &Setting, now: Moment) {
        if self.deadline_of_connection().is_some_and(|due| due <= now) {
            for asker in self.requests.expired(now) {
                self.answered(setting, &asker, &Rc::new(Err(NoAnswer::TimedOut)), now);
            }
            self.ask_time(setting, now);
            let commands = self.machine.tick(self.clock.by_server(now));
            self.carry_out(setting, commands, now);
        }
        for node in 0..self.watchers.len() {
            if self.watchers[node].machine.deadline().is_some_and(|due| due <= now) {
                let commands = self.watchers[node].machine.tick(now);
                self.obey(node, commands, now);
            }
        }
        self.settle(setting, now);
    }

    pub fn deadline(&self) -> Option<Moment> {
        let nodes = self.watchers.iter().filter_map(|watcher| watcher.machine.deadline());
        nodes.chain(self.deadline_of_connection()).min()
    }

    fn deadline_of_connection(&self) -> Option<Moment> {
        let clock = self.machine.own().and(self.clock.deadline());
        self.machine.deadline().into_iter().chain(self.requests.deadline()).chain(clock).min()
    }

    /// Asks for the time, if it is time to.
    fn ask_time(&mut self, setting: &Setting, now: Moment) {
        if self.machine.own().is_some() && self.clock.tick(now) {
            let id = self.requests.open(setting.auth.clone(), Asker::Clock, now);
            self.acts.push(Act::Send { id, query: Query::Time });
        }
    }

    fn answered(&mut self, setting: &Setting, asker: &Asker, reply: &Rc<Reply>, now: Moment) {
        match *asker {
            Asker::Account => {
                let commands = self.machine.authorized(reply, self.clock.by_server(now));
                self.queue(setting, commands, now);
            }
            Asker::Clock => {
                if self.clock.answered(reply, now) {
                    let commands = self.machine.corrected(self.clock.by_server(now));
                    self.queue(setting, commands, now);
                }
            }
            Asker::Node { node, turn } => {
                self.watchers[node].in_flight -= 1;
                self.hops.push_back(Hop::Hear(node, turn, Rc::clone(reply)));
            }
        }
    }

    fn carry_out(&mut self, setting: &Setting, commands: Vec<Command>, now: Moment) {
        self.queue(setting, commands, now);
        self.settle(setting, now);
    }

    fn queue(&mut self, setting: &Setting, commands: Vec<Command>, now: Moment) {
        for command in commands {
            let nodes = 0..self.watchers.len();
            match command {
                Command::Connect(_) => self.acts.push(Act::Connect),
                Command::Authorize => {
                    let id = self.requests.open(setting.auth.clone(), Asker::Account, now);
                    self.acts.push(Act::Send { id, query: Query::Authorize });
                }
                Command::Serve(_) => self.hops.extend(nodes.map(Hop::Ready)),
                Command::Reauthorized { lapsed } => {
                    self.coverage.authorized();
                    self.hops.extend(nodes.map(|node| Hop::Reauthorized(node, lapsed)));
                }
                Command::Suspend => self.suspend(),
                Command::Became(state, _) => {
                    self.state = state;
                    let change = self.coverage.credentials(state == AccountState::Refused);
                    self.cover(change.as_ref());
                }
            }
        }
        self.see_lapse(now);
    }

    /// The authorization may have run out: from then on nothing is sure to be delivered.
    fn see_lapse(&mut self, now: Moment) {
        let Some(since) = self.machine.lapsed().filter(|_| !self.coverage.has_lapsed()) else { return };
        let change = self.coverage.lapse(since.by(now).utc());
        self.cover(change.as_ref());
        self.hops.extend((0..self.watchers.len()).map(Hop::Lapsed));
    }

    /// The link answers no listing any more. Several nodes may notice; one of them ends the session.
    fn deaf(&mut self, setting: &Setting, since: Option<Timestamp>, now: Moment) {
        if self.machine.own().is_some() {
            self.acts.push(Act::Drop);
            self.lose(setting, &Loss::Timeout, since.unwrap_or(self.heard), now);
        }
    }

    fn settle(&mut self, setting: &Setting, now: Moment) {
        while let Some(hop) = self.hops.pop_front() {
            let (node, commands) = match hop {
                Hop::Ready(node) => (node, self.watchers[node].machine.ready(setting.own.clone(), now)),
                Hop::Suspended(node) => {
                    self.watchers[node].turn += 1;
                    self.watchers[node].doubt = None;
                    (node, self.watchers[node].machine.suspended(now))
                }
                Hop::Lapsed(node) => {
                    self.watchers[node].doubt = Some(Doubt::Unauthorized);
                    (node, Vec::new())
                }
                Hop::Reauthorized(node, lapsed) => {
                    let watcher = &mut self.watchers[node];
                    watcher.doubt = watcher.doubt.map(|_| Doubt::Unseen(now));
                    (node, watcher.machine.reauthorized(lapsed, now))
                }
                Hop::Changed(node, state) => {
                    let change = notification::Change {
                        node: None,
                        jid: Some(setting.own.to_string()),
                        subid: None,
                        state: state.to_owned(),
                    };
                    (node, self.watchers[node].machine.changed(&change, now))
                }
                Hop::Ask(node, turn, request) => {
                    self.request(setting, node, turn, &request, now);
                    continue;
                }
                Hop::Hear(node, turn, reply) if turn == self.watchers[node].turn => {
                    (node, self.watchers[node].machine.answered(&reply, now))
                }
                Hop::Hear(..) => continue, // of a session that is over
                Hop::Standing { node, delivery, reason, since } => {
                    let (service, name, _) = &setting.nodes[node];
                    let at = since.unwrap_or_else(|| now.utc());
                    let change = self.coverage.changed(service, name, delivery, reason, at);
                    self.cover(change.as_ref());
                    continue;
                }
                Hop::Ended => {
                    let commands = self.machine.doubted(self.clock.by_server(now));
                    self.queue(setting, commands, now);
                    continue;
                }
                Hop::Deaf(since) => {
                    self.deaf(setting, since, now);
                    continue;
                }
            };
            self.obey(node, commands, now);
        }
    }

    fn request(&mut self, setting: &Setting, node: usize, turn: u64, request: &Request, now: Moment) {
        if self.machine.own().is_none() {
            self.hops.push_back(Hop::Hear(node, turn, Rc::new(Err(NoAnswer::Disconnected))));
            return;
        }
        let id = self.requests.open(setting.nodes[node].0.jid().clone(), Asker::Node { node, turn }, now);
        self.watchers[node].in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.watchers[node].in_flight);
        let request = request.clone().with_expire(|utc| self.clock.server_utc(utc, now));
        self.acts.push(Act::Send { id, query: read(node, &request) });
    }

    fn obey(&mut self, node: usize, commands: Vec<subscription::Command>, now: Moment) {
        let watcher = &mut self.watchers[node];
        for command in commands {
            match command {
                subscription::Command::Send(request) => {
                    watcher.turn += 1;
                    self.hops.push_back(Hop::Ask(node, watcher.turn, request));
                }
                subscription::Command::Became(state, _) => {
                    watcher.state = state;
                    watcher.delivery = watcher.delivery.then(state);
                }
                subscription::Command::Tell(Fact::Probe(ProbeOutcome::Unanswered)) => {
                    self.hops.push_back(Hop::Deaf(watcher.machine.seen().map(Moment::utc)));
                }
                subscription::Command::Tell(Fact::Probe(ProbeOutcome::Missing)) => {
                    watcher.unseen_since = watcher.machine.seen();
                }
                subscription::Command::Tell(_) | subscription::Command::Forget(_) => {}
            }
        }
        watcher.believe(now);
        let ended = watcher.machine.last_ended();
        if std::mem::replace(&mut watcher.last_ended, ended) != ended {
            self.hops.push_back(Hop::Ended);
        }
        let since = watcher.unseen_since.take().map(Moment::utc);
        if watcher.told != watcher.delivery {
            watcher.told = watcher.delivery;
            let reason = if watcher.doubt.is_some() { GapReason::Authorization } else { GapReason::Revoked };
            self.hops.push_back(Hop::Standing { node, delivery: watcher.delivery, reason, since });
        }
    }

    fn cover(&mut self, change: Option<&coverage::Change>) {
        let Some(change) = change else { return };
        let (record, ended) = Record::after(self.record, change);
        self.record = record;
        match change {
            coverage::Change::Covered { since, .. } => {
                self.told.extend(ended.map(|window| (window, *since)));
                self.covered = true;
            }
            coverage::Change::Continued { .. } => self.covered = true,
            coverage::Change::Uncovered { since, .. } => {
                self.gap_from = Some(*since);
                self.gaps += u64::from(self.covered);
                self.covered = false;
            }
        }
    }

    /// What the store holds of the coverage, for a router that starts after this one is gone. When the link, which was alive
    /// last at `alive`, was heard last is written down every ten seconds, and it is made to say something every thirty.
    pub fn record(&self, alive: Moment) -> Option<Record> {
        let every = |seconds: i64| Timestamp::from_second(alive.utc().as_second() / seconds * seconds).unwrap();
        let heard = every(30).max(self.heard).min(every(10));
        let delivered = self.doubted().map_or(heard, |doubted| doubted.min(heard));
        self.record.map(|record| match record.ended {
            Some(_) => record,
            None => Record { until: record.until.max(delivered), ended: Some(GapReason::Restart) },
        })
    }

    /// Since when the service may deliver nothing, as it answers nothing.
    pub fn doubted(&self) -> Option<Timestamp> {
        self.requests.doubted().map(Moment::utc)
    }

    /// The account alone is stopped at `now`, by a reload; its link was alive last at `alive`.
    pub fn stop(&mut self, now: Moment, alive: Moment) {
        let delivered = self.doubted().map_or(alive.utc(), |doubted| doubted.min(alive.utc()));
        let change = self.coverage.stopped(delivered.min(now.utc()));
        self.cover(change.as_ref());
    }

    /// The router's clock was set by so much.
    pub fn clock_stepped(&mut self, by: SignedDuration) {
        let change = self.coverage.stepped(by);
        self.cover(change.as_ref());
        self.heard = self.heard.checked_add(by.min(SignedDuration::ZERO)).unwrap();
    }

    /// The window that is open, as it is shown.
    pub fn blind(&self) -> Option<Blind> {
        self.coverage.blind()
    }
}

/// The request as the service sees it.
fn read(node: usize, request: &Request) -> Query {
    let number = |subid: &onsip_router::domain::name::Subid| u32::from_str_radix(subid.as_str(), 16).unwrap();
    let until = |expire: &Timestamp| from_utc(*expire);
    match request {
        Request::Authorize { .. } => Query::Authorize,
        Request::List { node: name } => Query::List { node, above: name.as_str() == "/" },
        Request::Items { node: name } => Query::Items { node, above: name.as_str() == "/" },
        Request::Subscribe { node: name, expire } => {
            Query::Subscribe { node, above: name.as_str() == "/", until: until(expire) }
        }
        Request::Renew { subid, expire, .. } => {
            Query::Renew { node, subid: subid.as_ref().map(number), until: until(expire) }
        }
        Request::Unsubscribe { subid, .. } => Query::Unsubscribe { node, subid: subid.as_ref().map(number) },
        Request::UnsubscribeOther { subid, .. } => Query::Unsubscribe { node, subid: Some(number(subid)) },
    }
}

/// Dice of their own for every machine.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only a seed")]
fn seeded(dice: &mut Dice) -> Dice {
    Dice::seeded((dice.roll() * 1e15) as u64)
}

/// The deadline as virtual time.
pub fn due(birth: Moment, deadline: Moment) -> Time {
    super::micros(birth.until(deadline))
}
