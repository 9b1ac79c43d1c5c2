//! The policy: which tables still count, and which generations are merged. Pure; sizes and times are all it sees.
//!
//! # Which tables count
//!
//! A table is forgotten as a whole: once the newest of its records is too old, or once the tables of its kind in newer
//! generations hold as many records as are remembered by themselves. So more is remembered than was promised, never less.
//!
//! # Which generations are merged
//!
//! 1. The newest ones, as long as each older one is no more than twice as large as all that are newer together. So they grow
//!    by doubling, and a record is written again some four times before it is forgotten. What would have more than a sixth of
//!    all that is remembered, or of the time, is left alone, since it is forgotten as a whole.
//! 2. If there are more than [`EASY`], the two neighbours that are smallest together.
//! 3. A generation of which a quarter is tables that do not count, with itself: it is written again without them.
//!
//! Must not know what a generation holds, or where.

use std::ops::Range;

use super::format::Kind;

/// Generations that there are at most.
pub const MOST: usize = 16;
/// Generations beyond which some are merged, whatever comes of it.
const EASY: usize = 14;
/// The share of all that is remembered that a generation may have.
const SHARE: u64 = 6;
/// How many times as large as all newer ones together a generation may be to be merged with them.
const RATIO: u64 = 2;
/// Records below which a generation is as good as one of so many: it costs next to nothing to write it again.
const LEAST: u64 = 65_536;
/// Bytes below which it is no matter whether they are of use.
const NO_MATTER: u64 = 1024 * 1024;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ids and calls: microseconds after the newest of their generation.
    pub remembered: i64,
    /// Ended legs: microseconds after the end.
    pub ended: i64,
    /// Records of each kind, beyond which the oldest generations are forgotten.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: i64 = 3600 * 1_000_000;
        Self { remembered: 7 * 24 * HOUR, ended: 24 * HOUR, most: 50_000_000 }
    }
}

impl Limits {
    /// Returns the time before which a record of this kind is too old.
    pub(super) fn since(&self, kind: Kind, now: i64) -> i64 {
        now.saturating_sub(match kind {
            Kind::Id | Kind::Call => self.remembered,
            Kind::Leg => self.ended,
        })
    }
}

/// A table: how many records it has, and the time of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableSize {
    pub(super) count: u64,
    pub(super) newest: i64,
}

/// Returns which tables count of generations in the order of their age, the oldest first.
pub(super) fn counting(
    generations: &[[TableSize; Kind::COUNT]],
    limits: &Limits,
    now: i64,
) -> Vec<[bool; Kind::COUNT]> {
    let mut held = [0_u64; Kind::COUNT];
    let mut counting: Vec<_> = generations
        .iter()
        .rev()
        .map(|tables| {
            std::array::from_fn(|kind| {
                let table = tables[kind];
                let counts =
                    table.count > 0 && table.newest >= limits.since(Kind::ALL[kind], now) && held[kind] < limits.most;
                held[kind] += table.count;
                counts
            })
        })
        .collect();
    counting.reverse();
    counting
}

/// A generation: what of it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Records of all tables that count.
    pub(super) records: u64,
    /// Records of the largest of these tables.
    pub(super) largest: u64,
    /// Times of the oldest and of the newest id, or call.
    pub(super) times: Option<(i64, i64)>,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Bytes of it that are tables that do not count.
    pub(super) wasted: u64,
}

impl Size {
    /// Returns the size of both merged, at most.
    fn with(self, other: Self) -> Self {
        let times = match (self.times, other.times) {
            (Some((oldest, newest)), Some((older, newer))) => Some((oldest.min(older), newest.max(newer))),
            (one, other) => one.or(other),
        };
        Self {
            records: self.records + other.records,
            largest: self.largest + other.largest,
            times,
            bytes: self.bytes + other.bytes,
            wasted: self.wasted + other.wasted,
        }
    }

    fn weight(&self) -> u64 {
        self.records.max(LEAST)
    }

    /// Whether it is small enough to be forgotten as a whole.
    fn is_a_share(&self, limits: &Limits) -> bool {
        let span = self.times.map_or(0, |(oldest, newest)| newest.abs_diff(oldest));
        self.largest <= limits.most / SHARE && span <= limits.remembered.unsigned_abs() / SHARE
    }
}

/// Returns which generations are to be merged, of those with these sizes, the oldest first.
pub(super) fn to_merge(sizes: &[Size], limits: &Limits) -> Option<Range<usize>> {
    newest(sizes, limits).or_else(|| smallest(sizes)).or_else(|| wasteful(sizes))
}

fn newest(sizes: &[Size], limits: &Limits) -> Option<Range<usize>> {
    let (newest, older) = sizes.split_last()?;
    let (mut all, mut weight, mut first) = (*newest, newest.weight(), older.len());
    for size in older.iter().rev() {
        if size.weight() > weight * RATIO || !all.with(*size).is_a_share(limits) {
            break;
        }
        (all, weight, first) = (all.with(*size), weight + size.weight(), first - 1);
    }
    (first < older.len()).then_some(first..sizes.len())
}

