//! The queue and its sink as a model on virtual time: whatever happens, what must be true of a delivery is.

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::retry::calls::MOST;
use crate::retry::outage::PROBE;
use crate::seed::properties;

fn at(millis: u64) -> Moment {
    Moment::virtual_at(Duration::from_millis(millis), Timestamp::UNIX_EPOCH)
}

fn since(start: Moment, now: Moment) -> u64 {
    u64::try_from(now.since(start).as_millis()).unwrap()
}

#[derive(Clone, Debug)]
struct Event {
    position: i64,
    call: Arc<str>,
    came: Moment,
}

/// One sink's queue, as the store answers.
#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    newest: i64,
    by_wall: Duration,
    delivered: Vec<(Event, Moment)>,
    dead: Vec<(Event, Moment)>,
    tries: Vec<(i64, Moment)>,
    changes: Vec<(Change, Moment)>,
    caught_up: Vec<(CaughtUp, Moment)>,
}

impl Queue {
    fn add(&mut self, call: &str, now: Moment) -> i64 {
        self.newest += 1;
        self.events.push(Event { position: self.newest, call: call.into(), came: now });
        self.newest
    }

    fn pick(&self, part: Part, without: &[Arc<str>], limit: usize) -> Vec<Event> {
        let is_first = |event: &Event| {
            part.first_below.is_none_or(|bound| {
                let bound = bound.min(event.position);
                !self.events.iter().any(|earlier| earlier.call == event.call && earlier.position < bound)
            })
        };
        let wanted = |event: &&Event| {
            event.position > part.after
                && event.position <= part.until
                && !without.contains(&event.call)
                && is_first(event)
        };
        self.events.iter().filter(wanted).take(limit).cloned().collect()
    }

    fn of_calls(&self, calls: &[Arc<str>], limit: usize) -> Vec<Event> {
        self.events.iter().filter(|event| calls.contains(&event.call)).take(limit).cloned().collect()
    }

    /// One step as the actor does it. True if there was anything to deliver.
    fn step(
        &mut self,
        flow: &mut Flow,
        take: &Take,
        now: Moment,
        answer: &mut dyn FnMut(&[Event]) -> Vec<Answer>,
    ) -> bool {
        let mut taken = if take.calls.is_empty() { Vec::new() } else { self.of_calls(&take.calls, take.of_calls) };
        let whole = taken.len() < take.of_calls;
        let held = taken.len();
        taken.sort_by_key(|event| take.calls.iter().position(|call| *call == event.call));
        let found = taken.iter().map(|event| Arc::clone(&event.call)).collect();
        flow.read_calls(&take.calls, &found, held, whole);
        for part in &take.parts {
            let limit = part.limit.min(take.most.saturating_sub(taken.len()));
            if limit == 0 {
                continue;
            }
            let rows = self.pick(*part, &take.without, limit);
            flow.read(part, &rows.iter().map(|event| event.position).collect::<Vec<_>>(), limit);
            for row in rows {
                if !taken.iter().any(|event| event.position == row.position) {
                    taken.push(row);
                }
            }
        }
        assert!(taken.len() <= take.most);
        taken.rotate_left(held);
        if taken.is_empty() {
            flow.done(&[], &[], whole, now, 0.5);
            self.caught_up.extend(flow.caught_up().map(|caught_up| (caught_up, now)));
            return false;
        }
        let turned = take.turned % taken.len();
        taken.rotate_left(turned);
        let answers = answer(&taken);
        let (mut tried, mut left) = (Vec::new(), Vec::new());
        let mut stuck = BTreeSet::new();
        for (event, answer) in taken.iter().zip(answers) {
            if stuck.contains(&event.call) {
                left.push(event.position); // its call has failed before it
                continue;
            }
            if answer != Answer::Passed {
                stuck.insert(Arc::clone(&event.call));
            }
            let before = self.tries.iter().filter(|(position, _)| *position == event.position).count();
            self.tries.push((event.position, now));
            if answer == Answer::Passed {
                self.events.retain(|other| other.position != event.position);
                self.delivered.push((event.clone(), now));
            }
            let before = u32::try_from(before).unwrap();
            // What the wall clock says may be anything.
            let failing_for = if before == 0 { Duration::ZERO } else { self.by_wall };
            let (position, call) = (event.position, Arc::clone(&event.call));
            let age = Some(now.since(event.came));
            tried.push(Tried { position, call, answer, tries: before, failing_for, age });
        }
        let whole = whole && take.turned == 0;
        flow.adapt(taken.len(), tried.len(), false);
        let Ended { change, dead } = flow.done(&tried, &left, whole, now, 0.5);
        let (dead, events) = self.events.drain(..).partition(|event| dead.contains(&event.position));
        self.events = events;
        self.dead.extend(Vec::into_iter(dead).map(|event| (event, now)));
        if matches!(change, Some(Change::Back | Change::Freed)) {
            flow.drain(self.events.last().map(|newest| newest.position), now);
        }
        self.changes.extend(change.map(|change| (change, now)));
        self.caught_up.extend(flow.caught_up().map(|caught_up| (caught_up, now)));
        true
    }

