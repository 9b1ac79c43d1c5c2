//! Tests of what a sink gets once it works again, and of what is told of it.

use super::*;

const MINUTE: u64 = 60_000;

fn fails(batch: &[Event], _: Moment) -> Vec<Answer> {
    vec![Answer::Failed(None); batch.len()]
}

fn passes(batch: &[Event], _: Moment) -> Vec<Answer> {
    vec![Answer::Passed; batch.len()]
}

/// The time of the first success.
fn back(queue: &Queue) -> Moment {
    queue.delivered.iter().map(|(_, when)| *when).min().unwrap()
}

#[test]
fn f3_the_first_success_frees_every_held_call_and_what_was_late_is_told_once() {
    for (away, events) in [(3 * MINUTE, 2), (3 * MINUTE, 334), (15 * MINUTE / 2, 3), (15 * MINUTE / 2, 40)] {
        for batch in [1, 8, 256] {
            let (mut flow, mut queue) = (Flow::new(batch, 0), Queue::default());
            let mut sent = 0;
            let mut traffic = |queue: &mut Queue, now: Moment| {
                let due = sent < events && now >= at(sent * away / events);
                if due {
                    sent += 1;
                    queue.add(&format!("call {}", sent % (events / 2).max(2)), now);
                }
                due
            };
            run(&mut flow, &mut queue, at(0), at(away), &mut traffic, &mut fails);
            run_quietly(&mut flow, &mut queue, at(away), at(away + 10 * MINUTE), &mut passes);
            let told = format!("{away} {events} {batch}");
            queue.assert_in_order();
            assert!(queue.events.is_empty(), "{told}");
            let last = queue.delivered.iter().map(|(_, when)| *when).max().unwrap();
            let took = since(back(&queue), last);
            assert!(took <= 1_000 + 10 * events, "{told}: {took} ms");
            let late = queue.delivered.iter().map(|(event, when)| when.since(event.came)).max().unwrap();
            let [(caught_up, when)] = queue.caught_up[..] else { unreachable!("{told}: {:?}", queue.caught_up) };
            assert_eq!(caught_up, CaughtUp { events, oldest: late }, "{told}");
            assert!(when >= last && since(last, when) <= 1_000, "{told}");
        }
    }
}

#[test]
fn f3_calls_that_are_freed_keep_to_the_rate_of_the_backlog() {
    for batch in [4, 256] {
        let (mut flow, mut queue) = (Flow::new(batch, 20), Queue::default());
        for n in 0..400 {
            queue.add(&format!("call {}", n % 6), at(0));
        }
        run_quietly(&mut flow, &mut queue, at(0), at(3 * MINUTE), &mut fails);
        run_quietly(&mut flow, &mut queue, at(3 * MINUTE), at(5 * MINUTE), &mut passes);
        queue.assert_in_order();
        assert!(queue.events.is_empty(), "{batch}: {}", queue.events.len());
        let back = back(&queue);
        for seconds in [1, 5, 10] {
            let by_then = queue.delivered.iter().filter(|(_, when)| since(back, *when) <= seconds * 1_000).count();
            let most = usize::try_from(20 * (seconds + 2)).unwrap() + PROBE;
            assert!(by_then <= most, "{batch}: {by_then} within {seconds} s");
        }
        assert_eq!(queue.caught_up.iter().map(|(caught_up, _)| caught_up.events).collect::<Vec<_>>(), [400]);
    }
}

#[test]
fn f3_a_call_that_fails_on_its_own_keeps_no_sink_busy_and_is_no_outage() {
    for count in [1, 3, 8] {
        for pause in [50, 3_000] {
            let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
            let poison: BTreeSet<Arc<str>> = (0..count).map(|n| format!("poison {n}").into()).collect();
            let bad: Vec<_> = poison.iter().map(|call| queue.add(call, at(0))).collect();
            queue.add("call", at(0));
            let mut n = 0;
            let mut traffic = |queue: &mut Queue, now: Moment| {
                let due = since(at(0), now).is_multiple_of(pause);
                if due {
                    n += 1;
                    queue.add(&format!("call {n}"), now);
                }
                due
            };
            run(&mut flow, &mut queue, at(0), at(3 * MINUTE), &mut traffic, &mut |batch, _| {
                answers(Manner::Each, &poison, true, batch)
            });
            for position in bad {
                let tries = queue.tries_of(position).len();
                assert!(tries <= 45, "{count} {pause}: {tries}");
            }
            let outages = queue.changes.iter().filter(|(change, _)| *change == Change::Down).count();
            assert!(queue.caught_up.len() <= outages, "{count} {pause}: {:?}", queue.caught_up);
        }
    }
}

