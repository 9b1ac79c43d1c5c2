//! Histories: what a program does with the log, and what happens to it, drawn from a seed, on the simulated disk, each
//! step held to a model that is a list of groups.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::simulated::{Lie, SimulatedDisk};
use crate::domain::identity::Token;
use crate::log::{Appender, ConsumerNumber, Entry, Group, Log, LogError, Offset, OpenError, Options, StoreId, open};
use crate::seed;

/// Histories of each seed in a usual run. `ONSIP_ROUTER_HISTORIES=<number>` sets another number.
const USUAL: u64 = 2_000;
const STORE: StoreId = StoreId(0x1234_5678_9abc_def0_0fed_cba9_8765_4321);

fn options(seen: Offset) -> Options {
    Options { store: STORE, segment_bytes: 16 * 1024, tail_bytes: 4 * 1024, seen }
}

/// All that was answered for, in order.
#[derive(Debug, Default)]
struct Model {
    groups: Vec<(Offset, i64, Group)>,
    next: u64,
    /// The group that was being appended when the machine failed: it may be there as a whole.
    unanswered: Option<(i64, Group)>,
    /// Events before this one were given up, or may have been.
    given_up: Offset,
}

impl Model {
    fn new() -> Self {
        Self { next: 1, ..Self::default() }
    }

    fn append(&mut self, committed: i64, group: Group) {
        let first = Offset(self.next);
        self.next += group.entries.len() as u64;
        self.groups.push((first, committed, group));
    }

    /// Holds what is in the log to what was answered.
    fn check(&mut self, log: &Log) {
        let mut found = Vec::new();
        log.replay(log.first(), |first, committed, group| {
            found.push((first, committed, group));
            ControlFlow::Continue(())
        })
        .unwrap();
        if let Some((committed, group)) = self.unanswered.take()
            && found.last().is_some_and(|(first, at, last)| (first.0, *at, last) == (self.next, committed, &group))
            && self.groups.last() != found.last()
        {
            self.append(committed, group);
        }
        assert!(found.len() <= self.groups.len(), "more groups than were appended");
        let (gone, left) = self.groups.split_at(self.groups.len() - found.len());
        assert!(found == left, "other groups than were appended");
        assert!(
            gone.iter().all(|(first, _, group)| first.0 + group.entries.len() as u64 <= self.given_up.0),
            "a group is missing that was not given up"
        );
        assert_eq!(log.next(), Offset(self.next));
    }

    /// Holds what is read from some place on to what was answered.
    fn read(&self, log: &Log, rng: &mut StdRng) {
        let from = Offset(rng.random_range(0..=self.next + 1));
        let bytes = rng.random_range(1..6000);
        let found = log.read(from, bytes).unwrap();
        let first = from.max(log.first());
        let expected = self.groups.iter().flat_map(|(first, committed, group)| {
            (first.0..).zip(&group.entries).map(|(offset, entry)| (Offset(offset), *committed, entry))
        });
        let mut expected = expected.skip_while(|(offset, ..)| *offset < first);
        assert!(found.iter().all(|read| Some((read.offset, read.committed, &read.entry)) == expected.next()));
        assert_eq!(found.is_empty(), first.0 >= self.next);
        let all: usize = found.iter().map(|read| read.entry.body.len()).sum();
        assert!(found.len() <= 1 || all <= bytes, "{all} bytes in place of {bytes}");
    }
}

fn group(rng: &mut StdRng) -> Group {
    let count = match rng.random_range(0..12) {
        0 | 1 => 0,
        2 => rng.random_range(20..60), // may be larger than a segment
        _ => rng.random_range(1..5),
    };
    let text = |rng: &mut StdRng, most: usize| "x".repeat(rng.random_range(0..most));
    let entry = |rng: &mut StdRng| Entry {
        id: Token::from(rng.random::<u64>().to_string()),
        partition: Token::from(rng.random_range(0..5).to_string()),
        previous: rng.random::<bool>().then(|| Offset(rng.random_range(1..100))),
        received: rng.random(),
        consumers: (0..rng.random_range(0..3)).map(ConsumerNumber).collect(),
        body: format!("{{\"{}\":\"RECD\"}}", text(rng, 900)).into(),
    };
    let changes = text(rng, 300).into_bytes();
    Group { changes, entries: (0..count).map(|_| entry(rng)).collect() }
}

/// One history: some lives of a program, each of which ends in a crash or with a clean stop.
fn history(seed: u64, lie: Option<Lie>) {
    let (mut rng, disk, mut model) = (StdRng::seed_from_u64(seed), SimulatedDisk::new(seed), Model::new());
    for _ in 0..rng.random_range(2..7) {
        let checkpoint = Offset(rng.random_range(1..=model.next));
        let (mut appender, log, _) = open(disk.folder(), options(checkpoint)).unwrap();
        model.check(&log);
        if let Some(lie) = lie {
            disk.lie(lie);
        }
        match rng.random_range(0..8) {
            0 => disk.fail_sync_in(rng.random_range(0..30)),
            1 => {}
            _ => disk.crash_in(rng.random_range(0..80)),
        }
        life(&mut rng, &disk, &mut model, (&mut appender, &log));
        disk.restart();
    }
    let (_, log, _) = open(disk.folder(), options(Offset(1))).unwrap();
    model.check(&log);
}