    fn assert_in_order(&self) {
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        for (event, _) in &self.delivered {
            let before = newest.insert(&event.call, event.position).unwrap_or_default();
            assert!(before < event.position, "{event:?} after {before}");
        }
    }

    fn tries_of(&self, position: i64) -> Vec<Moment> {
        self.tries.iter().filter(|(tried, _)| *tried == position).map(|(_, now)| *now).collect()
    }
}

/// How a sink answers a batch, given which calls it cannot stomach and whether its peer is there.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Each event by itself.
    Each,
    /// Nothing more once one has failed.
    StopAtFirst,
    /// It hangs if one of them is poison: nobody knows how the others fared.
    Hang,
}

fn answers(manner: Manner, poison: &BTreeSet<Arc<str>>, up: bool, batch: &[Event]) -> Vec<Answer> {
    let bad = |event: &Event| !up || poison.contains(&event.call);
    let mut failed = matches!(manner, Manner::Hang) && batch.iter().any(bad);
    let mut calls = BTreeSet::new();
    let answer = |event: &Event| {
        let fails = failed || bad(event) || calls.contains(&event.call);
        if fails {
            calls.insert(Arc::clone(&event.call));
            failed |= matches!(manner, Manner::StopAtFirst);
        }
        if fails { Answer::Failed(None) } else { Answer::Passed }
    };
    batch.iter().map(answer).collect()
}

/// Runs until `end`; events come as `traffic` says, and a delivery takes a millisecond.
fn run(
    flow: &mut Flow,
    queue: &mut Queue,
    from: Moment,
    end: Moment,
    traffic: &mut dyn FnMut(&mut Queue, Moment) -> bool,
    answer: &mut dyn FnMut(&[Event], Moment) -> Vec<Answer>,
) {
    let mut now = from;
    let mut sleeps_until = Some(now);
    while now < end {
        let news = traffic(queue, now);
        if news {
            flow.news();
        }
        if news || sleeps_until.is_some_and(|until| until <= now) {
            sleeps_until = match flow.plan(now) {
                Plan::Wait(until) => Some(until),
                Plan::Take(take) => {
                    let busy = queue.step(flow, &take, now, &mut |batch| answer(batch, now));
                    if busy {
                        Some(now + Duration::from_millis(8))
                    } else {
                        flow.next(now).map(|next| next.max(now + Duration::from_millis(1)))
                    }
                }
            };
        }
        assert!(flow.held() <= MOST);
        now = now + Duration::from_millis(1);
    }
}

/// The same without anything new, from one step to the next.
fn run_quietly(
    flow: &mut Flow,
    queue: &mut Queue,
    from: Moment,
    end: Moment,
    answer: &mut dyn FnMut(&[Event], Moment) -> Vec<Answer>,
) {
    let mut now = from;
    while now < end {
        let next = match flow.plan(now) {
            Plan::Wait(until) => until,
            Plan::Take(take) if queue.step(flow, &take, now, &mut |batch| answer(batch, now)) => {
                now + Duration::from_millis(8)
            }
            Plan::Take(_) => flow.next(now).unwrap_or(end),
        };
        assert!(flow.held() <= MOST);
        now = next.max(now + Duration::from_millis(1));
    }
}

