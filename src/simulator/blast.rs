//! Events as fast as the clients take them: prepared bytes, written by the connections themselves.
//!
//! The service's own way, one publish at a time under one lock, is slower than what it is to measure. Here a message is made
//! once per subscriber and state, exactly as the service would send it, and only its leg number and its `publish-time` are
//! stamped anew for each event. Nothing is counted or kept, and stream management must be off. Must not know what a client
//! does with an event.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Simulator;
use super::calls::{Call, SERVICE};
use super::connection::Shared;
use super::delivery::Publication;
use super::payload::publish_time;
use super::switchboard::{SessionId, Switchboard};
use crate::domain::moment::Moment;

/// Events of one leg: `created` or `requested`, `confirmed`, and its end.
pub const EVENTS_PER_LEG: u64 = 3;
/// Of so many legs one is outgoing (`created`), the others are incoming (`requested`).
pub const OUTGOING_OF: u64 = 3;
/// Legs of one account that are live at once in a blast; in paced traffic it is one.
pub const LEGS_AT_ONCE: u64 = 4;

/// Bytes written to a connection at once.
const CHUNK: usize = 16 * 1024;
/// Single events that may wait for one connection.
pub(super) const WAITING: usize = 64;
/// Between two looks at what is due in paced traffic.
const TICK: Duration = Duration::from_millis(1);
/// An event that is later than this counts as sent when it was due.
const PUNCTUAL: Duration = Duration::from_millis(5);
/// Digits of a leg number.
const DIGITS: usize = 12;
/// Stands where a leg number goes.
const MARK: &str = "#####leg####";

/// Makes ids and tags as long as those of real phones and proxies.
const OPAQUE: &str = "8f14e45fceea167a5a36dedd4bea2543c9f0f895";

/// Why nothing can be blasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No session would get an event.
    #[error("no session would get an event")]
    Nobody,
    /// A blast is not counted, so a client that asks for its stanzas by count would be told lies.
    #[error("a session has stream management")]
    Managed,
}

/// Everybody who gets events, with what they get. Legs are dealt to them in turn.
#[derive(Debug)]
pub struct Blast {
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    bursts: mpsc::Sender<Burst>,
    stencils: Arc<Stencils>,
}

impl Simulator {
    /// Takes aim at every session that has a subscription which delivers.
    ///
    /// # Errors
    /// If there is none, or one is managed.
    pub fn aim(&self) -> Result<Blast, Unfit> {
        let all = self.shared.act(Switchboard::stencils)?;
        let targets = all.into_iter().filter_map(|(id, stencils)| {
            Some(Target { bursts: self.shared.bursts(id)?, stencils: Arc::new(stencils) })
        });
        Some(Blast { targets: targets.collect() }).filter(|blast| !blast.targets.is_empty()).ok_or(Unfit::Nobody)
    }
}

impl Blast {
    /// Sessions that get events.
    pub fn sessions(&self) -> usize {
        self.targets.len()
    }

    /// Bytes of `legs` legs from number `first` on, by step.
    pub fn sizes(&self, first: u64, legs: u64) -> [u64; 3] {
        let mut sizes = [0; 3];
        for (leg, target) in (first..first + legs).zip(self.targets.iter().cycle()) {
            for (size, stencil) in sizes.iter_mut().zip(target.stencils.of(leg)) {
                *size += stencil.text.len() as u64;
            }
        }
        sizes
    }

    /// Bytes of `legs` legs from number `first` on.
    pub fn bytes(&self, first: u64, legs: u64) -> u64 {
        self.sizes(first, legs).iter().sum()
    }

    /// Starts to send `legs` legs from number `first` on, as fast as each client takes them.
    pub fn fire(&self, first: u64, legs: u64) {
        let stride = self.targets.len() as u64;
        for (at, target) in (0..).zip(&self.targets) {
            let count = legs.saturating_sub(at).div_ceil(stride);
            let all = Course { first: first + at, stride, count, at_once: LEGS_AT_ONCE };
            let burst = Burst { stencils: target.stencils.clone(), course: all, next: 0, end: count * EVENTS_PER_LEG };
            // Full or gone: that client is not there to be measured.
            let _ = target.bursts.try_send(burst);
        }
    }

    /// Sends `legs` legs from number `first` on at `rate` events per second, over all sessions in turn. Returns when each
    /// event was sent: the steps of the first leg, then those of the next.
    pub async fn pace(&self, first: u64, legs: u64, rate: f64) -> Vec<Moment> {
        let start = Moment::now();
        let mut times = vec![start; usize::try_from(legs * EVENTS_PER_LEG).unwrap_or_default()];
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let stride = self.targets.len() as u64;
        let everybody = Course { first, stride: 1, count: legs, at_once: stride };
        for at in 0..legs * EVENTS_PER_LEG {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = start + Duration::from_secs_f64(at as f64 / rate);
            while !Moment::now().until(due).is_zero() {
                ticks.tick().await;
            }
            let (leg, step) = everybody.event(at);
            let Some(target) = self.targets.get(usize::try_from((leg - first) % stride).unwrap_or_default()) else {
                break;
            };
            let alone = Course { first: leg, stride: 1, count: 1, at_once: 1 };
            let burst = Burst { stencils: target.stencils.clone(), course: alone, next: step, end: step + 1 };
            let now = Moment::now();
            let late = now.since(due) > PUNCTUAL;
            if let Some(time) =
                usize::try_from((leg - first) * EVENTS_PER_LEG + step).ok().and_then(|at| times.get_mut(at))
            {
                *time = if late { due } else { now };
            }
            let _ = target.bursts.send(burst).await;
        }
        times
    }
}

