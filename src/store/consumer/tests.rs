//! A consumer held to a list of what it is owed.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::log::Entry;
use crate::seed::properties;

const OURS: ConsumerNumber = ConsumerNumber(3);
const OTHERS: ConsumerNumber = ConsumerNumber(4);

/// A log in memory, of which the first events may be gone.
#[derive(Default)]
struct Lines(Vec<Arc<Read>>);

impl Reader for Lines {
    fn read(&self, from: Offset, bytes: usize) -> Result<Vec<Arc<Read>>, ReadFault> {
        let at = self.0.partition_point(|read| read.offset < from);
        Ok(self.0[at..].iter().take(bytes.div_ceil(USUAL).max(1)).cloned().collect())
    }
}

impl Lines {
    fn append(&mut self, call: &str, consumers: &[ConsumerNumber]) -> Offset {
        let offset = Offset(self.0.last().map_or(1, |last| last.offset.0 + 1));
        let partition = Token::from(call);
        let previous = self.0.iter().rfind(|read| read.entry.partition == partition).map(|read| read.offset);
        let entry = Entry {
            id: Token::of([offset.0.to_string().as_str()]),
            partition,
            previous,
            received: i64::try_from(offset.0).unwrap() * 10,
            consumers: consumers.to_vec(),
            body: "body".into(),
        };
        self.0.push(Arc::new(Read { offset, committed: 0, entry, intact: true }));
        offset
    }
}

fn all(limit: usize) -> Pick {
    Pick { after: 0, until: i64::MAX, without: Vec::new(), first_below: None, limit }
}

fn offsets(picked: &[Picked]) -> Vec<u64> {
    picked.iter().map(|picked| picked.read.offset.0).collect()
}

fn pick(consumer: &mut Consumer, log: &Lines, pick: &Pick) -> Vec<u64> {
    offsets(&consumer.pick(pick, log).unwrap())
}

#[test]
fn what_is_for_others_is_done_and_costs_nothing() {
    let (mut log, mut consumer) = (Lines::default(), Consumer::new(OURS, Offset(1)));
    for n in 0..1000 {
        log.append("call", if n % 100 == 50 { &[OTHERS, OURS] } else { &[OTHERS] });
    }
    let owed = pick(&mut consumer, &log, &all(100));
    assert_eq!(owed, [51, 151, 251, 351, 451, 551, 651, 751, 851, 951]);
    for offset in &owed {
        assert_eq!(consumer.acknowledge(Offset(*offset)), Some(4));
    }
    assert_eq!((consumer.floor(), consumer.pending(), consumer.standing().done), (Offset(1001), 0, vec![0..1001]));
}

#[test]
fn a_held_call_is_passed_over_and_found_again_at_once() {
    let (mut log, mut consumer) = (Lines::default(), Consumer::new(OURS, Offset(1)));
    for n in 0..20 {
        log.append(if n % 5 == 0 { "stuck" } else { "fine" }, &[OURS]);
    }
    let without = Pick { without: vec!["stuck".into()], ..all(100) };
    assert_eq!(pick(&mut consumer, &log, &all(1)), [1]);
    assert_eq!(consumer.fail(Offset(1), 7), Some(Failures { attempts: 1, since: 7 }));
    assert_eq!(consumer.fail(Offset(1), 9), Some(Failures { attempts: 2, since: 7 }));
    assert_eq!(pick(&mut consumer, &log, &without).len(), 16);
    let stuck = consumer.of_calls(&["stuck".into(), "no call".into()], 9, &log).unwrap();
    assert_eq!(offsets(&stuck), [1, 6, 11, 16]);
    assert_eq!(stuck[0].failures, Some(Failures { attempts: 2, since: 7 }));
    assert_eq!(offsets(&consumer.of_calls(&["stuck".into()], 2, &log).unwrap()), [1, 6]);
}