#[test]
fn a_poison_call_holds_back_no_other_and_is_tried_as_promised() {
    for manner in [Manner::Each, Manner::StopAtFirst] {
        let (mut flow, mut queue) = (Flow::new(16, 0), Queue::default());
        let poison: BTreeSet<Arc<str>> = ["poison".into()].into();
        let bad = queue.add("poison", at(0));
        let mut calls = 0;
        let mut traffic = |queue: &mut Queue, now: Moment| {
            let due = since(at(0), now).is_multiple_of(500) && now < at(65_000);
            if due {
                calls += 1;
                queue.add(&format!("call {calls}"), now);
                queue.add("poison", now);
            }
            due
        };
        run(&mut flow, &mut queue, at(0), at(70_000), &mut traffic, &mut |batch, _| {
            answers(manner, &poison, true, batch)
        });
        queue.assert_in_order();
        assert_eq!(queue.delivered.len(), 130, "{manner:?}");
        let slowest = queue.delivered.iter().map(|(event, when)| since(event.came, *when)).max().unwrap();
        assert!(slowest <= 1000, "{manner:?}: {slowest} ms");
        let tries = queue.tries_of(bad);
        let gaps: Vec<_> = tries.windows(2).map(|pair| since(pair[0], pair[1])).collect();
        assert!(gaps[0] < 1000 && gaps.iter().all(|gap| *gap <= 10_010), "{manner:?}: {gaps:?}");
    }
}

#[test]
fn a_dead_sink_is_probed_with_a_few_and_not_hammered() {
    let (mut flow, mut queue) = (Flow::new(256, 0), Queue::default());
    let first = queue.add("call 0", at(0));
    for n in 1..2000 {
        queue.add(&format!("call {n}"), at(0));
    }
    run_quietly(&mut flow, &mut queue, at(0), at(600_000), &mut |batch, now| {
        assert!(now == at(0) || batch.len() <= PROBE);
        vec![Answer::Failed(None); batch.len()]
    });
    assert!(flow.state() != SinkState::Up && flow.down_until().is_some() && flow.held() == 0);
    let tries = queue.tries_of(first);
    let gaps: Vec<_> = tries.windows(2).map(|pair| since(pair[0], pair[1])).collect();
    assert!(gaps[0] < 1000, "{gaps:?}");
    assert!(tries.windows(2).filter(|pair| pair[1] <= at(60_000)).all(|pair| since(pair[0], pair[1]) <= 10_000));
    let probes: BTreeSet<_> = queue.tries.iter().map(|(_, when)| since(at(0), *when)).collect();
    assert!(probes.len() < 30, "{}", probes.len());
}

#[test]
fn no_set_of_poison_events_keeps_a_sink_down() {
    for manner in [Manner::Each, Manner::StopAtFirst, Manner::Hang] {
        for count in [3_u32, 8, 12] {
            let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
            let poison: BTreeSet<Arc<str>> = (0..count).map(|n| format!("poison {n}").into()).collect();
            for call in &poison {
                queue.add(call, at(0));
            }
            for n in 0..30 {
                queue.add(&format!("call {n}"), at(0));
            }
            run_quietly(&mut flow, &mut queue, at(0), at(24 * 3_600_000), &mut |batch, _| {
                answers(manner, &poison, true, batch)
            });
            assert_eq!(queue.delivered.len(), 30, "{manner:?} {count}");
        }
    }
}

#[test]
fn news_brings_the_next_probe_forward_but_not_against_the_peer_s_wish() {
    for (asked, most) in [(None, 11_000), (Some(Duration::from_mins(30)), 1_900_000)] {
        let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
        for n in 0..20 {
            queue.add(&format!("call {n}"), at(0));
        }
        let hours = at(2 * 3_600_000);
        run_quietly(&mut flow, &mut queue, at(0), hours, &mut |batch, _| vec![Answer::Failed(asked); batch.len()]);
        let probes = queue.tries.len();
        let end = hours + Duration::from_hours(1);
        let mut told = false;
        let mut traffic = |queue: &mut Queue, now: Moment| {
            if now > hours && !told {
                told = true;
                queue.add("new", now);
            }
            now > hours && told
        };
        run(&mut flow, &mut queue, hours, end, &mut traffic, &mut |batch, _| vec![Answer::Failed(asked); batch.len()]);
        let next = queue.tries[probes].1;
        assert!(since(hours, next) <= most, "{asked:?}: {}", since(hours, next));
    }
}

#[test]
fn a_sink_that_asks_us_to_stop_rests_until_its_time_or_until_it_is_hurried() {
    let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
    queue.add("call", at(0));
    run(&mut flow, &mut queue, at(0), at(3_500_000), &mut |_, _| true, &mut |batch, _| vec![Answer::Stop; batch.len()]);
    assert_eq!(queue.tries.len(), 1);
    flow.hurry(at(3_500_000));
    run_quietly(&mut flow, &mut queue, at(3_500_000), at(3_500_100), &mut |batch, _| vec![Answer::Passed; batch.len()]);
    assert!(flow.state() == SinkState::Up && queue.events.is_empty());
}

