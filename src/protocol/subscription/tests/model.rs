//! The machine against a small model of the service, on virtual time, with every fault at once.

use std::collections::VecDeque;

use super::*;

/// Faults until then.
const CALM: Duration = Duration::from_mins(20);
/// Active again this long after the last fault at the latest.
const RECOVERY: Duration = Duration::from_mins(20);
const END: Duration = Duration::from_mins(70);
const LEASE: Duration = Duration::from_mins(10);
/// A few seconds of work; two thousand were tried.
const RUNS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
struct Entry {
    subid: String,
    approved: bool,
    lease_until: Duration,
}

#[derive(Debug)]
enum Deed {
    Answer(u64, Reply),
    Tell(&'static str),
    Decide(String, bool),
    Connect,
    Disconnect,
    Reauthorize,
    Revoke,
}

/// The service, the connection to it, and the machine under test.
struct World {
    machine: Subscription,
    dice: Dice,
    now: Duration,
    leases: bool,
    entries: Vec<Entry>,
    foreign: usize,
    last_subid: u32,
    deeds: VecDeque<(Duration, Deed)>,
    connected: bool,
    /// Counts requests and sessions, as the connection does.
    turn: u64,
    under_way: bool,
    sent: Vec<Duration>,
    tries: Vec<Duration>,
    refusals: Vec<Duration>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let terms = Terms { lease: LEASE, resync: !seed.is_multiple_of(3), ..terms() };
        let machine = Subscription::new(terms, None, at(Duration::ZERO), Dice::seeded(!seed));
        let leases = dice.roll() < 0.8;
        let machine = if dice.roll() < 0.5 { machine.probing(Duration::from_mins(2)) } else { machine };
        let mut world = Self {
            machine,
            dice,
            now: Duration::ZERO,
            leases,
            entries: Vec::new(),
            foreign: 0,
            last_subid: 0,
            deeds: VecDeque::new(),
            connected: false,
            turn: 0,
            under_way: false,
            sent: Vec::new(),
            tries: Vec::new(),
            refusals: Vec::new(),
        };
        while world.chance(0.4) {
            let approved = world.chance(0.7);
            world.enter(approved); // left behind by an earlier life
        }
        world.foreign = world.below(12);
        world.later(0.0, Deed::Connect);
        world
    }

    fn chance(&mut self, likely: f64) -> bool {
        self.dice.roll() < likely
    }

    /// A fault happens so often, as long as there are faults.
    fn fault(&mut self, likely: f64) -> bool {
        self.now < CALM && self.chance(likely)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a roll is 0 up to 1")]
    fn below(&mut self, most: u32) -> usize {
        (self.dice.roll() * f64::from(most)) as usize
    }

    fn later(&mut self, most: f64, deed: Deed) {
        let due = self.now + Duration::from_secs_f64(self.dice.roll() * most);
        let place = self.deeds.partition_point(|(other, _)| *other <= due);
        self.deeds.insert(place, (due, deed));
    }

    fn enter(&mut self, approved: bool) -> String {
        self.last_subid += 1;
        let subid = format!("S{}", self.last_subid);
        self.entries.push(Entry { subid: subid.clone(), approved, lease_until: self.now + LEASE });
        subid
    }

    fn run(&mut self) {
        let mut active_since = None;
        while self.now < END {
            let due = self.machine.deadline().map(|due| self.now + at(self.now).until(due));
            let deed = self.deeds.front().map(|(due, _)| *due);
            self.now = due.into_iter().chain(deed).min().unwrap_or(END).max(self.now);
            if deed == Some(self.now) {
                let (_, deed) = self.deeds.pop_front().unwrap();
                self.happens(deed);
            } else {
                let commands = self.machine.tick(at(self.now));
                self.carry_out(commands);
                let due = self.machine.deadline();
                assert!(due.is_none_or(|due| due > at(self.now)), "a tick at the deadline makes progress");
            }
            self.check();
            match self.state() {
                SubscriptionState::Active | SubscriptionState::Renewing => {
                    active_since.get_or_insert(self.now);
                }
                state => {
                    active_since = None;
                    let late = self.now >= CALM + RECOVERY;
                    assert!(!late, "{state} at {:?}: {:?}", self.now, self.machine);
                }
            }
        }
        assert!(active_since.is_some());
        assert_eq!(self.entries.len(), 1, "converges to one");
    }

    fn state(&self) -> SubscriptionState {
        self.machine.state(at(self.now)).0
    }

    fn check(&self) {
        let held = self.machine.memory().and_then(|memory| memory.subid);
        let held = self.entries.iter().find(|entry| held.as_ref().is_some_and(|subid| subid.as_str() == entry.subid));
        if let Some(entry) = held
            && self.leases
            && self.state() == SubscriptionState::Active
        {
            assert!(entry.lease_until > self.now, "active, and the lease is over");
        }
        let minute = self.sent.iter().rev().take_while(|at| self.now < **at + Duration::from_mins(1));
        assert!(minute.count() <= 80, "too many requests");
        for refusal in self.refusals.iter().rev().take(20) {
            let soon = |at: &&Duration| **at > *refusal && **at <= *refusal + Duration::from_secs(15);
            assert!(self.tries.iter().rev().take(20).filter(soon).count() <= 3, "hammering");
        }
    }

    fn happens(&mut self, deed: Deed) {
        let now = at(self.now);
        let commands = match deed {
            Deed::Connect => {
                self.connected = true;
                self.later(200.0, Deed::Reauthorize);
                if self.fault(0.9) {
                    self.later(240.0, Deed::Disconnect);
                }
                self.machine.ready(FullJid::new(OWN).unwrap(), now)
            }
            Deed::Disconnect => {
                self.connected = false;
                self.under_way = false;
                self.turn += 1;
                self.later(30.0, Deed::Connect);
                self.machine.suspended(now)
            }
            Deed::Reauthorize => {
                self.later(400.0, Deed::Reauthorize);
                if self.fault(0.5) {
                    self.later(60.0, Deed::Revoke);
                }
                let lapsed = self.chance(0.2);
                if self.connected { self.machine.reauthorized(lapsed, now) } else { Vec::new() }
            }
            Deed::Revoke => {
                if self.now < CALM && self.entries.pop().is_some() {
                    self.tell("none");
                }
                Vec::new()
            }
            Deed::Decide(subid, granted) => {
                self.decide(&subid, granted);
                Vec::new()
            }
            Deed::Tell(state) => {
                if self.connected {
                    self.machine.changed(&told(state), now)
                } else {
                    Vec::new()
                }
            }
            Deed::Answer(turn, reply) if turn == self.turn => {
                self.under_way = false;
                self.machine.answered(&reply, now)
            }
            Deed::Answer(..) => Vec::new(),
        };
        self.carry_out(commands);
    }

    fn decide(&mut self, subid: &str, granted: bool) {
        if let Some(place) = self.entries.iter().position(|entry| entry.subid == subid && !entry.approved) {
            if granted {
                self.entries[place].approved = true;
                self.tell("subscribed");
            } else {
                self.entries.remove(place);
                self.refusals.push(self.now);
                self.tell("none");
            }
        }
    }

    /// Sends a message, which may be lost, late or come twice.
    fn tell(&mut self, state: &'static str) {
        if !self.fault(0.15) {
            self.later(0.5, Deed::Tell(state));
        }
        if self.fault(0.1) {
            self.later(40.0, Deed::Tell(state));
        }
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            let Command::Send(request) = command else { continue };
            assert!(!self.under_way, "one request at a time");
            assert!(self.connected, "{request:?} without a connection");
            self.under_way = true;
            self.turn += 1;
            self.sent.push(self.now);
            let (turn, lost) = (self.turn, self.fault(0.1));
            if lost && self.chance(0.5) {
                let due = self.now + PATIENCE;
                self.deeds.push_back((due, Deed::Answer(turn, Err(NoAnswer::TimedOut))));
            } else {
                let reply = self.serve(&request);
                if lost {
                    self.deeds.push_back((self.now + PATIENCE, Deed::Answer(turn, Err(NoAnswer::TimedOut))));
                } else {
                    let slowest = if self.now < CALM { 5.0 } else { 0.2 };
                    self.later(slowest, Deed::Answer(turn, reply));
                }
            }
            self.deeds.make_contiguous().sort_by_key(|(due, _)| *due);
        }
    }