/// The order of the events of some legs: groups of `at_once`, each group through its first, second and last state.
#[derive(Clone, Copy, Debug)]
struct Course {
    first: u64,
    stride: u64,
    count: u64,
    at_once: u64,
}

impl Course {
    /// Leg number and step of the event at this place.
    fn event(self, at: u64) -> (u64, u64) {
        let group = at / (self.at_once * EVENTS_PER_LEG);
        let size = self.at_once.min(self.count - group * self.at_once).max(1);
        let within = at - group * self.at_once * EVENTS_PER_LEG;
        (self.first + (group * self.at_once + within % size) * self.stride, within / size)
    }
}

/// Some events for one session, made as they are written.
#[derive(Debug)]
pub(super) struct Burst {
    stencils: Arc<Stencils>,
    course: Course,
    next: u64,
    end: u64,
}

impl Iterator for Burst {
    type Item = Vec<u8>;

    /// Whole stanzas, so that whatever is written between two chunks stands between two stanzas.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(if self.end - self.next > 1 { CHUNK } else { 0 });
        let time = (self.next < self.end).then(|| publish_time(Moment::now()))?;
        while self.next < self.end {
            let (leg, step) = self.course.event(self.next);
            let Some(stencil) = usize::try_from(step).ok().and_then(|step| self.stencils.of(leg).get(step)) else {
                break;
            };
            if !bytes.is_empty() && bytes.len() + stencil.text.len() > CHUNK {
                break;
            }
            stencil.stamp(leg, &time, &mut bytes);
            self.next += 1;
        }
        Some(bytes)
    }
}

/// The messages one session gets, by direction and step.
#[derive(Debug)]
struct Stencils {
    incoming: [Stencil; 3],
    outgoing: [Stencil; 3],
}

impl Stencils {
    fn of(&self, leg: u64) -> &[Stencil; 3] {
        if leg.is_multiple_of(OUTGOING_OF) { &self.outgoing } else { &self.incoming }
    }
}

/// One message with the places where it changes.
#[derive(Debug)]
struct Stencil {
    text: String,
    numbers: Vec<usize>,
    time: Option<usize>,
}

impl Stencil {
    fn new(text: String, time: &str) -> Self {
        let numbers = text.match_indices(MARK).map(|(at, _)| at).collect();
        let time = text.find(time);
        Self { text, numbers, time }
    }

    fn stamp(&self, leg: u64, time: &str, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(self.text.as_bytes());
        let digits = digits(leg);
        for at in &self.numbers {
            bytes[start + at..][..DIGITS].copy_from_slice(&digits);
        }
        if let Some(at) = self.time {
            bytes[start + at..][..time.len()].copy_from_slice(time.as_bytes());
        }
    }
}

fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}

impl Switchboard {
    fn stencils(&mut self, now: Moment) -> Result<Vec<(SessionId, Stencils)>, Unfit> {
        let mut addresses: Vec<String> = self.directory.addresses().map(str::to_owned).collect();
        addresses.sort_unstable();
        let mut all = Vec::new();
        for address in addresses {
            let outside = "sip:+12125550111@carrier.example";
            let incoming = self.texts(Call::incoming(0, &address, outside, 1), now);
            let outgoing = self.texts(Call::outgoing(0, &address, outside), now);
            for ((id, incoming), (_, outgoing)) in incoming.into_iter().zip(outgoing) {
                if self.sessions.get(&id).is_some_and(|session| session.managed.is_some()) {
                    return Err(Unfit::Managed);
                }
                let time = publish_time(now);
                let stencils = |texts: [String; 3]| texts.map(|text| Stencil::new(text, &time));
                all.push((id, Stencils { incoming: stencils(incoming), outgoing: stencils(outgoing) }));
            }
        }
        Ok(all)
    }

    /// What each session gets of a call with one leg, from its beginning to its end.
    fn texts(&mut self, mut call: Call, now: Moment) -> Vec<(SessionId, [String; 3])> {
        for leg in &mut call.legs {
            leg.item_id = format!("{MARK}{OPAQUE}/a+b==:z9hG4bK{MARK}");
            leg.call.call_id = format!("{MARK}{OPAQUE}@192.0.2.7");
            leg.call.from_tag = format!("{MARK}{OPAQUE}");
            if !leg.call.branch.is_empty() {
                leg.call.branch = format!("z9hG4bK{MARK}");
            }
        }
        let begin = call.place(now);
        for leg in &mut call.legs {
            "confirmed".clone_into(&mut leg.call.dialog_state);
            leg.call.to_tag = format!("{MARK}{OPAQUE}");
        }
        let steps = [begin, call.publish(0, now), call.hang_up()];
        let [begin, middle, end] = steps.map(|publications| self.rendered_for_sessions(&publications, now));
        let whole = begin.into_iter().zip(middle).zip(end);
        whole.map(|(((id, begin), (_, middle)), (_, end))| (id, [begin, middle, end])).collect()
    }

    fn rendered_for_sessions(&mut self, publications: &[Publication], now: Moment) -> Vec<(SessionId, String)> {
        debug_assert!(publications.iter().all(|publication| publication.service == SERVICE));
        let texts: Vec<_> = publications.iter().flat_map(|publication| self.rendered(publication, now)).collect();
        let session = |(to, text): (crate::domain::Jid, String)| Some((self.session_of(to.try_as_full().ok()?)?, text));
        texts.into_iter().filter_map(session).collect()
    }
}

impl Shared {
    fn bursts(&self, id: SessionId) -> Option<mpsc::Sender<Burst>> {
        self.line(id, |line| line.bursts.clone())
    }
}