#[test]
fn fresh_events_come_promptly_while_a_backlog_drains_at_its_rate() {
    for batch in [1, 4, 256] {
        let (mut flow, mut queue) = (Flow::new(batch, 20), Queue::default());
        for n in 0..400 {
            queue.add(&format!("old {n}"), at(0));
        }
        flow.drain(Some(queue.newest), at(0));
        let mut n = 0;
        let mut traffic = |queue: &mut Queue, now: Moment| {
            let due = since(at(0), now).is_multiple_of(100);
            if due {
                n += 1;
                queue.add(&format!("new {n}"), now);
                queue.add(&format!("old {}", 399 - n % 100), now); // waits for its own backlog
            }
            due
        };
        run(&mut flow, &mut queue, at(0), at(15_000), &mut traffic, &mut |batch, _| vec![Answer::Passed; batch.len()]);
        queue.assert_in_order();
        let old = queue.delivered.iter().filter(|(event, _)| event.position <= 400).count();
        assert!((250..=330).contains(&old), "{batch}: {old}");
        let fresh = queue.delivered.iter().filter(|(event, _)| event.call.starts_with("new"));
        let slowest = fresh.map(|(event, when)| since(event.came, *when)).max().unwrap();
        assert!(slowest <= 50, "{batch}: {slowest} ms");
        run_quietly(&mut flow, &mut queue, at(15_000), at(25_000), &mut |batch, _| vec![Answer::Passed; batch.len()]);
        queue.assert_in_order();
        assert!(queue.events.is_empty(), "{batch}");
    }
}

#[test]
fn whatever_happens_order_is_kept_and_what_can_be_delivered_is() {
    for seed in 0..1500 {
        let mut dice = StdRng::seed_from_u64(seed);
        let manner = [Manner::Each, Manner::StopAtFirst, Manner::Hang][dice.random_range(0..3)];
        let batch = [1, 2, 8, 64][dice.random_range(0..4)];
        let rate = [0, 50, 500][dice.random_range(0..3)];
        let (mut flow, mut queue) = (Flow::new(batch, rate), Queue::default());
        let calls = dice.random_range(1..12);
        let mut poison: BTreeSet<Arc<str>> =
            (0..calls).filter(|_| dice.random_ratio(1, 5)).map(|n: i32| n.to_string().into()).collect();
        let mut up = dice.random_ratio(3, 4);
        let mut now = at(0);
        for _ in 0..4 {
            let pace = dice.random_range(5..60);
            let end = now + Duration::from_millis(dice.random_range(100..1500));
            let mut traffic = |queue: &mut Queue, now: Moment| {
                let comes = since(at(0), now).is_multiple_of(pace);
                if comes {
                    queue.add(&dice.random_range(0..calls).to_string(), now);
                }
                comes
            };
            run(&mut flow, &mut queue, now, end, &mut traffic, &mut |batch, _| answers(manner, &poison, up, batch));
            (now, up) = (end, dice.random_ratio(2, 3));
        }
        // In the end everything works, and everything arrives.
        poison.clear();
        let end = now + Duration::from_secs(40);
        run_quietly(&mut flow, &mut queue, now, end, &mut |batch, _| answers(manner, &poison, true, batch));
        queue.assert_in_order();
        assert!(queue.events.is_empty(), "seed {seed}: {manner:?} {batch} {rate}: {:?} {flow:?}", queue.events);
    }
}

/// A sink that refuses what is `poison`, and everything while it is not `up`.
fn refusals(poison: &BTreeSet<Arc<str>>, up: bool, batch: &[Event]) -> Vec<Answer> {
    let refused = |event: &Event| !up || poison.contains(&event.call);
    batch.iter().map(|event| if refused(event) { Answer::Refused } else { Answer::Passed }).collect()
}

