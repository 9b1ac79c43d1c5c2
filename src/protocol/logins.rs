//! The order in which accounts log in at one server: a queue for a number of slots.
//!
//! Invariants, on which the promise rests that a lost account is tried again within 5 s whatever the others do:
//!
//! * While the server answers no attempt, each holds a slot for [`LONGEST_HOLD`] at most. From then on whoever waits may
//!   take it over; the attempt goes on without. A server that accepts and stays silent therefore keeps nobody out, and one
//!   that is only slow is never asked by more at once than there are slots.
//! * An account that lost its session goes before one that never had any, and that one before one whose last attempt
//!   failed. The more urgent one takes the slot of a less urgent one at once.
//! * Among equals the domains take turns, so that many accounts of one domain do not delay another domain.
//! * While slots are taken over and no log-in succeeds, their number doubles up to `MOST_WIDENING` times: a server that
//!   answers nobody is found out about in seconds however many accounts it has. The next log-in that succeeds ends that.
//! * An answer is a step of a log-in that only the server can bring about: a stream with its features, a log-in.
//!
//! Must not know how anybody logs in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::domain::moment::Moment;

/// How long an attempt may keep its slot while others wait and the server answers none. A log-in at a server that is well
/// takes a fraction of it.
pub const LONGEST_HOLD: Duration = Duration::from_secs(1);
/// How many times as many slots there are at most while nobody gets through.
const MOST_WIDENING: usize = 16;

/// How urgent a log-in is: the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The account had a session and lost it.
    Lost,
    /// The account was never tried before.
    New,
    /// The last attempt of the account failed.
    Failing,
}

/// Names one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// An attempt that has its turn and a slot.
#[derive(Clone, Copy, Debug)]
struct Holder {
    urgency: Urgency,
    since: Moment,
}

/// Those of one urgency that wait. The domain in front has the next turn.
#[derive(Debug, Default)]
struct Lanes(VecDeque<(String, VecDeque<Ticket>)>);

impl Lanes {
    fn push(&mut self, domain: &str, ticket: Ticket) {
        match self.0.iter_mut().find(|(of, _)| of == domain) {
            Some((_, lane)) => lane.push_back(ticket),
            None => self.0.push_back((domain.to_owned(), VecDeque::from([ticket]))),
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        let (domain, mut lane) = self.0.pop_front()?;
        let ticket = lane.pop_front();
        if !lane.is_empty() {
            self.0.push_back((domain, lane));
        }
        ticket
    }

    fn remove(&mut self, ticket: Ticket) {
        for (_, lane) in &mut self.0 {
            lane.retain(|one| *one != ticket);
        }
        self.0.retain(|(_, lane)| !lane.is_empty());
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, lane)| lane.len()).sum()
    }
}

/// The queue of one server.
#[derive(Debug)]
pub struct LoginQueue {
    slots: usize,
    /// How many slots there are for now.
    width: usize,
    last: u64,
    waiting: BTreeMap<Urgency, Lanes>,
    holding: BTreeMap<Ticket, Holder>,
    /// Attempts whose slot was taken over.
    without: usize,
    /// When the server last answered an attempt.
    answered: Option<Moment>,
}

