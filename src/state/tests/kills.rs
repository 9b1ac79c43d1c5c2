//! A process that is killed while it writes, at a moment that follows from a seed.

use std::hint::spin_loop;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::seed;

/// Where the process that is to be killed has its state.
const VICTIM: &str = "ONSIP_ROUTER_STATE_VICTIM";

#[tokio::test]
async fn what_was_answered_to_a_process_that_is_killed_is_there() {
    if let Ok(path) = std::env::var(VICTIM) {
        return write_until_killed(Path::new(&path)).await;
    }
    for seed in seed::fixed_and_fresh([1]) {
        let (mut dice, mut midway, place) = (StdRng::seed_from_u64(seed), 0, Place::on_disk());
        for round in 0..15 {
            let answered = kill(&place.path, dice.random_range(0..8), dice.random_range(0..400_000));
            midway += usize::from(place.read("-journal").first().is_some_and(|first| *first != 0));
            let state = place.open().await;
            assert_eq!(state.faults().await, Ok(vec![]), "round {round}");
            let loaded = state.load().await.unwrap();
            let newest = loaded.dead.get(&1).and_then(|offsets| offsets.last().copied()).unwrap_or(0);
            assert!(newest >= answered && loaded.offset >= answered, "round {round}: of {answered} there are {newest}");
            state.close().await.unwrap();
        }
        println!("{midway} of 15 were killed midway");
    }
}

/// Starts a process that writes, and kills it some moments after it was answered so many times. Returns the last offset that
/// it was given an answer for.
fn kill(path: &Path, answers: usize, moments: u32) -> u64 {
    let test = std::thread::current().name().unwrap().to_owned();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut offsets = lines.filter_map(|line| line.strip_prefix("answered ").and_then(|offset| offset.parse().ok()));
    let before: u64 = offsets.by_ref().take(answers).last().unwrap_or(0);
    (0..moments).for_each(|_| spin_loop());
    victim.kill().unwrap();
    victim.wait().unwrap();
    offsets.last().unwrap_or(before)
}

async fn write_until_killed(path: &Path) {
    let state = State::open(path, true).await.unwrap();
    let before = state.load().await.unwrap();
    let mut offset = before.dead.get(&1).and_then(|offsets| offsets.last().copied()).unwrap_or(0);
    // So that pages are written before the commit, too.
    execute(&state, "PRAGMA cache_size = 20").await;
    loop {
        offset += 1;
        let checkpoint = checkpoint(offset, offset % 50..offset % 50 + 20);
        let (buried, written) = tokio::join!(state.bury(1, vec![letter(offset, 0)]), state.checkpoint(checkpoint));
        assert_eq!((buried, written), (Ok(1), Ok(())));
        println!("answered {offset}");
    }
}