#[test]
fn a2_what_refuses_everything_is_the_sink_s_state_and_nothing_is_lost() {
    for (events, batch) in [(300, 256), (300, 32), (300, 1), (20, 8), (3, 8), (1, 8)] {
        let (mut flow, mut queue) = (Flow::new(batch, 0), Queue::default());
        for n in 0..events {
            queue.add(&format!("call {n}"), at(0));
        }
        run_quietly(&mut flow, &mut queue, at(0), at(3_000), &mut |batch, _| vec![Answer::Failed(None); batch.len()]);
        run_quietly(&mut flow, &mut queue, at(3_000), at(3_600_000), &mut |batch, _| {
            refusals(&BTreeSet::new(), false, batch)
        });
        assert!(flow.state() != SinkState::Up && queue.dead.is_empty(), "{events} {batch}");
        assert_eq!(flow.down_until().is_some(), events >= EVIDENCE, "{events} {batch}");
        run_quietly(&mut flow, &mut queue, at(3_600_000), at(3 * 3_600_000), &mut |batch, _| {
            vec![Answer::Passed; batch.len()]
        });
        assert_eq!((queue.delivered.len(), queue.dead.len()), (events, 0), "{batch}");
        assert!(flow.state() == SinkState::Up);
    }
}

#[test]
fn a2_an_event_that_is_refused_while_others_pass_is_dead_and_what_follows_in_its_call_goes_on() {
    for batch in [1, 8, 256] {
        let (mut flow, mut queue) = (Flow::new(batch, 0), Queue::default());
        let bad = queue.add("poison", at(0));
        let follows = queue.add("poison", at(0));
        for n in 0..20 {
            queue.add(&format!("call {n}"), at(0));
        }
        run_quietly(&mut flow, &mut queue, at(0), at(10_000), &mut |batch, _| {
            let refused = |event: &Event| event.position == bad;
            batch.iter().map(|event| if refused(event) { Answer::Refused } else { Answer::Passed }).collect()
        });
        assert_eq!(queue.dead.iter().map(|(event, _)| event.position).collect::<Vec<_>>(), [bad], "{batch}");
        assert_eq!(queue.tries_of(bad).len(), 2, "{batch}");
        assert!(
            queue.delivered.iter().any(|(event, _)| event.position == follows) && flow.state() == SinkState::Up,
            "{batch}"
        );
        queue.assert_in_order();
    }
}

#[test]
fn a2_one_refused_event_waits_for_another_to_pass_however_long_that_takes() {
    let (mut flow, mut queue) = (Flow::new(8, 0), Queue::default());
    let poison: BTreeSet<Arc<str>> = ["poison".into()].into();
    let bad = queue.add("poison", at(0));
    let hour = 3_600_000;
    run_quietly(&mut flow, &mut queue, at(0), at(hour), &mut |batch, _| refusals(&poison, true, batch));
    assert!(queue.dead.is_empty() && flow.state() != SinkState::Up && flow.down_until().is_none());
    let tries = queue.tries_of(bad).len();
    queue.add("call", at(hour));
    flow.news();
    run_quietly(&mut flow, &mut queue, at(hour), at(hour + 1_000), &mut |batch, _| refusals(&poison, true, batch));
    assert_eq!(queue.dead.iter().map(|(event, _)| event.position).collect::<Vec<_>>(), [bad]);
    assert!(queue.tries_of(bad).len() <= tries + 2, "tried again at once");
}

#[test]
fn a2_poison_that_is_the_oldest_of_every_probe_keeps_no_sink_down() {
    for count in [1, 4, 12, 40] {
        let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
        let poison: BTreeSet<Arc<str>> = (0..count).map(|n| format!("poison {n}").into()).collect();
        for call in &poison {
            queue.add(call, at(0));
        }
        for n in 0..200 {
            queue.add(&format!("call {n}"), at(0));
        }
        run_quietly(&mut flow, &mut queue, at(0), at(60_000), &mut |batch, _| refusals(&poison, false, batch));
        assert!(queue.dead.is_empty());
        run_quietly(&mut flow, &mut queue, at(60_000), at(3_600_000), &mut |batch, _| refusals(&poison, true, batch));
        assert_eq!(queue.delivered.len(), 200, "{count}");
        for n in 1..20 {
            let (from, end) = (at(n * 3_600_000), at((n + 1) * 3_600_000));
            queue.add(&format!("one more {n}"), from);
            flow.news();
            run_quietly(&mut flow, &mut queue, from, end, &mut |batch, _| refusals(&poison, true, batch));
            assert_eq!(queue.delivered.len(), 200 + usize::try_from(n).unwrap(), "{count}");
        }
        // Very many of them, with an event an hour beside them, are told from a sink that refuses everything only in part.
        assert!(queue.dead.len() == count || count > 12, "{count}: {}", queue.dead.len());
        assert!(queue.dead.iter().all(|(event, _)| poison.contains(&event.call)));
    }
}

