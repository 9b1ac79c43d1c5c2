//! What comes from outside, bent in every way: no input makes its reader panic, exhaust the stack or say nothing.
//!
//! There is no nightly compiler to be had, so this is no coverage-guided fuzzer: inputs are mutations of a corpus
//! (`tests/fuzz/corpus/`), which follow from a seed (`support/seed.rs`). What was found once is kept in the corpus.
//! `ONSIP_ROUTER_FUZZ=<number>` sets how many inputs each target gets for each seed; the usual number takes seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "fuzz/configuration.rs"]
mod configuration;
#[path = "fuzz/mutation.rs"]
mod mutation;
#[path = "fuzz/rules.rs"]
mod rules;
#[path = "support/seed.rs"]
mod seed;

use std::panic::catch_unwind;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// How many inputs each target gets for each seed, unless the environment says otherwise.
const USUAL: u64 = 3_000;
/// So many inputs of a run become seeds of further ones, besides the corpus.
const DESCENDANTS: usize = 200;
/// A larger input becomes none: it would only get larger.
const LARGEST: usize = 32 * 1024;

/// Runs a target on its corpus, and then on mutations of it.
fn fuzz(name: &str, words: &[&str], run: fn(&[u8])) {
    let count = std::env::var("ONSIP_ROUTER_FUZZ").map_or(USUAL, |count| count.parse().expect("a number"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort(); // a seed must mean the same everywhere
    let corpus: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty(), "no corpus of {name}");
    for input in &corpus {
        attempt(input, run);
    }
    for seed in seed::fixed_and_fresh([1]) {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut inputs = corpus.clone();
        for n in 0..count {
            let input = mutation::mutate(&mut dice, &inputs, words);
            attempt(&input, run);
            if n % 50 == 0 && inputs.len() < corpus.len() + DESCENDANTS && input.len() <= LARGEST {
                inputs.push(input);
            }
        }
    }
}

/// Shows the input at which the target panics.
fn attempt(input: &[u8], run: fn(&[u8])) {
    if catch_unwind(|| run(input)).is_err() {
        panic!("the input was {:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn a_rule_is_refused_or_answers_whatever_its_text() {
    fuzz("rules", rules::WORDS, rules::run);
}

#[test]
fn a_configuration_is_taken_or_its_problems_are_named_whatever_its_text() {
    fuzz("configuration", configuration::WORDS, configuration::run);
}
