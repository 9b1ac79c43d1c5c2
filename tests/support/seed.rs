//! Seeds of the tests that leave something to chance.
//!
//! Such a test runs with seeds that are the same in every run, so that what passed once passes again, and with one that
//! nobody tried before. Each seed is printed before it is used; the test runner shows that line when the test fails.
//! `ONSIP_ROUTER_SEED=<the number>` makes every test use that seed and no other.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the library's own tests and each test crate use a part of it"
)]

use proptest::test_runner::{Config, RngSeed};

/// The environment variable that holds the only seed to use.
pub const VARIABLE: &str = "ONSIP_ROUTER_SEED";

/// Returns `fixed` and a fresh seed, or only the seed that the environment names. Each is printed when its turn comes.
pub fn fixed_and_fresh<const N: usize>(fixed: [u64; N]) -> impl Iterator<Item = u64> {
    let seeds = given().map_or_else(|| fixed.into_iter().chain([rand::random()]).collect(), |seed| vec![seed]);
    seeds.into_iter().map(told)
}

/// Returns `seed`, or the one that the environment names, and prints it.
pub fn fixed(seed: u64) -> u64 {
    told(given().unwrap_or(seed))
}

/// Returns a seed nobody tried before, or the one that the environment names, and prints it.
pub fn fresh() -> u64 {
    told(given().unwrap_or_else(rand::random))
}

/// Returns what a property is tried with: `cases` inputs that follow from a fixed seed, and as many from a fresh one.
pub fn configurations(cases: u32) -> impl Iterator<Item = Config> {
    fixed_and_fresh([1]).map(move |seed| Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None, // the seed says it all
        ..Config::default()
    })
}

/// Properties that must hold for every input, written as in `proptest!`, each tried with [`configurations`].
macro_rules! properties {
    (cases: $cases:literal; $($(#[$attribute:meta])* fn $name:ident($($input:tt)*) $body:block)+) => {
        $($(#[$attribute])*
        fn $name() {
            for configuration in $crate::seed::configurations($cases) {
                proptest::proptest!(configuration, |($($input)*)| $body);
            }
        })+
    };
}
pub(crate) use properties;

fn given() -> Option<u64> {
    let seed = std::env::var(VARIABLE).ok()?;
    Some(seed.parse().unwrap_or_else(|_| panic!("{VARIABLE} is no number: {seed}")))
}

fn told(seed: u64) -> u64 {
    println!("{VARIABLE}={seed} repeats what follows");
    seed
}
