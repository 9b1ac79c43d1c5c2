//! Histories: what a program does with generations, and what happens to it, drawn from a seed, on the simulated disk, each
//! step held to a model that is a map of all that was ever remembered.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{BEGIN, SECOND, STORE};
use crate::disk::simulated::{Lie, SimulatedDisk};
use crate::generations::{
    Draft, EndedLeg, Generations, Key, Kind, Limits, MOST, New, Options, PastCall, WriteError, format,
};
use crate::seed;

/// Histories of each seed in a usual run. `ONSIP_ROUTER_HISTORIES=<number>` sets another number.
const USUAL: u64 = 200;
/// Things of each kind that anything happens to, and as many to which nothing does.
const THINGS: u32 = 3_000;

/// Keys and values of all things, made once: hashing takes longer than everything else.
static KEYS: LazyLock<Vec<[Key; 3]>> =
    LazyLock::new(|| (0..THINGS + 100).map(|number| Kind::ALL.map(|kind| super::key(kind, number))).collect());
static LEGS: LazyLock<Vec<EndedLeg>> = LazyLock::new(|| (0..1_000).map(|number| super::leg(number, 0)).collect());
static CALLS: LazyLock<Vec<PastCall>> = LazyLock::new(|| (0..1_000).map(super::call).collect());

fn key(kind: Kind, number: u32) -> Key {
    KEYS[number as usize][kind as usize]
}

/// All that checkpoints have named, and the newest of them.
struct Model {
    named: Vec<u64>,
    limits: Limits,
    now: i64,
    ids: HashMap<Key, When>,
    legs: HashMap<Key, (When, Vec<EndedLeg>)>,
    calls: HashMap<Key, (When, PastCall)>,
    /// Rows of each kind so far.
    rows: [u64; 3],
    /// The number of the next event.
    event: u32,
}

/// When something was handed over: the time of its event, and the rows of its kind up to then.
#[derive(Clone, Copy)]
struct When {
    time: i64,
    rows: u64,
}

impl Model {
    fn new(rng: &mut StdRng) -> Self {
        let most = [1_000, 4_000, 1_000_000][rng.random_range(0..3)];
        let limits = Limits { remembered: 4_000 * SECOND, ended: 1_000 * SECOND, most };
        let (ids, legs, calls) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { named: Vec::new(), limits, now: BEGIN, ids, legs, calls, rows: [0; 3], event: 0 }
    }

    fn open(&self, disk: &SimulatedDisk) -> Generations {
        let options = Options { store: STORE, limits: self.limits };
        Generations::open(disk.folder(), options, &self.named, self.now).unwrap()
    }

    /// A checkpoint with these numbers is on the disk, and with it what is new.
    fn commit(&mut self, named: Vec<u64>, new: Option<New>) {
        self.named = named;
        let Some(new) = new else { return };
        let time = new.times.0;
        let mut when = |kind: Kind, rows: usize| {
            self.rows[kind as usize] += rows as u64;
            When { time, rows: self.rows[kind as usize] }
        };
        let ids = when(Kind::Id, new.ids.len());
        let legs = when(Kind::Leg, new.legs.len());
        let calls = when(Kind::Call, new.calls.len());
        self.ids.extend(new.ids.into_iter().map(|id| (id, ids)));
        for (key, leg) in new.legs {
            let (when, all) = self.legs.entry(key).or_insert((legs, Vec::new()));
            *when = When { time: leg.ended.as_microsecond(), ..legs };
            all.push(leg);
        }
        self.calls.extend(new.calls.into_iter().map(|(key, call)| (key, (calls, call))));
    }

    /// Whether something must be found: it is not too old, and not too many came after it.
    fn must_hold(&self, kind: Kind, when: When) -> bool {
        let limit = if kind == Kind::Leg { self.limits.ended } else { self.limits.remembered };
        when.time >= self.now - limit && self.rows[kind as usize] - when.rows < self.limits.most
    }