fn smallest(sizes: &[Size]) -> Option<Range<usize>> {
    if sizes.len() <= EASY {
        return None;
    }
    let first = (0..sizes.len() - 1).min_by_key(|first| sizes[*first].weight() + sizes[first + 1].weight())?;
    Some(first..first + 2)
}

fn wasteful(sizes: &[Size]) -> Option<Range<usize>> {
    let first = sizes.iter().position(|size| size.wasted > NO_MATTER && size.wasted > size.bytes / 4)?;
    Some(first..first + 1)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::seed;

    const HOUR: i64 = 3600 * 1_000_000;

    /// Months of checkpoints, each of `ids` ids after `pause`, with one merge after each. Returns how often a record was
    /// written, and how many were remembered at the end.
    fn months(rng: &mut StdRng, ids: Range<u64>, pause: Range<i64>) -> (u64, u64) {
        let limits = Limits::default();
        let (mut list, mut now): (Vec<Size>, i64) = (Vec::new(), 0);
        let (mut all, mut written, mut kept) = (0, 0, Vec::new());
        for _ in 0..3_000 {
            let begun = now;
            now += rng.random_range(pause.clone());
            let records = rng.random_range(ids.clone());
            list.push(Size { records, largest: records, times: Some((begun, now)), bytes: records * 14, wasted: 0 });
            kept.push((now, records));
            all += records;
            assert!(list.len() <= MOST, "{list:?}");
            if let Some(range) = to_merge(&list, &limits) {
                let merged = list.drain(range.clone()).reduce(Size::with).unwrap();
                written += merged.records;
                list.insert(range.start, merged);
            }
            let tables: Vec<_> = list
                .iter()
                .map(|size| {
                    let none = TableSize { count: 0, newest: 0 };
                    [TableSize { count: size.records, newest: size.times.unwrap().1 }, none, none]
                })
                .collect();
            let mut counting = counting(&tables, &limits, now).into_iter();
            list.retain(|_| counting.next().unwrap()[0]);
            kept.retain(|(newest, _)| *newest >= now - limits.remembered);
            let promised = kept.iter().map(|(_, records)| records).sum::<u64>().min(limits.most);
            let held = list.iter().map(|size| size.records).sum::<u64>();
            assert!(held >= promised, "{held} of {promised}: {list:?}");
            assert!(held <= limits.most * 5 / 4, "{held}: {list:?}");
        }
        (written * 100 / all, list.iter().map(|size| size.records).sum())
    }

    #[test]
    fn there_are_few_generations_none_is_written_often_and_none_is_forgotten_too_early() {
        for seed in seed::fixed_and_fresh([1]) {
            let mut rng = StdRng::seed_from_u64(seed);
            for (ids, pause, most) in [
                (200_000..200_001, HOUR / 50..HOUR / 40, 500), // more than can be remembered for a week
                (100..200_000, HOUR / 10..HOUR, 500),
                (30_000..200_000, HOUR / 20..HOUR / 8, 500),
                (1_000..30_000, HOUR / 20..HOUR / 8, 1_000), // of some 15,000 each time
                (1..200_000, 1..10 * HOUR, 500),
                (1..500, HOUR..9 * HOUR, 500),
                (1..2, 1..2, u64::MAX), // so few that it is no matter
            ] {
                let (hundredths, held) = months(&mut rng, ids.clone(), pause.clone());
                println!("{ids:?}, {pause:?}: written {hundredths} % again; {held} are remembered");
                assert!(hundredths <= most, "{ids:?}, {pause:?}: {hundredths} %");
            }
        }
    }

    #[test]
    fn a_table_counts_until_it_is_too_old_or_newer_ones_hold_enough() {
        let limits = Limits { remembered: 100, ended: 10, most: 50 };
        let table = |count, newest| TableSize { count, newest };
        let generations = [
            [table(9, 60), table(1, 91), table(9, 60)],
            [table(30, 70), table(1, 89), table(0, 70)],
            [table(20, 80), table(1, 90), table(49, 80)],
        ];
        let yes_or_no = |now| counting(&generations, &limits, now);
        assert_eq!(yes_or_no(100), [[false, true, true], [true, false, false], [true, true, true]]);
        assert_eq!(yes_or_no(180), [[false; 3], [false; 3], [true, false, true]]);
    }

    #[test]
    fn a_generation_of_which_much_is_wasted_is_written_again_alone() {
        let size = |wasted| Size { records: 9_000_000, largest: 7_000_000, bytes: 100 << 20, wasted, times: None };
        let sizes = [size(0), size(30 << 20), size(20 << 20)];
        assert_eq!(to_merge(&sizes, &Limits::default()), Some(1..2));
        assert_eq!(to_merge(&[size(20 << 20), size(0)], &Limits::default()), None);
    }
}