#[test]
fn what_is_fresh_of_a_call_with_a_backlog_waits_for_it() {
    let (mut log, mut consumer) = (Lines::default(), Consumer::new(OURS, Offset(1)));
    log.append("old", &[OURS]);
    log.append("old", &[OTHERS]);
    log.append("gone", &[OTHERS]);
    let mark = 3;
    log.append("old", &[OURS]);
    log.append("gone", &[OURS]);
    log.append("new", &[OURS]);
    log.append("old", &[OURS]);
    let fresh = Pick { after: mark, first_below: Some(mark + 1), ..all(9) };
    assert_eq!(pick(&mut consumer, &log, &fresh), [5, 6]);
    assert_eq!(pick(&mut consumer, &log, &Pick { until: mark, ..all(9) }), [1]);
    assert_eq!(pick(&mut consumer, &log, &fresh), [5, 6]);
    consumer.acknowledge(Offset(1));
    assert_eq!(pick(&mut consumer, &log, &fresh), [4, 5, 6, 7]);
}

#[test]
fn events_that_retention_took_were_owed_to_nobody() {
    let (mut log, mut consumer) = (Lines::default(), Consumer::new(OURS, Offset(1)));
    for _ in 0..10 {
        log.append("call", &[OTHERS]);
    }
    log.append("call", &[OURS]);
    log.0.drain(..8);
    assert_eq!(pick(&mut consumer, &log, &all(9)), [11]);
    assert_eq!(consumer.floor(), Offset(11));
    log.0.clear();
    consumer.skip(Offset(12));
    assert_eq!((consumer.floor(), consumer.pending(), consumer.calls.len()), (Offset(12), 0, 0));
}

#[test]
fn no_more_is_pending_than_there_is_room_for() {
    let (mut log, mut consumer) = (Lines::default(), Consumer::new(OURS, Offset(1)));
    (0..=PENDING).for_each(|n| log.0.push(Arc::new(read(n as u64 + 1))));
    let held = Pick { without: vec!["call".into()], ..all(1) };
    assert_eq!(pick(&mut consumer, &log, &held), [] as [u64; 0]);
    assert_eq!(consumer.pending(), PENDING);
    consumer.acknowledge(Offset(1));
    assert_eq!(pick(&mut consumer, &log, &held), [] as [u64; 0]);
    assert_eq!((consumer.pending(), consumer.floor()), (PENDING, Offset(2)));
}

fn read(offset: u64) -> Read {
    let entry = Entry {
        id: Token::from("id"),
        partition: Token::from("call"),
        previous: None,
        received: 0,
        consumers: vec![OURS],
        body: "body".into(),
    };
    Read { offset: Offset(offset), committed: 0, entry, intact: true }
}

/// What may happen to a consumer.
#[derive(Clone, Debug)]
enum Step {
    Append {
        call: u8,
        ours: bool,
    },
    Pick {
        after: u64,
        width: u64,
        without: Vec<u8>,
        below: Option<u64>,
        limit: usize,
    },
    Acknowledge(usize),
    Fail(usize),
    OfCalls(Vec<u8>, usize),
    Oldest(usize),
    /// It is written down, and what happened since is replayed.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let calls = || proptest::collection::vec(0..6u8, 0..4);
    prop_oneof![
        6 => (0..6u8, prop::bool::weighted(0.6)).prop_map(|(call, ours)| Step::Append { call, ours }),
        4 => (0..40u64, 1..60u64, calls(), prop::option::of(0..40u64), 1..9usize)
            .prop_map(|(after, width, without, below, limit)| Step::Pick { after, width, without, below, limit }),
        4 => (0..9usize).prop_map(Step::Acknowledge),
        2 => (0..9usize).prop_map(Step::Fail),
        1 => (calls(), 1..9usize).prop_map(|(calls, limit)| Step::OfCalls(calls, limit)),
        1 => (1..9usize).prop_map(Step::Oldest),
        1 => Just(Step::Restart),
    ]
}

/// The owed events, each with its call and its failures, in order.
type Model = BTreeMap<u64, (u8, Option<Failures>)>;