    /// Holds what is found of a thing to what was remembered.
    fn check(&self, generations: &Generations, number: u32) {
        let [id, leg, call] = KEYS[number as usize];
        let when = self.ids.get(&id);
        let found = generations.find_id(&id).unwrap();
        let must = when.is_some_and(|when| self.must_hold(Kind::Id, *when));
        assert!(if found { when.is_some() } else { !must }, "id {number}: {found}");
        assert!(!found || generations.may_hold(Kind::Id, &id));

        let (when, all) = self.legs.get(&leg).map_or((None, &[][..]), |(when, all)| (Some(*when), &all[..]));
        let found = generations.find_leg(&leg).unwrap();
        let must = when.is_some_and(|when| self.must_hold(Kind::Leg, when));
        let right = found.map_or(!must, |found| if must { all.last() == Some(&found) } else { all.contains(&found) });
        assert!(right, "leg {number}: {found:?} of {all:?}");
        assert!(found.is_none() || generations.may_hold(Kind::Leg, &leg));

        let known = self.calls.get(&call);
        let found = generations.find_call(&call).unwrap();
        let must = known.is_some_and(|(when, _)| self.must_hold(Kind::Call, *when));
        let right = found.map_or(!must, |found| known.is_some_and(|(_, known)| *known == found));
        assert!(right, "call {number}: {found:?} of {:?}", known.map(|(_, known)| known));
        assert!(found.is_none() || generations.may_hold(Kind::Call, &call));
    }

    /// Holds the list and the folder to the checkpoint, and one thing in `share` to what was remembered.
    fn check_all(&self, generations: &Generations, disk: &SimulatedDisk, share: usize) {
        assert_eq!(generations.numbers(), self.named);
        assert!(self.named.len() <= MOST, "{:?}", self.named);
        let mut files: Vec<_> = self.named.iter().map(|number| format::name(*number)).collect();
        files.sort_unstable();
        assert_eq!(disk.names(), files);
        let things = self.event % 7..self.event.min(THINGS) + 100;
        things.step_by(share).for_each(|number| self.check(generations, number));
    }

    /// What happens until the next checkpoint.
    fn happen(&mut self, rng: &mut StdRng) -> New {
        self.now += rng.random_range(0..400) * SECOND;
        let mut new = New { times: (self.now, self.now), ..New::default() };
        for _ in 0..[0, 3, 40, 400, 900][rng.random_range(0..5)] {
            // Few ids come twice; legs and calls do.
            let id = if rng.random_ratio(1, 50) { rng.random_range(0..THINGS) } else { self.event % THINGS };
            self.event += 1;
            new.ids.push(key(Kind::Id, id));
            if rng.random_ratio(1, 3) {
                let number = rng.random_range(0..self.event.min(THINGS));
                let ended = jiff::Timestamp::from_microsecond(self.now).unwrap();
                let leg = EndedLeg { ended, ..LEGS[rng.random_range(0..1_000)] };
                new.legs.push((key(Kind::Leg, number), leg));
            }
            if rng.random_ratio(1, 4) {
                let number = rng.random_range(0..self.event.min(THINGS));
                new.calls.push((key(Kind::Call, number), CALLS[rng.random_range(0..1_000)]));
            }
        }
        self.now += SECOND;
        new
    }
}