fn life(rng: &mut StdRng, disk: &SimulatedDisk, model: &mut Model, (appender, log): (&mut Appender, &Log)) {
    let mut committed = 0;
    for _ in 0..rng.random_range(1..60) {
        if disk.has_crashed() {
            return; // in something whose failure is no matter
        }
        committed += rng.random_range(0..3);
        match rng.random_range(0..20) {
            0 => {
                let kept = Offset(rng.random_range(1..=model.next));
                model.given_up = model.given_up.max(kept);
                match appender.retain(kept, committed) {
                    Ok(()) | Err(LogError::Full) => assert!(log.first() <= model.given_up),
                    Err(_) => return,
                }
            }
            1 => disk.leave_room(rng.random_range(0..40_000)),
            2 => disk.leave_room(u64::MAX / 2),
            3 | 4 if log.next() > log.first() => model.read(log, rng),
            _ => {
                let group = group(rng);
                match appender.append(group.clone(), committed) {
                    Ok(first) => {
                        assert_eq!(first, Offset(model.next));
                        model.append(committed, group);
                    }
                    Err(LogError::Full) => assert_eq!(log.next(), Offset(model.next)),
                    Err(LogError::Dead(_)) => {
                        model.unanswered = Some((committed, group));
                        let again = appender.append(Group::default(), committed);
                        assert!(matches!(again, Err(LogError::Dead(_))), "{again:?}");
                        return;
                    }
                    Err(LogError::Refused(events)) => panic!("{events} events are refused"),
                }
            }
        }
    }
}

#[test]
fn what_was_answered_is_there_after_whatever_happens_to_the_machine() {
    let count = std::env::var("ONSIP_ROUTER_HISTORIES").map_or(USUAL, |count| count.parse().expect("a number"));
    for seed in seed::fixed_and_fresh([1]) {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..count {
            let seed = rng.random();
            if let Err(fault) = catch_unwind(|| history(seed, None)) {
                panic!("history {seed}: {}", fault.downcast_ref::<String>().map_or("it panicked", |text| text));
            }
        }
    }
}

#[test]
fn each_lie_of_a_disk_is_found_out() {
    for lie in [
        Lie::File,
        Lie::Folder,
        Lie::Sector,
        Lie::Place,
        Lie::FailedSync,
        Lie::Truncate,
        Lie::Read,
        Lie::Half,
        Lie::Gone,
        Lie::Renamed,
    ] {
        let mut rng = StdRng::seed_from_u64(7);
        let found = (0..USUAL).any(|_| {
            let seed = rng.random();
            catch_unwind(AssertUnwindSafe(|| history(seed, Some(lie)))).is_err()
        });
        assert!(found, "{lie:?} is not found out");
    }
}

// ---- what is not ours, or not whole -----------------------------------------------------------------------------

/// A log of three sealed segments and one that is not.
fn four_segments() -> (SimulatedDisk, Model) {
    let (disk, mut model, mut rng) = (SimulatedDisk::new(1), Model::new(), StdRng::seed_from_u64(1));
    let (mut appender, log, _) = open(disk.folder(), options(Offset(1))).unwrap();
    while log.segments() < 4 {
        let group = group(&mut rng);
        appender.append(group.clone(), 0).unwrap();
        model.append(0, group);
    }
    for _ in 0..3 {
        let one = Group { entries: group(&mut rng).entries.pop().into_iter().collect(), ..Group::default() };
        appender.append(one.clone(), 0).unwrap();
        model.append(0, one);
    }
    (disk, model)
}

/// Returns the error with which opening ends, and holds it to leaving everything as it was.
fn refusal(disk: &SimulatedDisk, options: Options) -> String {
    let all = |disk: &SimulatedDisk| -> Vec<_> { disk.names().into_iter().map(|name| disk.content(&name)).collect() };
    let before = all(disk);
    let refused: OpenError = open(disk.folder(), options).map(drop).expect_err("it is refused");
    assert_eq!(before, all(disk), "something was changed");
    refused.to_string()
}

fn names(disk: &SimulatedDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect()
}