properties! {
    cases: 512;

    #[test]
    fn a_consumer_is_owed_what_a_list_says(steps in proptest::collection::vec(step(), 1..150)) {
        let (mut log, mut model) = (Lines::default(), Model::new());
        let mut consumer = Consumer::new(OURS, Offset(1));
        let (mut written, mut since) = (consumer.standing(), Progress::default());
        for (now, step) in steps.into_iter().enumerate() {
            let now = i64::try_from(now).unwrap();
            let pending: Vec<u64> = consumer.pending.keys().map(|offset| offset.0).collect();
            match step {
                Step::Append { call, ours } => {
                    let offset = log.append(&call.to_string(), if ours { &[OURS, OTHERS] } else { &[OTHERS] });
                    if ours {
                        model.insert(offset.0, (call, None));
                    }
                }
                Step::Pick { after, width, without, below, limit } => {
                    let until = after + width;
                    let names = without.iter().map(|call| call.to_string().into()).collect();
                    let signed = |n: u64| i64::try_from(n).unwrap();
                    let wanted = Pick {
                        after: signed(after),
                        until: signed(until),
                        without: names,
                        first_below: below.map(signed),
                        limit,
                    };
                    let waits = |offset: u64, call: u8| {
                        model.range(..offset).any(|(earlier, (of, _))| *of == call && below.is_some_and(|below| *earlier < below))
                    };
                    let asked = model.range(after + 1..=until);
                    let asked = asked.filter(|(offset, (call, _))| !without.contains(call) && !waits(**offset, *call));
                    let expected: Vec<u64> = asked.take(limit).map(|(offset, _)| *offset).collect();
                    let picked = consumer.pick(&wanted, &log).unwrap();
                    prop_assert_eq!(offsets(&picked), expected, "{:?}", wanted);
                    for picked in picked {
                        prop_assert_eq!(picked.failures, model[&picked.read.offset.0].1);
                    }
                }
                // In order within a call, as deliveries are.
                Step::Acknowledge(n) if n < pending.len() => {
                    let (call, _) = model[&pending[n]];
                    let first = *model.iter().find(|(_, (of, _))| *of == call).unwrap().0;
                    if let Some(bytes) = consumer.acknowledge(Offset(first)) {
                        model.remove(&first);
                        since.done.push((first, bytes));
                    }
                }
                Step::Fail(n) if n < pending.len() => {
                    let failures = consumer.fail(Offset(pending[n]), now).unwrap();
                    let before = &mut model.get_mut(&pending[n]).unwrap().1;
                    let expected = before.map_or(Failures { attempts: 1, since: now }, |before| {
                        Failures { attempts: before.attempts + 1, ..before }
                    });
                    prop_assert_eq!(failures, expected);
                    *before = Some(failures);
                    since.failed.push((pending[n], failures));
                }
                Step::OfCalls(calls, limit) => {
                    let names: Vec<Arc<str>> = calls.iter().map(|call| call.to_string().into()).collect();
                    let of = pending.iter().filter(|offset| calls.contains(&model[offset].0)).take(limit);
                    let expected: Vec<u64> = of.copied().collect();
                    prop_assert_eq!(offsets(&consumer.of_calls(&names, limit, &log).unwrap()), expected);
                }
                Step::Oldest(limit) => {
                    let oldest = consumer.oldest(limit, &log).unwrap();
                    let expected: Vec<_> = model.keys().take(limit).map(|offset| (Offset(*offset), 4, i64::try_from(*offset).unwrap() * 10)).collect();
                    prop_assert_eq!(oldest, expected);
                }
                Step::Restart => {
                    let mut restored = Consumer::restore(OURS, &written);
                    let (events, bytes) = restored.replay(&since);
                    prop_assert_eq!((events, bytes), (since.done.len() as u64, 4 * since.done.len() as u64));
                    prop_assert_eq!(restored.replay(&since), (0, 0), "what is replayed twice counts once");
                    consumer = restored;
                    (written, since) = (consumer.standing(), Progress::default());
                }
                Step::Acknowledge(_) | Step::Fail(_) => {}
            }
            let least = model.keys().next().copied();
            prop_assert!(least.is_none_or(|least| consumer.floor().0 <= least));
            for offset in model.keys() {
                prop_assert!(!consumer.is_done(Offset(*offset)));
            }
        }
        let owed = pick(&mut consumer, &log, &all(usize::MAX));
        prop_assert_eq!(owed, model.keys().copied().collect::<Vec<_>>());
    }
}
