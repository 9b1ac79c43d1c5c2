//! Folders that are not as we left them, and disks that change bits or run full.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{BEGIN, SECOND, adopt, call, key, leg, new, open, options, three};
use crate::disk::simulated::SimulatedDisk;
use crate::domain::identity::StoreId;
use crate::generations::{Generations, Kind, MOST, OpenError, Options, Outdated, ReadError, WriteError};
use crate::seed;

const NAMED: [u64; 3] = [1, 2, 3];

/// Returns the error with which opening ends, and holds it to leaving everything as it was.
fn refusal(disk: &SimulatedDisk, options: Options, named: &[u64]) -> String {
    let all =
        |disk: &SimulatedDisk| -> Vec<_> { disk.names().into_iter().map(|name| (disk.content(&name), name)).collect() };
    let before = all(disk);
    let refused = Generations::open(disk.folder(), options, named, BEGIN).map(drop).expect_err("it is refused");
    assert_eq!(before, all(disk), "something was changed");
    refused.to_string()
}

#[test]
fn a_folder_that_is_not_as_we_left_it_is_refused_with_the_name_of_the_file_and_left_as_it_is() {
    let says = |told: String, parts: &[&str]| assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    let (disk, _) = three();
    let usual = |disk: &SimulatedDisk, named: &[u64]| refusal(disk, options(), named);
    // It would be removed, and must be in no case.
    disk.put("0000000009.generation", b"torn".to_vec());

    disk.put("notes.txt", b"mine".to_vec());
    says(usual(&disk, &NAMED), &["notes.txt", "no generation", "move it"]);
    disk.take("notes.txt");
    let other = Options { store: StoreId(5), ..options() };
    says(refusal(&disk, other, &NAMED), &[".generation", "belongs to the store", "move it"]);
    says(refusal(&disk, other, &[]), &[".generation", "belongs to the store", "move it"]);
    says(usual(&disk, &[1, 2, 3, 4]), &["0000000004.generation", "missing", "put it back"]);

    for number in NAMED {
        let name = format!("{number:010}.generation");
        let whole = disk.content(&name);
        disk.take(&name);
        says(usual(&disk, &NAMED), &[&name, "missing"]);
        disk.put("0000000004.generation", whole.clone());
        says(usual(&disk, &NAMED), &["0000000004.generation", &format!("generation {number}"), "its name"]);
        disk.take("0000000004.generation");
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut changed = whole.clone();
            change(&mut changed);
            disk.put(&name, changed);
            let told = usual(&disk, &NAMED);
            disk.put(&name, whole.clone());
            told
        };
        says(changed(|bytes| bytes[3] ^= 1), &[&name, "does not begin"]);
        says(changed(|bytes| bytes.truncate(20)), &[&name, "does not begin"]);
        says(changed(Vec::clear), &[&name, "does not begin"]);
        says(changed(|bytes| bytes.truncate(bytes.len() - 1)), &[&name, "bytes, and was written with"]);
        says(changed(|bytes| bytes.push(0)), &[&name, "bytes, and was written with"]);
        says(changed(|bytes| *bytes.last_mut().unwrap() ^= 1), &[&name, "damaged at byte"]);
        says(
            changed(|bytes| {
                bytes[8] = 2;
                let sum = crc32fast::hash(&bytes[..192]);
                bytes[192..196].copy_from_slice(&sum.to_le_bytes());
            }),
            &[&name, "format 2", "format 1", "version"],
        );
    }
    Generations::open(disk.folder(), options(), &NAMED, BEGIN).unwrap();
    assert_eq!(disk.names(), ["0000000001.generation", "0000000002.generation", "0000000003.generation"]);
}

#[test]
fn a_newer_or_foreign_generation_is_refused_even_where_no_checkpoint_names_it() {
    let (disk, _) = three();
    let mut bytes = disk.content("0000000003.generation");
    bytes[8] = 2;
    let sum = crc32fast::hash(&bytes[..192]);
    bytes[192..196].copy_from_slice(&sum.to_le_bytes());
    disk.put("0000000003.generation", bytes);
    let told = refusal(&disk, options(), &[1, 2]);
    assert!(told.contains("0000000003.generation has format 2"), "{told}");
}

