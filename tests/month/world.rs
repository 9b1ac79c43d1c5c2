//! The world of one seed: accounts, the service and the network on virtual time, one thing after the other.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use onsip_router::domain::moment::Moment;
use onsip_router::domain::status::{AccountState, GapReason, SubscriptionState};
use onsip_router::protocol::backoff::Dice;
use onsip_router::protocol::requests::Reply;

use super::account::{Act, Router, Setting, due};
use super::answers::Stock;
use super::checks::{Tally, View, Watch};
use super::faults::{AILMENTS, Ailment};
use super::network::{Cut, Gate, Knock, Link, Miss};
use super::service::{Answer, Asked, Items, Query, Sequel, Service, Style};
use super::windows::Windows;
use super::{HOURS, MINUTES, SECONDS, START, Time, below, from_utc, micros, span};

/// A world must be well so long after its beginning.
const BEGINNING: Time = 8 * MINUTES;

/// Something that happens to an account.
#[derive(Debug)]
pub enum Deed {
    /// A timer of the router.
    Wake,
    LogIn {
        epoch: u32,
        knock: Knock,
    },
    Cut {
        epoch: u32,
        cut: Cut,
    },
    Arrive {
        epoch: u32,
        id: String,
        query: Query,
    },
    Answer {
        epoch: u32,
        id: String,
        asked: Asked,
        reply: Rc<Reply>,
    },
    Decide {
        node: usize,
        subid: u32,
        granted: bool,
    },
    Tell {
        node: usize,
        state: &'static str,
    },
    Strike,
    Storm,
    Heal {
        ailment: Ailment,
        since: Time,
    },
    Flap,
}

struct Event {
    due: Time,
    number: u64,
    account: usize,
    deed: Deed,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

/// One account with all that belongs to it.
pub struct Life {
    pub setting: Setting,
    pub router: Router,
    pub service: Service,
    pub link: Link,
    pub watch: Watch,
    pub windows: Windows,
    pub ailments: [u8; AILMENTS],
    /// How long it takes until the router has learned by asking what nobody tells; zero: there is nothing.
    pub hidden: Time,
    /// Since when the portal has had another password at times, without all being fine in between: every refusal doubles
    /// the pause after the next.
    pub refused_since: Option<Time>,
    armed: Option<Time>,
    spins: u32,
}

impl Life {
    pub fn has(&self, ailment: Ailment) -> bool {
        self.ailments[ailment as usize] > 0
    }

    /// `skew`: the router's clock against the service's.
    fn view(&self, node: usize, now: Time, skew: i64) -> View {
        let link = self.link.dark_since();
        let denied = self.router.node_state(node) == SubscriptionState::Denied;
        View {
            believes: self.router.believes(node),
            covered: self.router.covered() && !denied,
            gap_from: self.router.gap_from().map(|from| from_utc(from).saturating_add_signed(-skew)),
            dark_since: self.service.dark_since(node, now).into_iter().chain(link).min(),
            gone_since: self.service.gone_since(node).into_iter().chain(link).min(),
            own_entries: self.service.shelves[node].own().count(),
        }
    }
}

/// The world.
pub struct World {
    pub seed: u64,
    pub dice: Dice,
    pub now: Time,
    pub lives: Vec<Life>,
    pub tally: Tally,
    /// The router's clock against the service's, in microseconds.
    pub skew: i64,
    /// How often the routers look their subscriptions up.
    pub probe: Time,
    birth: Moment,
    permits: usize,
    gate: Gate,
    queue: BinaryHeap<Reverse<Event>>,
    number: u64,
    stock: Stock,
    events: u64,
}

impl World {
    pub fn new(seed: u64, accounts: usize, permits: usize, probe: Duration) -> Self {
        let mut dice = Dice::seeded(seed);
        let birth = Moment::virtual_at(Duration::ZERO, Timestamp::from_second(START).unwrap());
        let lives = (0..accounts).map(|number| life(number, birth, probe, &mut dice)).collect();
        let mut world = Self {
            seed,
            now: 0,
            lives,
            tally: Tally::default(),
            skew: span(&mut dice, 0, 120 * SECONDS).cast_signed() - 60_000_000,
            probe: micros(probe),
            birth,
            permits,
            gate: Gate::new(permits),
            queue: BinaryHeap::new(),
            number: 0,
            stock: Stock::new(),
            events: 0,
            dice,
        };
        for account in 0..accounts {
            let now = world.moment();
            let life = &mut world.lives[account];
            life.router.start(&life.setting, now);
            world.after(account);
        }
        world
    }