#[test]
fn a5_nothing_is_given_up_before_its_time_whatever_the_wall_clock_says() {
    for by_wall in [Duration::ZERO, Duration::from_hours(24 * 800)] {
        let (mut flow, mut queue) = (Flow::new(8, 0), Queue::default());
        queue.by_wall = by_wall;
        for n in 0..5 {
            queue.add(&format!("call {n}"), at(0));
        }
        let horizon = at(0) + HORIZON;
        let mut fails = |batch: &[Event], _| vec![Answer::Failed(None); batch.len()];
        run_quietly(&mut flow, &mut queue, at(0), horizon - Duration::from_secs(1), &mut fails);
        assert!(queue.dead.is_empty());
        run_quietly(&mut flow, &mut queue, horizon, horizon + Duration::from_hours(60), &mut fails);
        assert_eq!(queue.dead.len(), 5);
    }
}

#[test]
fn a1_a_sink_that_runs_out_of_time_is_handed_less_and_more_again_once_it_takes_it_all() {
    let mut flow = Flow::new(256, 0);
    let size = |flow: &mut Flow| match flow.plan(at(0)) {
        Plan::Take(take) => take.most,
        Plan::Wait(_) => 0,
    };
    let mut sizes = vec![size(&mut flow)];
    for (taken, tried, overdue) in
        [(256, 40, false), (80, 8, false), (32, 32, false), (64, 64, false), (9, 9, false), (9, 3, true), (3, 3, true)]
    {
        flow.adapt(taken, tried, overdue);
        sizes.push(size(&mut flow));
    }
    assert_eq!(sizes, [256, 80, 32, 64, 128, 128, 32, 8]);
}

properties! {
    cases: 256;

    /// A sink that refuses everything from time to time, and some calls always.
    #[test]
    fn a2_only_what_is_refused_around_others_that_pass_is_dead(
        phases in proptest::collection::vec((proptest::bool::ANY, 50_u64..4_000), 1..8),
        batch in proptest::sample::select(vec![1_usize, 2, 8, 64, 256]),
        calls in 1_u64..30,
        poisonous in proptest::collection::btree_set(0_u64..30, 0..4),
        every in 5_u64..200,
    ) {
        let poison: BTreeSet<Arc<str>> = poisonous.iter().map(|n| n.to_string().into()).collect();
        let (mut flow, mut queue) = (Flow::new(batch, 0), Queue::default());
        let (mut now, mut n) = (at(0), 0);
        let mut refusing = Vec::new();
        for (up, millis) in phases {
            let end = now + Duration::from_millis(millis);
            if !up {
                refusing.push((now, end));
            }
            let mut traffic = |queue: &mut Queue, now: Moment| {
                let due = since(at(0), now).is_multiple_of(every);
                if due {
                    n += 7;
                    queue.add(&(n % calls).to_string(), now);
                }
                due
            };
            run(&mut flow, &mut queue, now, end, &mut traffic, &mut |batch, _| refusals(&poison, up, batch));
            now = end;
        }
        for (dead, when) in &queue.dead {
            let first = queue.tries_of(dead.position)[0];
            // What follows a dead letter in its call dies at its first refusal.
            let of_call: Vec<_> = queue.dead.iter().filter(|(other, _)| other.call == dead.call).collect();
            let began = of_call.iter().map(|(other, _)| queue.tries_of(other.position)[0]).min().unwrap();
            let passed = queue.delivered.iter().any(|(_, passed)| *passed >= began && passed <= when);
            proptest::prop_assert!(passed, "{dead:?} died while nothing passed");
            let in_phase = |(from, to): &&(Moment, Moment)| *from <= first && *when < *to;
            let of_the_sink = !poison.contains(&dead.call) && refusing.iter().any(|phase| in_phase(&phase));
            proptest::prop_assert!(!of_the_sink, "{dead:?} died of the sink's state");
        }
        // Everything else arrives in the end, in order.
        let end = now + Duration::from_hours(2);
        run_quietly(&mut flow, &mut queue, now, end, &mut |batch, _| refusals(&poison, true, batch));
        queue.assert_in_order();
        proptest::prop_assert!(queue.events.iter().all(|event| poison.contains(&event.call)), "{:?} {flow:?}", queue.events);
    }
}

mod recovery;