#[test]
fn a_flipped_bit_is_found_at_the_start_or_when_it_is_read_or_is_where_nothing_is_written() {
    let (disk, _) = three();
    let things: Vec<_> =
        (0..840).map(|number| (Kind::ALL.map(|kind| key(kind, number)), leg(number, BEGIN), call(number))).collect();
    let mut rng = StdRng::seed_from_u64(seed::fixed(3));
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for _ in 0..400 {
        let number = NAMED[rng.random_range(0..NAMED.len())];
        let name = format!("{number:010}.generation");
        let content = disk.content(&name);
        let (byte, bit) = (rng.random_range(0..content.len()), rng.random_range(0..8));
        disk.flip(&name, byte, bit);
        match Generations::open(disk.folder(), options(), &NAMED, BEGIN) {
            Err(OpenError::Header(damaged) | OpenError::Damaged { name: damaged, .. }) => {
                assert_eq!(damaged, name);
                refused += 1;
            }
            Err(fault) => panic!("{fault}"),
            Ok(generations) => {
                let mut faults = Vec::new();
                for (keys, leg, call) in &things {
                    let right = [
                        generations.find_id(&keys[0]),
                        generations.find_leg(&keys[1]).map(|found| found == Some(*leg)),
                        generations.find_call(&keys[2]).map(|found| found == Some(*call)),
                    ];
                    for right in right {
                        match right {
                            Ok(right) => assert!(right, "byte {byte} of {name}"),
                            Err(fault) => faults.push(fault),
                        }
                    }
                }
                assert_eq!(faults.is_empty(), generations.check().is_ok());
                if faults.is_empty() {
                    assert_eq!(content[byte], 0, "byte {byte} of {name}");
                    harmless += 1;
                }
                for fault in &faults {
                    let ReadError::Damaged { name: damaged, position } = fault else { panic!("{fault}") };
                    let near = *position <= byte as u64 && (byte as u64) < position + 4096;
                    assert!(*damaged == name && near, "byte {byte} of {name}: {fault}");
                }
                told += usize::from(!faults.is_empty());
            }
        }
        disk.flip(&name, byte, bit);
    }
    assert!(refused > 20 && told > 100 && harmless > 20, "{refused} {told} {harmless}");
    open(disk.folder(), &NAMED).check().unwrap();
}

#[test]
fn a_block_that_lies_in_the_place_of_another_one_is_damaged() {
    let (disk, _) = three();
    let one = disk.content("0000000001.generation");
    let mut swapped = one.clone();
    // The first two blocks of ended legs, both full; 500 ids take two blocks.
    let (first, second) = (3 * 4096, 4 * 4096);
    swapped[first..first + 4084].copy_from_slice(&one[second..second + 4084]);
    assert_ne!(one, swapped);
    disk.put("0000000001.generation", swapped);
    assert!(open(disk.folder(), &NAMED).check().is_err());
    // Nor is a block of another generation valid.
    let mut foreign = disk.content("0000000002.generation");
    foreign[4096..8192].copy_from_slice(&one[4096..8192]);
    disk.put("0000000001.generation", one);
    disk.put("0000000002.generation", foreign);
    assert!(open(disk.folder(), &NAMED).check().is_err());
}

#[test]
fn on_a_full_disk_nothing_is_written_and_all_is_found() {
    let (disk, generations) = three();
    let used = disk.used();
    for room in [0, 5_000, 30_000] {
        disk.leave_room(room);
        let fault = generations.write(new(900..2_000, BEGIN)).map(drop).expect_err("it is full");
        assert!(matches!(fault, WriteError::Full(_)), "{fault}");
        let fault = generations.merge(BEGIN).map(drop).expect_err("it is full");
        assert!(matches!(fault, WriteError::Full(_)), "{fault}");
        assert_eq!((disk.used(), generations.numbers()), (used, NAMED.to_vec()));
    }
    assert!((0..840).all(|number| generations.find_id(&key(Kind::Id, number)).unwrap()));
    disk.leave_room(u64::MAX / 2);
    let merged = generations.merge(BEGIN).unwrap().unwrap();
    adopt(&generations, vec![merged], BEGIN);
    assert!((0..840).all(|number| generations.find_id(&key(Kind::Id, number)).unwrap()));
}

#[test]
fn after_a_failed_sync_no_draft_is_left_and_all_is_found() {
    let (disk, generations) = three();
    let before = disk.names();
    disk.fail_sync_in(0);
    let fault = generations.write(new(900..950, BEGIN)).map(drop).expect_err("it is not on the disk");
    assert!(matches!(fault, WriteError::Io { .. }), "{fault}");
    assert_eq!((disk.names(), generations.numbers()), (before, NAMED.to_vec()));
    assert!((0..840).all(|number| generations.find_id(&key(Kind::Id, number)).unwrap()));
}

