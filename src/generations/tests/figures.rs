//! How many bytes are taken and how often a new key is taken for a known one. Counts, never times.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{BEGIN, adopt, call, leg, open};
use crate::disk::simulated::SimulatedDisk;
use crate::generations::{Key, Kind, MOST, New};
use crate::seed;

const EACH: usize = 6_000;

#[test]
fn sixteen_generations_take_no_more_bytes_and_false_reads_than_was_promised() {
    let mut rng = StdRng::seed_from_u64(seed::fixed(1));
    for kind in Kind::ALL {
        let disk = SimulatedDisk::new(1);
        let generations = open(disk.folder(), &[]);
        for _ in 0..MOST {
            let mut new = New { times: (BEGIN, BEGIN), ..New::default() };
            for _ in 0..EACH {
                let key = Key(rng.random());
                match kind {
                    Kind::Id => new.ids.push(key),
                    Kind::Leg => new.legs.push((key, leg(1, BEGIN))),
                    Kind::Call => new.calls.push((key, call(1))),
                }
            }
            adopt(&generations, vec![generations.write(new).unwrap()], BEGIN);
        }
        let counts = generations.counts();
        let records = (MOST * EACH) as u64;
        assert_eq!((counts.generations, counts.disk_bytes), (MOST, disk.used()));
        // The header's bytes are none of the records'.
        let disk_bytes = counts.disk_bytes - MOST as u64 * 4096;
        let promised = [14, 22, 27][kind as usize];
        assert!(disk_bytes <= promised * records, "{kind:?}: {disk_bytes} bytes on disk for {records}");
        let tenths = [120, 122, 123][kind as usize];
        let memory_bytes = counts.memory_bytes;
        assert!(memory_bytes * 80 <= tenths * records, "{kind:?}: {memory_bytes} bytes in memory for {records}");
        let taken = (0..40_000).filter(|_| generations.may_hold(kind, &Key(rng.random()))).count();
        assert!(taken <= 40_000 * 5 / 100, "{kind:?}: {taken} of 40,000 new keys were taken for known");
    }
}