/// One history: some lives of a program, each of which ends in a crash or with a clean stop.
fn history(seed: u64, lie: Option<Lie>) {
    let (mut rng, disk) = (StdRng::seed_from_u64(seed), SimulatedDisk::new(seed));
    let mut model = Model::new(&mut rng);
    for _ in 0..rng.random_range(2..6) {
        let generations = model.open(&disk);
        model.check_all(&generations, &disk, 5);
        if let Some(lie) = lie {
            disk.lie(lie);
        }
        match rng.random_range(0..8) {
            0 => disk.fail_sync_in(rng.random_range(0..30)),
            1 => {}
            _ => disk.crash_in(rng.random_range(0..150)),
        }
        life(&mut rng, &disk, &mut model, &generations);
        disk.restart();
    }
    let generations = model.open(&disk);
    model.check_all(&generations, &disk, 1);
    generations.check().unwrap();
    // Once everything is too old, nothing is left.
    model.now += model.limits.remembered + SECOND;
    generations.adopt(generations.next(Vec::new(), model.now)).unwrap();
    assert_eq!((generations.numbers(), disk.names()), (Vec::new(), Vec::new()));
}

/// How a checkpoint ends.
enum Checkpoint {
    Done,
    /// It is not on the disk, and never will be.
    Failed,
    /// The machine fails before it is on the disk, or right after.
    Crash,
}

fn life(rng: &mut StdRng, disk: &SimulatedDisk, model: &mut Model, generations: &Generations) {
    let mut merged: Option<Draft> = None;
    let is_idle = rng.random_ratio(1, 4);
    for _ in 0..rng.random_range(1..40) {
        if disk.has_crashed() {
            return; // in something whose failure is no matter
        }
        match rng.random_range(0..12) {
            0 => disk.leave_room(rng.random_range(0..40_000)),
            1 | 2 => disk.leave_room(u64::MAX / 2),
            3 => (0..20).for_each(|_| model.check(generations, rng.random_range(0..THINGS))),
            4..7 if merged.is_none() && !is_idle => match generations.merge(model.now) {
                Ok(draft) => merged = draft,
                Err(WriteError::Full(_)) => {}
                Err(fault) => return stops(disk, &fault),
            },
            _ => {
                let new = model.happen(rng);
                let draft = match generations.write(new.clone()) {
                    Ok(draft) => draft,
                    // What is new waits for the next checkpoint; here it is as good as never heard of.
                    Err(WriteError::Full(_)) => continue,
                    Err(fault) => return stops(disk, &fault),
                };
                let mut drafts = vec![draft];
                drafts.extend(merged.take_if(|_| rng.random()));
                drafts.shuffle(rng);
                if checkpoint(rng, model, generations, (drafts, Some(new))).is_break() {
                    return;
                }
            }
        }
    }
    assert!(generations.numbers() == model.named, "{:?}", model.named);
}

fn checkpoint(
    rng: &mut StdRng,
    model: &mut Model,
    generations: &Generations,
    (drafts, new): (Vec<Draft>, Option<New>),
) -> ControlFlow<()> {
    let next = generations.next(drafts, model.now);
    let end = match rng.random_range(0..30) {
        0 => Checkpoint::Failed,
        1 => Checkpoint::Crash,
        _ => Checkpoint::Done,
    };
    match end {
        Checkpoint::Failed => generations.discard(next),
        Checkpoint::Crash => {
            if rng.random() {
                model.commit(next.numbers(), new);
            }
            return ControlFlow::Break(());
        }
        Checkpoint::Done => {
            model.commit(next.numbers(), new);
            generations.adopt(next).unwrap();
        }
    }
    ControlFlow::Continue(())
}

/// Writing may fail only for what the disk does.
fn stops(disk: &SimulatedDisk, fault: &WriteError) {
    let is_sync = matches!(fault, WriteError::Io { fault, .. } if fault.to_string().contains("does not answer"));
    assert!(disk.has_crashed() || is_sync, "{fault}");
}

#[test]
fn what_a_checkpoint_names_is_found_after_whatever_happens_to_the_machine() {
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
    // No file is renamed.
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
    ] {
        let mut rng = StdRng::seed_from_u64(7);
        let found = (0..USUAL).any(|_| {
            let seed = rng.random();
            catch_unwind(AssertUnwindSafe(|| history(seed, Some(lie)))).is_err()
        });
        assert!(found, "{lie:?} is not found out");
    }
}