#[test]
fn a_list_that_was_made_of_an_older_one_is_not_adopted() {
    let (_, generations) = three();
    let older = generations.next(Vec::new(), BEGIN);
    adopt(&generations, vec![generations.write(new(900..910, BEGIN)).unwrap()], BEGIN);
    assert_eq!(generations.adopt(older), Err(Outdated));
    assert!(generations.find_id(&key(Kind::Id, 905)).unwrap());
}

#[test]
fn who_looks_up_while_files_are_removed_goes_on_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let directory = std::sync::Arc::new(crate::disk::Directory::open(folder.path()).unwrap());
    let generations = open(directory, &[]);
    for first in [0, 500] {
        adopt(&generations, vec![generations.write(new(first..first + 500, BEGIN)).unwrap()], BEGIN);
    }
    let older = generations.list();
    adopt(&generations, vec![generations.merge(BEGIN).unwrap().unwrap()], BEGIN);
    assert_eq!((generations.numbers(), std::fs::read_dir(folder.path()).unwrap().count()), (vec![3], 1));
    for number in 0..1_000 {
        let found = |one: &crate::generations::generation::Generation| {
            one.find(Kind::Id, &key(Kind::Id, number)).unwrap().is_some()
        };
        assert!(older.iter().any(found) && generations.find_id(&key(Kind::Id, number)).unwrap());
    }
}

#[test]
fn drafts_that_are_discarded_leave_no_file_and_change_nothing() {
    let (disk, generations) = three();
    let before = disk.names();
    let drafts = vec![generations.write(new(900..950, BEGIN)).unwrap(), generations.merge(BEGIN).unwrap().unwrap()];
    generations.discard(generations.next(drafts, BEGIN));
    assert_eq!((disk.names(), generations.numbers()), (before, NAMED.to_vec()));
}

#[test]
fn there_are_never_more_generations_than_may_be_even_if_nobody_merges() {
    let disk = SimulatedDisk::new(1);
    let generations = open(disk.folder(), &[]);
    for first in 0..40 {
        let draft = generations.write(new(first * 10..first * 10 + 10, BEGIN)).unwrap();
        adopt(&generations, vec![draft], BEGIN);
        assert!(generations.numbers().len() <= MOST);
    }
    assert!((0..400).all(|number| generations.find_id(&key(Kind::Id, number)).unwrap()));
    assert_eq!(disk.names().len(), MOST);
    // If others are merged meanwhile, nothing is lost, and nothing is there twice.
    let merged = generations.merge(BEGIN).unwrap().unwrap();
    let written = generations.write(new(400..410, BEGIN)).unwrap();
    adopt(&generations, vec![merged, written], BEGIN);
    assert!((0..410).all(|number| generations.find_id(&key(Kind::Id, number)).unwrap()));
    assert!(generations.numbers().len() < MOST && generations.counts().ids == 410);
}

#[test]
fn what_is_too_old_is_forgotten_and_its_files_are_removed() {
    let (disk, generations) = three();
    let found = |number| {
        let keys = Kind::ALL.map(|kind| key(kind, number));
        (
            generations.find_id(&keys[0]).unwrap(),
            generations.find_leg(&keys[1]).unwrap().is_some(),
            generations.find_call(&keys[2]).unwrap().is_some(),
        )
    };
    let day = 24 * 3600 * SECOND;
    adopt(&generations, Vec::new(), BEGIN + day);
    assert_eq!(found(7), (true, true, true));
    adopt(&generations, Vec::new(), BEGIN + day + 1);
    assert_eq!((found(7), generations.counts().legs), ((true, false, true), 0));
    // A merge leaves them out, and is of what is left.
    let before = generations.counts();
    adopt(&generations, vec![generations.merge(BEGIN + day + 1).unwrap().unwrap()], BEGIN + day + 1);
    let after = generations.counts();
    assert_eq!((after.generations, after.ids, after.calls, after.legs), (1, before.ids, before.calls, 0));
    assert!(after.disk_bytes < before.disk_bytes, "{before:?} {after:?}");
    adopt(&generations, Vec::new(), BEGIN + 7 * day);
    assert_eq!(found(7), (true, false, true));
    adopt(&generations, Vec::new(), BEGIN + 7 * day + 1);
    assert_eq!((found(7), generations.numbers(), disk.names()), ((false, false, false), Vec::new(), Vec::new()));
}