#[test]
fn f3_what_failed_again_on_its_own_does_not_hold_up_the_word_that_the_rest_is_through() {
    let (mut flow, mut queue) = (Flow::new(64, 0), Queue::default());
    let poison: BTreeSet<Arc<str>> = ["call 7".into()].into();
    for n in 0..50 {
        queue.add(&format!("call {}", n % 25), at(0));
    }
    run_quietly(&mut flow, &mut queue, at(0), at(3 * MINUTE), &mut fails);
    run_quietly(&mut flow, &mut queue, at(3 * MINUTE), at(6 * MINUTE), &mut |batch, _| {
        answers(Manner::Each, &poison, true, batch)
    });
    let [(caught_up, when)] = queue.caught_up[..] else { unreachable!("{:?}", queue.caught_up) };
    assert_eq!((caught_up.events, flow.held()), (48, 1));
    assert!(since(back(&queue), when) <= 3_000);
    let next = flow.held_until(at(6 * MINUTE)).unwrap();
    assert!(next > at(6 * MINUTE), "the next try of what is held is known: {next:?}");
}

properties! {
    cases: 128;

    /// Outages of any length, some of them too short or with too few calls to be told; in between everything passes.
    #[test]
    fn f3_each_outage_is_told_at_most_once_and_its_numbers_are_true(
        phases in proptest::collection::vec((50_u64..20_000, 10_000_u64..30_000), 1..4),
        batch in proptest::sample::select(vec![1_usize, 2, 8, 256]),
        rate in proptest::sample::select(vec![0_u32, 50, 500]),
        calls in 1_u64..20,
        every in 20_u64..900,
    ) {
        let (mut flow, mut queue) = (Flow::new(batch, rate), Queue::default());
        let (mut now, mut n) = (at(0), 0);
        let mut told = 0;
        for (down, up) in phases {
            let mut traffic = |queue: &mut Queue, now: Moment| {
                let due = since(at(0), now).is_multiple_of(every);
                if due {
                    n += 7;
                    queue.add(&(n % calls).to_string(), now);
                }
                due
            };
            let (fell, rose) = (now, now + Duration::from_millis(down));
            run(&mut flow, &mut queue, fell, rose, &mut traffic, &mut fails);
            now = rose + Duration::from_millis(up);
            run_quietly(&mut flow, &mut queue, rose, now, &mut passes);
            // Quiet for long enough to be through.
            let end = now + Duration::from_hours(1);
            run_quietly(&mut flow, &mut queue, now, end, &mut passes);
            now = end;
            proptest::prop_assert!(queue.events.is_empty(), "{:?} {flow:?}", queue.events);
            let new = &queue.caught_up[told..];
            proptest::prop_assert!(new.len() <= 1, "{new:?}");
            let down = queue.changes.iter().any(|(change, when)| *change == Change::Down && *when >= fell);
            proptest::prop_assert!(new.len() == 1 || !down, "an outage is told");
            if let Some((caught_up, _)) = new.first() {
                let late = || queue.delivered.iter().filter(|(event, when)| *when >= rose && event.came < rose);
                let oldest = late().map(|(event, when)| when.since(event.came)).max().unwrap();
                proptest::prop_assert!(caught_up.events <= u64::try_from(late().count()).unwrap(), "{caught_up:?}");
                proptest::prop_assert!(!down || caught_up.events == u64::try_from(late().count()).unwrap(), "{caught_up:?}");
                proptest::prop_assert!(caught_up.oldest <= oldest && (!down || caught_up.oldest == oldest), "{caught_up:?}");
            }
            told = queue.caught_up.len();
        }
        queue.assert_in_order();
    }
}