    /// The router's reading of both clocks.
    pub fn moment(&self) -> Moment {
        self.moment_at(self.now)
    }

    pub fn later(&mut self, wait: Time, account: usize, deed: Deed) {
        self.at(self.now + wait, account, deed);
    }

    fn at(&mut self, due: Time, account: usize, deed: Deed) {
        self.number += 1;
        self.queue.push(Reverse(Event { due, number: self.number, account, deed }));
    }

    pub fn chance(&mut self, likely: f64) -> bool {
        self.dice.roll() < likely
    }

    pub fn span(&mut self, least: Time, most: Time) -> Time {
        span(&mut self.dice, least, most)
    }

    /// Runs until `end`, and looks at everything once more then.
    pub fn run(&mut self, end: Time) {
        while self.queue.peek().is_some_and(|Reverse(event)| event.due <= end)
            && let Some(Reverse(event)) = self.queue.pop()
        {
            self.now = event.due;
            self.events += 1;
            self.look(event.account);
            self.happens(event.account, event.deed);
            self.after(event.account);
        }
        self.now = end;
        (0..self.lives.len()).for_each(|account| self.look(account));
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    fn happens(&mut self, account: usize, deed: Deed) {
        let now = self.moment();
        let time = self.now;
        let life = &mut self.lives[account];
        match deed {
            Deed::Wake => {
                if life.armed.is_some_and(|armed| armed > time) {
                    return; // an earlier one came between
                }
                life.armed = None;
                life.router.tick(&life.setting, now);
            }
            Deed::LogIn { epoch, knock } => self.knocked(account, epoch, knock),
            Deed::Cut { epoch, cut } => {
                if life.link.up && life.link.epoch == epoch {
                    self.cut(account, cut);
                }
            }
            Deed::Arrive { epoch, id, query } => self.arrived(account, epoch, id, query),
            Deed::Answer { epoch, id, asked, reply } => {
                if life.link.carries(epoch) {
                    life.watch.note(time, if reply.is_ok() { "result" } else { "error" }, node_of(asked));
                    life.router.receive(&life.setting, &id, asked, &reply, now);
                }
            }
            Deed::Decide { node, subid, granted } => {
                if let Some(state) = life.service.decide(node, subid, granted, time) {
                    self.tell(account, node, state);
                }
            }
            Deed::Tell { node, state } => self.told(account, node, state),
            Deed::Strike => self.strike(account),
            Deed::Storm => self.storm(),
            Deed::Heal { ailment, since } => self.heal(account, ailment, since),
            Deed::Flap => self.flap(account),
        }
    }

    /// Holds an account against the promises.
    pub fn look(&mut self, account: usize) {
        let (now, utc) = (self.now, self.moment().utc());
        let life = &mut self.lives[account];
        let (mut fine, mut verdict) = (true, Ok(()));
        for node in 0..life.setting.nodes() {
            let view = life.view(node, now, self.skew);
            let delivers = view.believes && view.dark_since.is_none() && view.own_entries == 1;
            fine &= delivers;
            if delivers {
                life.service.shelves[node].tampered = None;
            }
            verdict = verdict.and(life.watch.see(node, &view, now, &mut self.tally));
        }
        if fine {
            life.hidden = 0;
            life.refused_since = life.refused_since.filter(|_| life.has(Ailment::Password));
        }
        life.watch.conclude(fine, now, &mut self.tally);
        let refused = life.router.state() == AccountState::Refused;
        verdict = verdict.and(life.windows.see(life.router.blind(), refused, &mut life.router.told, utc));
        if life.watch.is_well(now) && !life.router.covered() {
            verdict = verdict.and(Err("every node delivers and the account does not count as covered".to_owned()));
        }
        if life.router.most_in_flight > 1 {
            verdict = Err("more than one request under way for a node".to_owned());
        }
        self.require(account, verdict);
    }

    /// After every event: carries out what the router wants, looks, and sets its timer.
    pub fn after(&mut self, account: usize) {
        let acts = std::mem::take(&mut self.lives[account].router.acts);
        for act in acts {
            match act {
                Act::Connect => self.connect(account),
                Act::Send { id, query } => self.send(account, id, query),
                Act::Drop => {
                    let life = &mut self.lives[account];
                    life.watch.note(self.now, "session dropped as deaf", u64::from(life.link.epoch));
                    life.link.go_down(self.now);
                    self.tally.dropped += 1;
                }
            }
        }
        self.look(account);
        let life = &mut self.lives[account];
        if life.has(Ailment::Stopped) {
            return;
        }
        let Some(deadline) = life.router.deadline() else { return };
        let due = due(self.birth, deadline).max(self.now);
        if life.armed.is_none_or(|armed| due < armed) {
            life.spins = if due == self.now { life.spins + 1 } else { 0 };
            life.armed = Some(due);
            let spins = life.spins;
            self.at(due, account, Deed::Wake);
            self.require(account, if spins > 50 { Err("a timer makes no progress".to_owned()) } else { Ok(()) });
        }
    }

    fn connect(&mut self, account: usize) {
        let now = self.now;
        let life = &mut self.lives[account];
        life.link.epoch += 1;
        life.watch.note(now, "connect", u64::from(life.link.epoch));
        let verdict = life.watch.logged_in(now, &mut self.tally);
        self.gate.queue(account, life.link.epoch);
        self.require(account, verdict);
        self.open_gate();
    }

    fn open_gate(&mut self) {
        while let Some((account, epoch)) = self.gate.admit() {
            assert!(self.gate.under_way(self.permits) <= self.permits);
            let life = &self.lives[account];
            let slow = life.has(Ailment::Slow);
            let (knock, wait) = if life.has(Ailment::BlackHole) {
                (Knock::TimesOut, 20 * SECONDS)
            } else if life.has(Ailment::Closed) {
                (Knock::IsRefused, self.span(SECONDS / 20, SECONDS))
            } else {
                let wait = self.span(SECONDS / 4, if slow { 30 * SECONDS } else { 3 * SECONDS / 2 });
                if wait < 20 * SECONDS { (Knock::Binds, wait) } else { (Knock::TimesOut, 20 * SECONDS) }
            };
            self.later(wait, account, Deed::LogIn { epoch, knock });
        }
    }

    fn knocked(&mut self, account: usize, epoch: u32, knock: Knock) {
        self.gate.leave();
        self.open_gate();
        let now = self.moment();
        let elsewhere = self.chance(0.5);
        let life = &mut self.lives[account];
        if life.link.epoch != epoch || life.link.up || life.has(Ailment::Stopped) {
            return; // of an earlier life of the router
        }
        let miss = match knock {
            Knock::TimesOut => Some(Miss::Timeout),
            Knock::IsRefused => Some(Miss::Network),
            Knock::Binds if life.has(Ailment::BlackHole) || life.has(Ailment::Closed) => Some(Miss::Network),
            Knock::Binds if life.has(Ailment::Password) => Some(Miss::Password),
            Knock::Binds if life.has(Ailment::Throttled) => Some(Miss::Throttled),
            Knock::Binds if life.has(Ailment::Elsewhere) && elsewhere => Some(Miss::Elsewhere),
            Knock::Binds => None,
        };
        if let Some(miss) = miss {
            life.watch.note(self.now, miss.name(), u64::from(epoch));
            life.router.failed(&life.setting, &miss.failure(), now);
            return;
        }
        life.watch.note(self.now, "session up", u64::from(epoch));
        self.tally.sessions += 1;
        life.link.come_up();
        let kept = std::mem::take(&mut life.link.kept);
        life.router.up(&life.setting, now);
        for (node, state) in kept {
            life.router.changed(&life.setting, node, state, now);
        }
    }

    /// A session ends, and the router notices.
    pub fn cut(&mut self, account: usize, cut: Cut) {
        let abandoned_first = self.chance(0.5);
        let now = self.moment();
        let life = &mut self.lives[account];
        life.watch.note(self.now, "session over", cut as u64);
        life.link.go_down(self.now);
        life.router.down(&life.setting, &cut.loss(), abandoned_first, now);
    }

    fn latency(&mut self, account: usize) -> Time {
        let slow = self.lives[account].has(Ailment::Slow);
        self.span(SECONDS / 50, if slow { 25 * SECONDS } else { SECONDS / 5 })
    }

    fn is_lost(&mut self, account: usize) -> bool {
        self.lives[account].has(Ailment::Lossy) && self.chance(0.25)
    }

    fn send(&mut self, account: usize, id: String, query: Query) {
        let (latency, lost, now) = (self.latency(account), self.is_lost(account), self.now);
        let life = &mut self.lives[account];
        life.watch.note(now, query.name(), node_of(query.asked()));
        *self.tally.requests.entry(query.name()).or_default() += 1;
        let verdict = life.watch.requested(now, &mut self.tally);
        let epoch = life.link.epoch;
        if !lost && life.link.carries(epoch) {
            let due = life.link.arrives_at_service(now + latency);
            self.at(due, account, Deed::Arrive { epoch, id, query });
        }
        self.require(account, verdict);
    }

    fn arrived(&mut self, account: usize, epoch: u32, id: String, query: Query) {
        let (latency, lost) = (self.latency(account), self.is_lost(account));
        let internal = self.chance(0.5);
        let mute = matches!(query, Query::Items { .. }) && self.chance(1.0 / 3.0);
        let now = self.now;
        let life = &mut self.lives[account];
        let (silent, broken) = match query.asked() {
            Asked::Account => (Ailment::AuthSilent, Ailment::AuthBroken),
            Asked::Node(_) => (Ailment::PubsubSilent, Ailment::PubsubBroken),
        };
        if life.has(silent) || (mute && life.service.style.items == Items::Mute) {
            return;
        }
        let served = if life.has(broken) {
            let condition = if internal { "internal-server-error" } else { "service-unavailable" };
            Ok((Answer::No(condition, ""), Sequel::Nothing))
        } else {
            life.service.serve(query, !life.has(Ailment::Password), now)
        };
        let (answer, sequel) = match served {
            Ok(served) => served,
            Err(breach) => return self.require(account, Err(breach.to_owned())),
        };
        let reply = self.stock.write(answer, &life.setting, &mut life.service);
        if !lost {
            let due = life.link.arrives_at_router(now + latency);
            self.at(due, account, Deed::Answer { epoch, id, asked: query.asked(), reply });
        }
        match sequel {
            Sequel::Nothing => {}
            Sequel::Echo(node) => self.tell(account, node, "none"),
            Sequel::Decide(node, subid) => {
                let life = &self.lives[account];
                let (slow, granted) = (life.has(Ailment::Slow), !life.has(Ailment::Denied));
                if !life.has(Ailment::Ignored) {
                    let wait = self.span(SECONDS / 20, if slow { MINUTES } else { 2 * SECONDS });
                    self.later(wait, account, Deed::Decide { node, subid, granted });
                }
            }
        }
    }

    /// The service tells of a changed subscription.
    pub fn tell(&mut self, account: usize, node: usize, state: &'static str) {
        let latency = self.latency(account);
        if !self.is_lost(account) {
            let due = self.lives[account].link.arrives_at_router(self.now + latency);
            self.at(due, account, Deed::Tell { node, state });
        }
    }

    fn told(&mut self, account: usize, node: usize, state: &'static str) {
        let now = self.moment();
        let life = &mut self.lives[account];
        if life.link.carries(life.link.epoch) {
            life.watch.note(self.now, state, node as u64);
            life.router.changed(&life.setting, node, state, now);
        } else if !life.link.up && life.service.style.keeps_messages && life.link.kept.len() < 10 {
            life.link.kept.push((node, state));
        }
    }

    /// The router's reading of both clocks at another time.
    fn moment_at(&self, time: Time) -> Moment {
        let utc = START * 1_000_000 + time.cast_signed() + self.skew;
        Moment::virtual_at(Duration::from_micros(time), Timestamp::from_microsecond(utc).unwrap())
    }

    /// Rebuilds the router of an account from its ledger: all of the router ended without a word, or this account alone, by a
    /// reload, in good order.
    pub fn rebuild(&mut self, account: usize, ledger: bool, reload: bool) {
        let now = self.moment();
        let alive = self.moment_at(self.lives[account].link.dark_since().unwrap_or(self.now));
        let life = &mut self.lives[account];
        let nodes = life.setting.nodes();
        let memory = if ledger { life.router.ledger() } else { vec![None; nodes] };
        let (gaps, shown, doubted) = (life.router.gaps, life.router.blind(), life.router.doubted());
        let reason = if reload { GapReason::Reload } else { GapReason::Restart };
        life.windows.account_ends(shown, alive.utc(), doubted, reason);
        if reload {
            life.router.stop(now, alive);
        }
        let record = life.router.record(alive);
        life.router = Router::new(&life.setting, memory, record, now, &mut self.dice);
        life.router.gaps = gaps;
    }

    /// Starts a rebuilt router.
    pub fn start(&mut self, account: usize) {
        let now = self.moment();
        let life = &mut self.lives[account];
        life.armed = None;
        life.router.start(&life.setting, now);
    }

    pub fn require(&self, account: usize, verdict: Result<(), String>) {
        let Err(what) = verdict else { return };
        let life = &self.lives[account];
        let notes = life.watch.notes().map(|note| format!("  {} {} {}\n", clock(note.at), note.what, note.number));
        let states = (0..life.setting.nodes()).map(|node| life.router.node_state(node).as_str());
        let states: Vec<_> = states.collect();
        let notes: String = notes.collect();
        panic!(
            "seed {}, account {account}, {}: {what}\naccount {}, nodes {states:?}, excused until {}\nstyle {:?}\nthe last \
             that happened to it:\n{notes}to run it again: ONSIP_ROUTER_SEED={} cargo test --test month once_more",
            self.seed,
            clock(self.now),
            life.router.state(),
            clock(life.watch.excused_until()),
            life.service.style,
            self.seed,
        );
    }
}

/// Days, hours, minutes and seconds of virtual time.
pub fn clock(time: Time) -> String {
    let seconds = time / SECONDS;
    let (day, hour, minute, second) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("day {day} {hour:02}:{minute:02}:{second:02}.{:03}", time / 1000 % 1000)
}

fn node_of(asked: Asked) -> u64 {
    match asked {
        Asked::Account => 99,
        Asked::Node(node) => node as u64,
    }
}

fn life(number: usize, birth: Moment, probe: Duration, dice: &mut Dice) -> Life {
    let setting = Setting::numbered(number, probe);
    let nodes = setting.nodes();
    let mut even = || dice.roll() < 0.5;
    let style = Style {
        renews_anything: even(),
        echoes: even(),
        lapse_ends: even(),
        counts_all: even(),
        refuses_at_once: even(),
        keeps_messages: even(),
        items: [Items::Refused, Items::Empty, Items::Mute][number % 3],
    };
    let mut service = Service::new(style, nodes);
    for node in 0..nodes {
        // Left behind by other programs, and by an earlier life of the router.
        for own in [false, true] {
            for _ in 0..below(dice, if own { 4 } else { 3 }) {
                let approved = dice.roll() < 0.7;
                let until = span(dice, 0, 3 * HOURS);
                service.enter(node, own, approved, until, 0);
            }
        }
    }
    Life {
        router: Router::new(&setting, vec![None; nodes], None, birth, dice),
        service,
        link: Link::default(),
        watch: Watch::new(nodes, micros(probe), BEGINNING),
        windows: Windows::default(),
        ailments: [0; AILMENTS],
        hidden: 0,
        refused_since: None,
        armed: None,
        spins: 0,
        setting,
    }
}
