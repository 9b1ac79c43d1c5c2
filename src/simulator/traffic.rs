//! Calls that nobody scripted: a realistic mix at a steady rate.
//!
//! Must not know how a publication is delivered, nor read a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::calls::Call;
use super::delivery::Publication;
use crate::domain::moment::Moment;

/// Calls under way at once; no new one starts beyond.
const MOST_CALLS: usize = 50_000;

/// What traffic to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// SIP addresses that call and are called; with none there is no traffic.
    pub addresses: Vec<String>,
    /// Calls started per minute, over all addresses.
    pub calls_per_minute: f64,
    /// Shortest and longest time a call rings.
    pub ring: (Duration, Duration),
    /// Shortest and longest time a call lasts after it was answered.
    pub talk: (Duration, Duration),
    /// Seed of everything that is left to chance.
    pub seed: u64,
}

impl Traffic {
    /// Traffic of people: they ring for seconds and talk up to a minute.
    pub fn new(addresses: Vec<String>, calls_per_minute: f64) -> Self {
        Self {
            addresses,
            calls_per_minute,
            ring: (Duration::from_secs(2), Duration::from_secs(12)),
            talk: (Duration::from_secs(3), Duration::from_mins(1)),
            seed: 1,
        }
    }
}

/// What happens to a call next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A phone answers.
    Answer,
    /// The rest of it ends.
    HangUp,
}

/// Traffic under way.
#[derive(Debug)]
pub(super) struct Exchange {
    traffic: Traffic,
    dice: StdRng,
    next: Option<Moment>,
    agenda: BinaryHeap<Reverse<(Moment, u64)>>,
    calls: HashMap<u64, (Call, Step)>,
}

impl Exchange {
    pub(super) fn new(traffic: Traffic, now: Moment) -> Self {
        let dice = StdRng::seed_from_u64(traffic.seed);
        let mut exchange = Self { traffic, dice, next: Some(now), agenda: BinaryHeap::new(), calls: HashMap::new() };
        exchange.next = exchange.gap().map(|gap| now + gap);
        exchange
    }

    /// When something happens next; never, without addresses or rate.
    pub(super) fn due(&self) -> Option<Moment> {
        let step = self.agenda.peek().map(|Reverse((due, _))| *due);
        self.next.into_iter().chain(step).min()
    }

    /// Everything that has happened up to now. `number` gives each call a number of its own.
    pub(super) fn advance(&mut self, now: Moment, mut number: impl FnMut() -> u64) -> Vec<Publication> {
        let mut all = Vec::new();
        while let Some(start) = self.next.filter(|next| *next <= now) {
            self.next = self.gap().map(|gap| start + gap);
            if self.calls.len() < MOST_CALLS {
                let number = number();
                let mut call = self.call(number);
                all.extend(call.place(now));
                let step = if self.dice.random_bool(0.7) { Step::Answer } else { Step::HangUp };
                self.agenda.push(Reverse((now + between(&mut self.dice, self.traffic.ring), number)));
                self.calls.insert(number, (call, step));
            }
        }
        while self.agenda.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((_, number))) = self.agenda.pop() else { break };
            all.extend(self.go_on(number, now));
        }
        all
    }

    /// Ends every call that is left.
    pub(super) fn hang_up(&mut self) -> Vec<Publication> {
        self.agenda.clear();
        self.next = None;
        self.calls.drain().flat_map(|(_, (mut call, _))| call.hang_up()).collect()
    }

    fn go_on(&mut self, number: u64, now: Moment) -> Vec<Publication> {
        match self.calls.get_mut(&number) {
            Some((call, step @ Step::Answer)) => {
                *step = Step::HangUp;
                let phones = call.legs.iter().filter(|leg| leg.call.dialog_state == "requested").count();
                let phone = self.dice.random_range(0..phones.max(1));
                self.agenda.push(Reverse((now + between(&mut self.dice, self.traffic.talk), number)));
                call.answer(phone, now)
            }
            Some((call, Step::HangUp)) => {
                let ended = call.hang_up();
                self.calls.remove(&number);
                ended
            }
            None => Vec::new(),
        }
    }

    fn call(&mut self, number: u64) -> Call {
        let address = self.address();
        let outside = format!("sip:+1212555{:04}@carrier.example", self.dice.random_range(0..10_000));
        match self.dice.random_range(0..100) {
            0..55 => Call::incoming(number, &address, &outside, self.dice.random_range(1..=3)),
            55..80 => Call::outgoing(number, &address, &outside),
            _ => {
                let other = self.address();
                Call::internal(number, &address, &other, self.dice.random_range(1..=2))
            }
        }
    }

    fn address(&mut self) -> String {
        let at = self.dice.random_range(0..self.traffic.addresses.len().max(1));
        self.traffic.addresses.get(at).cloned().unwrap_or_default()
    }

    /// Time to the next call: calls come independently of each other.
    fn gap(&mut self) -> Option<Duration> {
        if self.traffic.addresses.is_empty() || self.traffic.calls_per_minute <= 0.0 {
            return None;
        }
        let share: f64 = self.dice.random_range(f64::EPSILON..1.0);
        Duration::try_from_secs_f64(-share.ln() * 60.0 / self.traffic.calls_per_minute).ok()
    }
}

fn between(dice: &mut StdRng, (least, most): (Duration, Duration)) -> Duration {
    least + most.saturating_sub(least).mul_f64(dice.random())
}

#[cfg(test)]
mod tests {
    use super::super::delivery::Entry;
    use super::*;

    fn hour() -> (Vec<Publication>, Exchange) {
        let start = Moment::virtual_at(Duration::ZERO, "2026-01-01T00:00:00Z".parse().unwrap());
        let addresses = (1..=3).map(|number| format!("user{number}@acme.test")).collect();
        let mut exchange = Exchange::new(Traffic::new(addresses, 30.0), start);
        let (mut all, mut number) = (Vec::new(), 0);
        while let Some(due) = exchange.due().filter(|due| *due < start + Duration::from_hours(1)) {
            all.extend(exchange.advance(due, || {
                number += 1;
                number
            }));
        }
        assert!((1600..2000).contains(&number), "{number} calls");
        (all, exchange)
    }

    #[test]
    fn the_same_seed_makes_the_same_calls() {
        assert_eq!(hour().0, hour().0);
    }

    #[test]
    fn every_leg_that_begins_also_ends() {
        let (mut all, mut exchange) = hour();
        all.extend(exchange.hang_up());
        let mut live = std::collections::HashSet::new();
        for publication in all {
            match &publication.entries[0] {
                Entry::Item(id, _) => live.insert((publication.node, id.clone())),
                Entry::Retract(id) => !live.remove(&(publication.node, id.clone())),
            };
        }
        assert!(live.is_empty());
    }

    #[test]
    fn without_addresses_nothing_happens() {
        assert_eq!(Exchange::new(Traffic::new(Vec::new(), 30.0), Moment::now()).due(), None);
    }
}
