//! Mutations of inputs: bits flipped, pieces removed, repeated, exchanged between inputs, and words put in.

use rand::RngExt;
use rand::rngs::StdRng;

/// No input is made larger than this.
const LARGEST: usize = 128 * 1024;

/// Returns one of `inputs` with a few changes.
pub fn mutate(dice: &mut StdRng, inputs: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = pick(dice, inputs).clone();
    for _ in 0..dice.random_range(1..6) {
        let at = dice.random_range(0..=bytes.len());
        let most = if dice.random_bool(0.1) { 400 } else { 12 };
        let end = (at + dice.random_range(0..most)).min(bytes.len());
        match dice.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = dice.random_range(32..127),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                insert(&mut bytes, at, &piece, often(dice));
            }
            4 => {
                let other = pick(dice, inputs);
                let from = dice.random_range(0..=other.len());
                let to = (from + dice.random_range(0..200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let word = pick(dice, words);
                insert(&mut bytes, at, word.as_bytes(), often(dice));
            }
        }
    }
    bytes
}

fn pick<'a, T>(dice: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[dice.random_range(0..all.len())]
}

/// Mostly once, now and then very often.
fn often(dice: &mut StdRng) -> usize {
    if dice.random_bool(0.04) { dice.random_range(1..3000) } else { dice.random_range(1..3) }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8], times: usize) {
    if bytes.len() + piece.len() * times <= LARGEST {
        bytes.splice(at..at, piece.repeat(times));
    }
}