impl LoginQueue {
    /// Makes a queue for so many log-ins at once.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.max(1);
        Self {
            slots,
            width: slots,
            last: 0,
            waiting: BTreeMap::new(),
            holding: BTreeMap::new(),
            without: 0,
            answered: None,
        }
    }

    /// Enters an attempt of an account of `domain`. Its turn comes with [`Self::turns`].
    pub fn enter(&mut self, domain: &str, urgency: Urgency) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.waiting.entry(urgency).or_default().push(domain, ticket);
        ticket
    }

    /// Returns whose turn it is now. Each of them must be told, and ends with [`Self::leave`].
    pub fn turns(&mut self, now: Moment) -> Vec<Ticket> {
        let mut turns = Vec::new();
        while let Some((&urgency, _)) = self.waiting.first_key_value()
            && self.make_room(urgency, now)
        {
            let Some(mut lanes) = self.waiting.first_entry() else { break };
            let next = lanes.get_mut().pop();
            if lanes.get().0.is_empty() {
                lanes.remove();
            }
            if let Some(ticket) = next {
                self.holding.insert(ticket, Holder { urgency, since: now });
                turns.push(ticket);
            }
        }
        if self.waiting.is_empty() {
            self.width = self.slots;
        }
        turns
    }

    /// The attempt is over, or given up before its turn. `online`: it succeeded.
    pub fn leave(&mut self, ticket: Ticket, online: bool, now: Moment) {
        if online {
            self.width = self.slots;
            self.answered(now);
        }
        if self.holding.remove(&ticket).is_some() {
            return;
        }
        let before = self.waiting();
        self.waiting.values_mut().for_each(|lanes| lanes.remove(ticket));
        self.waiting.retain(|_, lanes| !lanes.0.is_empty());
        if self.waiting() == before {
            self.without = self.without.saturating_sub(1);
        }
    }

    /// The server answered an attempt.
    pub fn answered(&mut self, now: Moment) {
        self.answered = Some(now);
    }

    /// When [`Self::turns`] next has something to say by time alone.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let first = self.holding.values().map(|holder| holder.since).min();
        first.filter(|_| !self.waiting.is_empty()).map(|since| self.overdue_at(since))
    }

    /// How many wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Lanes::len).sum()
    }

    /// How many are under way, with a slot or without.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.holding.len() + self.without_slot()
    }

    /// How many are under way without a slot, since another attempt took theirs over.
    #[must_use]
    pub fn without_slot(&self) -> usize {
        self.without
    }

    /// Whether there is a slot for an attempt of this urgency, if need be by taking one over.
    fn make_room(&mut self, urgency: Urgency, now: Moment) -> bool {
        if self.holding.len() < self.width {
            return true;
        }
        let less_urgent = self.holding.iter().filter(|(_, holder)| holder.urgency > urgency);
        // Of those, the least urgent one, and among equals the one that had its slot for longest.
        let less_urgent = less_urgent.max_by_key(|(ticket, holder)| (holder.urgency, std::cmp::Reverse(**ticket)));
        let overdue = || self.holding.iter().find(|(_, holder)| self.overdue_at(holder.since) <= now);
        let Some((&ticket, holder)) = less_urgent.or_else(overdue) else { return false };
        if holder.urgency <= urgency && self.all_overdue(now) {
            self.width = (self.width * 2).min(self.slots * MOST_WIDENING);
        }
        self.holding.remove(&ticket);
        self.without += 1;
        true
    }

    fn all_overdue(&self, now: Moment) -> bool {
        self.holding.values().all(|holder| self.overdue_at(holder.since) <= now)
    }

    /// When a slot that is held since this moment may be taken over, unless the server answers somebody first.
    fn overdue_at(&self, since: Moment) -> Moment {
        self.answered.map_or(since, |answered| answered.max(since)) + LONGEST_HOLD
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::seed::properties;

    fn at(millis: u64) -> Moment {
        Moment::virtual_at(Duration::from_millis(millis), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    /// Runs a queue whose attempts of `silent` domains last 20 s and fail, and whose others last 10 ms. Returns when each
    /// attempt began, in the order in which they entered.
    fn begun(slots: usize, enter: &[(String, Urgency, bool)]) -> Vec<u64> {
        let mut queue = LoginQueue::new(slots);
        let tickets: Vec<_> = enter.iter().map(|(domain, urgency, _)| queue.enter(domain, *urgency)).collect();
        let (mut begun, mut ends) = (vec![0; enter.len()], BTreeSet::new());
        let mut now = 0;
        loop {
            for ticket in queue.turns(at(now)) {
                let index = tickets.iter().position(|one| *one == ticket).unwrap();
                begun[index] = now;
                ends.insert((now + if enter[index].2 { 20_000 } else { 10 }, index));
            }
            let by_time = queue.deadline().map(|due| now + u64::try_from(at(now).until(due).as_millis()).unwrap());
            let Some(next) = ends.first().map(|(end, _)| *end).into_iter().chain(by_time).min() else { break };
            now = next;
            while let Some((end, index)) = ends.first().copied()
                && end <= now
            {
                ends.remove(&(end, index));
                queue.leave(tickets[index], !enter[index].2, at(now));
            }
        }
        assert_eq!((queue.waiting(), queue.under_way()), (0, 0));
        begun
    }

    fn silent(accounts: usize, domain: &str, urgency: Urgency) -> Vec<(String, Urgency, bool)> {
        (0..accounts).map(|_| (domain.to_owned(), urgency, true)).collect()
    }

    fn well(domain: &str, urgency: Urgency) -> (String, Urgency, bool) {
        (domain.to_owned(), urgency, false)
    }

    #[test]
    fn b2_a_lost_account_goes_at_once_past_any_number_that_fails_or_was_never_tried() {
        for others in [Urgency::Failing, Urgency::New] {
            let mut enter = silent(3000, "dead.test", others);
            enter.push(well("dead.test", Urgency::Lost));
            assert_eq!(begun(50, &enter)[3000], 0);
        }
    }

    #[test]
    fn b2_a_lost_account_takes_a_slot_that_a_failing_one_has_already() {
        let mut queue = LoginQueue::new(1);
        let failing = queue.enter("a.test", Urgency::Failing);
        assert_eq!(queue.turns(at(0)), [failing]);
        let lost = queue.enter("b.test", Urgency::Lost);
        assert_eq!(queue.turns(at(1)), [lost]);
        assert_eq!((queue.under_way(), queue.without_slot(), queue.waiting()), (2, 1, 0));
        queue.leave(failing, false, at(1));
        queue.leave(lost, true, at(1));
        assert_eq!(queue.under_way(), 0);
    }

    #[test]
    fn b2_a_silent_domain_that_lost_all_its_accounts_costs_another_domain_one_hold_at_most() {
        let mut enter = silent(1000, "dead.test", Urgency::Lost);
        enter.push(well("acme.test", Urgency::Lost));
        assert!(begun(50, &enter)[1000] <= 1000);
    }

    #[test]
    fn b2_behind_silent_accounts_of_its_own_domain_an_account_has_its_turn_within_five_seconds() {
        for (slots, others) in [(50, 300), (50, 1500), (1, 10), (10, 250)] {
            let mut enter = silent(others, "acme.test", Urgency::New);
            enter.push(well("acme.test", Urgency::New));
            let begun = begun(slots, &enter)[others];
            assert!(begun < 5000, "{others} accounts before it for {slots} slots: {begun} ms");
        }
    }

    #[test]
    fn at_a_server_that_answers_there_are_never_more_than_the_slots() {
        let mut queue = LoginQueue::new(3);
        let mut waiting: Vec<_> = (0..100).map(|_| queue.enter("a.test", Urgency::Lost)).collect();
        let mut now = 0;
        while !waiting.is_empty() {
            let turns = queue.turns(at(now));
            assert!(turns.len() <= 3 && queue.under_way() <= 3);
            now += 10;
            for ticket in &turns {
                queue.leave(*ticket, true, at(now));
            }
            waiting.retain(|ticket| !turns.contains(ticket));
        }
        assert_eq!(now, 340);
    }

    #[test]
    fn domains_take_turns() {
        let mut queue = LoginQueue::new(1);
        let names = ["a", "a", "a", "b", "b", "c"];
        let tickets = names.map(|domain| queue.enter(domain, Urgency::New));
        let mut order = Vec::new();
        while let [ticket] = queue.turns(at(0))[..] {
            order.push(names[tickets.iter().position(|one| *one == ticket).unwrap()]);
            queue.leave(ticket, true, at(0));
        }
        assert_eq!(order.concat(), "abcaba");
    }

    #[test]
    fn a_slow_server_is_not_asked_by_everybody_at_once() {
        let mut queue = LoginQueue::new(10);
        let tickets: Vec<_> = (0..1000).map(|_| queue.enter("a.test", Urgency::Lost)).collect();
        assert_eq!(queue.turns(at(0)).len(), 10);
        for (ticket, now) in tickets.into_iter().take(100).zip((900..).step_by(900)) {
            queue.leave(ticket, true, at(now)); // it answers now and then
            assert_eq!(queue.turns(at(now)).len(), 1);
            assert_eq!(queue.under_way(), 10);
        }
        assert_eq!(queue.turns(at(90_999)).len(), 0);
        assert!(queue.turns(at(91_000)).len() >= 10, "it has stopped: all slots are taken over");
    }

    properties! {
        cases: 256;

        #[test]
        fn who_leaves_whenever_leaves_nothing_behind(
            steps in proptest::collection::vec((0..4u8, 0..3usize, 0..3usize, 0..2000u64), 1..200)
        ) {
            let (mut queue, mut known, mut now) = (LoginQueue::new(2), Vec::new(), 0);
            for (kind, domain, urgency, millis) in steps {
                match kind {
                    0 | 1 => {
                        let urgency = [Urgency::Lost, Urgency::New, Urgency::Failing][urgency];
                        known.push(queue.enter(["a", "b", "c"][domain], urgency));
                    }
                    2 if !known.is_empty() => queue.leave(known.swap_remove(domain % known.len()), urgency == 0, at(now)),
                    _ => now += millis,
                }
                queue.turns(at(now));
                prop_assert_eq!(queue.waiting() + queue.under_way(), known.len());
                prop_assert!(queue.waiting() == 0 || queue.deadline().is_some(), "somebody waits for ever");
            }
            for ticket in known {
                queue.leave(ticket, false, at(now));
            }
            prop_assert_eq!(queue.waiting() + queue.under_way(), 0);
        }
    }
}