#[test]
fn a_folder_that_is_not_as_we_left_it_is_refused_with_the_name_of_the_file_and_left_as_it_is() {
    let usual = options(Offset(1));
    let says = |told: String, parts: &[&str]| assert!(parts.iter().all(|part| told.contains(part)), "{told}");

    let (disk, _) = four_segments();
    let names = names(&disk);
    disk.put("notes.txt", b"mine".to_vec());
    says(refusal(&disk, usual), &["notes.txt", "no segment"]);
    disk.take("notes.txt");
    says(refusal(&disk, Options { store: StoreId(5), ..usual }), &[".segment", "belongs to the store"]);
    says(refusal(&disk, options(Offset(1_000_000))), &["1000000", "newest segments"]);

    for name in &names[..3] {
        let content = disk.content(name);
        disk.take(name);
        says(refusal(&disk, usual), &[name, "missing"]);
        disk.put("0000000009.segment", content.clone());
        says(refusal(&disk, usual), &["0000000009.segment", "name"]);
        disk.take("0000000009.segment");
        disk.put(name, content);
    }
    let header = |change: fn(&mut Vec<u8>)| {
        let whole = disk.content(&names[1]);
        let mut changed = whole.clone();
        change(&mut changed);
        disk.put(&names[1], changed);
        let told = refusal(&disk, usual);
        disk.put(&names[1], whole);
        told
    };
    says(header(|bytes| bytes[3] ^= 1), &[&names[1], "does not begin"]);
    says(header(|bytes| bytes.truncate(20)), &[&names[1], "does not begin"]);
    says(header(Vec::clear), &[&names[1], "does not begin"]);
    says(
        header(|bytes| {
            bytes[8] = 2;
            let sum = crc32fast::hash(&bytes[..56]);
            bytes[56..60].copy_from_slice(&sum.to_le_bytes());
        }),
        &[&names[1], "format 2", "format 1"],
    );
    open(disk.folder(), usual).unwrap();
}

#[test]
fn a_flipped_bit_is_found_at_the_start_or_when_it_is_read_and_never_passed_over() {
    let (disk, mut model) = four_segments();
    let mut rng = StdRng::seed_from_u64(seed::fixed(3));
    let mut told = 0;
    for _ in 0..1_500 {
        let names = names(&disk);
        let name = &names[rng.random_range(0..names.len())];
        let (byte, bit) = (rng.random_range(0..disk.content(name).len()), rng.random_range(0..8));
        disk.flip(name, byte, bit);
        let before = disk.content(name);
        match open(disk.folder(), options(Offset(1))) {
            Err(
                OpenError::Damaged { name: damaged, .. } | OpenError::Header(damaged) | OpenError::Unsealed(damaged),
            ) => {
                assert_eq!(&damaged, name);
                told += 1;
            }
            Err(fault) => panic!("{fault}"),
            Ok((_, log, torn)) => {
                let mut found = Vec::new();
                let read = log.replay(Offset(1), |first, at, group| {
                    found.push((first, at, group));
                    ControlFlow::Continue(())
                });
                // Only the very last record cannot be told from one that a crash has torn, and that is said.
                let whole =
                    found == model.groups || (torn.is_some() && found == model.groups[..model.groups.len() - 1]);
                assert!(whole || read.is_err(), "byte {byte} of {name}");
                told += usize::from(torn.is_some() || read.is_err());
                disk.put(name, before);
            }
        }
        disk.flip(name, byte, bit);
    }
    assert!(told > 100, "{told}");
    let (_, log, torn) = open(disk.folder(), options(Offset(1))).unwrap();
    assert_eq!(torn, None);
    model.check(&log);
}

#[test]
fn on_a_full_disk_there_is_room_for_what_frees_some() {
    let (disk, mut rng) = (SimulatedDisk::new(1), StdRng::seed_from_u64(1));
    let (mut appender, log, _) = open(disk.folder(), options(Offset(1))).unwrap();
    while log.segments() < 3 {
        appender.append(group(&mut rng), 0).unwrap();
    }
    disk.leave_room(0);
    let full = loop {
        match appender.append(Group { entries: group(&mut rng).entries, ..Group::default() }, 0) {
            Ok(_) => {}
            Err(fault) => break fault,
        }
    };
    assert_eq!(full, LogError::Full);
    for _ in 0..20 {
        appender.append(Group { changes: vec![1; 40], entries: Vec::new() }, 0).unwrap();
    }
    let used = disk.used();
    appender.retain(log.next(), 0).unwrap();
    assert!(disk.used() < used && log.segments() == 1, "{used} {}", disk.used());
    appender.append(group(&mut rng), 0).unwrap();
}

#[test]
fn a_group_that_is_larger_than_a_segment_takes_no_room_from_what_frees_some() {
    let (disk, mut rng) = (SimulatedDisk::new(1), StdRng::seed_from_u64(1));
    let (mut appender, log, _) = open(disk.folder(), options(Offset(1))).unwrap();
    while log.segments() < 3 {
        appender.append(group(&mut rng), 0).unwrap();
    }
    disk.leave_room(20 * 1024);
    let large = Group { changes: vec![1; 100 * 1024], entries: Vec::new() };
    assert_eq!(appender.append(large.clone(), 0), Err(LogError::Full));
    // Nor do changes without events, however many come.
    disk.leave_room(0);
    let change = || Group { changes: vec![1; 40], entries: Vec::new() };
    let full = (0..10_000).find_map(|_| appender.append(change(), 0).err());
    assert_eq!(full, Some(LogError::Full));
    appender.retain(log.next(), 0).unwrap();
    assert_eq!(log.segments(), 1);
    disk.leave_room(u64::MAX / 2);
    appender.append(large, 0).unwrap();
}