    fn serve(&mut self, request: &Request) -> Reply {
        if self.fault(0.05) {
            return error("internal-server-error", "");
        }
        match request {
            Request::List { .. } => {
                let state = |entry: &Entry| if entry.approved { "subscribed" } else { "pending" };
                let own = self.entries.iter().map(|entry| format!("{}:{} ", state(entry), entry.subid));
                let foreign = (0..self.foreign).map(|n| format!("subscribed:F{n}@a@b.test/other "));
                list(&own.chain(foreign).collect::<String>())
            }
            Request::Items { .. } if self.leases => result("<items node='/b.test/a'/>"),
            Request::Items { .. } => error("feature-not-implemented", "unsupported"),
            Request::Subscribe { .. } => self.subscribe(),
            Request::Renew { subid, .. } => {
                let now = self.now;
                let Some(place) = self.place(subid.as_ref()) else { return error("not-acceptable", "invalid-subid") };
                if !self.leases {
                    return error("feature-not-implemented", "unsupported");
                }
                self.entries[place].lease_until = now + LEASE;
                done()
            }
            Request::Unsubscribe { subid, .. } => {
                let Some(place) = self.place(subid.as_ref()) else {
                    return error("unexpected-request", "not-subscribed");
                };
                self.entries.remove(place);
                self.tell("none");
                done()
            }
            Request::Authorize { .. } | Request::UnsubscribeOther { .. } => unreachable!(),
        }
    }

    fn place(&self, subid: Option<&Subid>) -> Option<usize> {
        match subid {
            Some(subid) => self.entries.iter().position(|entry| entry.subid == subid.as_str()),
            None => (self.entries.len() == 1).then_some(0),
        }
    }

    fn subscribe(&mut self) -> Reply {
        assert!(self.entries.is_empty(), "another one of ours is there: {:?}", self.entries);
        self.tries.push(self.now);
        if self.now >= CALM {
            self.foreign = self.foreign.min(3); // an operator cleaned up
        } else if self.foreign >= 10 {
            self.foreign = self.below(12);
            self.refusals.push(self.now);
            return error("policy-violation", "too-many-subscriptions");
        }
        let subid = self.enter(false);
        if !self.fault(0.2) {
            let granted = !self.fault(0.3);
            let slowest = if self.now < CALM { 60.0 } else { 2.0 };
            self.later(slowest, Deed::Decide(subid.clone(), granted));
        }
        result("<subscription subscription='pending'/>")
    }
}

#[test]
fn against_every_fault_at_once_it_keeps_its_promises_and_recovers() {
    for seed in 0..RUNS {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(run.is_ok(), "seed {seed}");
    }
}
