//! Tests that cannot hide a fault: what no test may do, held against every test there is.
//!
//! A test that passes at the second try, after a while, on a quiet machine or with lucky numbers proves nothing. So there
//! are no second tries and no ignored tests; what must not happen is shown by something that must come after it; what
//! takes too long is told by the daemon's own measurements; and chance has a seed that is printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use source::{Token, files, root, tests_only, tokens};

/// What a test may not say, as tokens, and what to do in its place.
const FORBIDDEN: [(&[&str], &str); 10] = [
    (&["sleep", "("], "wait for something that must come (support/condition.rs)"),
    (&["sleep_until", "("], "wait for something that must come (support/condition.rs)"),
    (&[",", "|", "_", "|", "false", ")"], "waiting for what never comes is a sleep"),
    (&["#", "[", "ignore"], "a test that does not run proves nothing"),
    (
        &["elapsed", "(", ")", "<"],
        "a busy machine breaks it: take the daemon's own measurements, counts or virtual time",
    ),
    (&["rand", "::", "random"], "take a seed that is printed (support/seed.rs)"),
    (&["rand", "::", "random_range"], "take a seed that is printed (support/seed.rs)"),
    (&["rand", "::", "rng", "("], "take a seed that is printed (support/seed.rs)"),
    (&["from_os_rng", "("], "take a seed that is printed (support/seed.rs)"),
    (&["proptest", "!", "{"], "write `properties!`, which has seeds (support/seed.rs)"),
];

/// Where it is no excuse: file, the word, how often, and why.
const ALLOWED: [(&str, &str, usize, &str); 11] = [
    ("src/actors/router/tests.rs", "sleep", 1, "between two looks at a condition"),
    ("src/actors/sink/tests.rs", "sleep", 1, "between two looks at a condition"),
    ("src/actors/tests.rs", "sleep", 1, "between two looks at a condition"),
    ("src/simulator/over_tcp.rs", "sleep", 3, "between two looks at a condition"),
    ("tests/contract/clauses.rs", "sleep", 1, "the server is killed at some moment"),
    ("tests/contract/mosquitto.rs", "sleep", 1, "between two tries to connect"),
    ("tests/kills.rs", "sleep", 2, "the daemon is killed at some moment, which follows from the seed"),
    ("tests/support/condition.rs", "sleep", 1, "between two looks at a condition"),
    ("tests/support/seed.rs", "rand", 2, "the fresh seed"),
    ("tests/regressions/delivery.rs", "sleep", 1, "the receiver is slow"),
    ("tests/webhook/order.rs", "sleep", 1, "the receiver is slow"),
];

#[test]
fn e2_e3_e4_no_test_hides_a_fault() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} files with tests were read", sources.len());
    let mut found = Vec::new();
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (path, tokens) in &sources {
        for (line, word, why) in breaches(tokens) {
            *counts.entry((path.clone(), word)).or_default() += 1;
            found.push((path, word, format!("{path}:{line}: {word}: {why}")));
        }
    }
    let allowed = |path: &str, word: &str| {
        ALLOWED.iter().find(|(file, of, ..)| *file == path && *of == word).map_or(0, |(_, _, count, _)| *count)
    };
    found.retain(|(path, word, _)| counts[&((*path).clone(), *word)] > allowed(path, word));
    let told: Vec<_> = found.into_iter().map(|(_, _, told)| told).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn e1_no_runner_gives_a_second_try() {
    for name in [".config/nextest.toml", "tests/run", ".ci/run"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        assert_eq!(second_tries(&text), [""; 0], "{name}");
    }
}

// ---- the check on planted samples ---------------------------------------------------------------------------------

fn found(text: &str) -> Vec<(usize, &'static str)> {
    breaches(&tokens(text)).into_iter().map(|(line, word, _)| (line, word)).collect()
}

#[test]
fn a_planted_breach_is_found_with_its_line() {
    assert_eq!(found("fn f() {\n    sleep(SECOND).await;\n}"), [(2, "sleep")]);
    for text in [
        "tokio::time::sleep(Duration::from_secs(1)).await;",
        "std::thread::sleep(pause)",
        "tokio::time::sleep_until(end).await",
        "onsip.until(SECOND, |_| false).await",
        "#[test]\n#[ignore]\nfn f() {}",
        "#[ignore = \"flaky\"]",
        "assert!(begun.elapsed() < LONG);",
        "assert!(begun.elapsed() <= LONG);",
        "let seed: u64 = rand::random();",
        "rand::random_range(0..5)",
        "let mut dice = rand::rng();",
        "StdRng::from_os_rng()",
        "proptest! {\n    #[test]\n    fn f(a in 0..5) {}\n}",
    ] {
        assert_eq!(found(text).len(), 1, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_is_no_breach() {
    for text in [
        "// sleep(1)",
        "const S: &str = \"sleep(\";",
        "let sleep = 1;",
        "assert!(begun.elapsed() >= LONG);",
        "StdRng::seed_from_u64(seed)",
        "list.all(|_| false)",
        "proptest::proptest!(config, |(a in 0..5)| {})",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_planted_second_try_is_found() {
    for text in [
        "[profile.default]\nretries = 2",
        "cargo nextest run --retries 3",
        "retries = { backoff = \"fixed\", count = 1 }",
    ] {
        assert_eq!(second_tries(text).len(), 1, "{text}");
    }
    assert_eq!(second_tries("# no retries\ncargo nextest run"), [""; 0]);
}

#[test]
fn the_tests_within_a_file_are_read_and_the_code_beside_them_is_not() {
    let text = "fn f() { sleep(1) }\n#[cfg(test)]\nmod tests {\n    fn g() { sleep(2) }\n}\nfn h() { sleep(3) }";
    let found: Vec<_> = breaches(&tests_only(&tokens(text))).into_iter().map(|(line, ..)| line).collect();
    assert_eq!(found, [4]);
}

// ---- reading ------------------------------------------------------------------------------------------------------

/// Line, word and reason of everything forbidden.
fn breaches(tokens: &[Token]) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        for (pattern, why) in FORBIDDEN {
            let rest = tokens[at..].iter().map(|token| token.text.as_str());
            if rest.take(pattern.len()).eq(pattern.iter().copied()) {
                let word = pattern.iter().find(|word| source::is_word(word) && **word != "_").copied();
                found.push((tokens[at].line, word.unwrap_or_default(), why));
            }
        }
    }
    found
}

/// The lines that say how often a failed test is tried again.
fn second_tries(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter(|line| line.contains("retries")).collect()
}

/// The tests: all of `tests/`, and of `src/` what is only there for them.
fn sources() -> Vec<(String, Vec<Token>)> {
    let read = |path: &PathBuf| tokens(&fs::read_to_string(path).unwrap());
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let code = files(&root().join("src"));
    let declared: BTreeSet<_> = code.iter().flat_map(|path| test_modules(path, &read(path))).collect();
    let of_code = code.iter().map(|path| {
        let module = path.with_extension("");
        let all = declared.iter().any(|test| module.starts_with(test));
        (name(path), if all { read(path) } else { tests_only(&read(path)) })
    });
    let tests = files(&root().join("tests"));
    of_code.chain(tests.iter().map(|path| (name(path), read(path)))).filter(|(_, tokens)| !tokens.is_empty()).collect()
}

/// The places of the modules that a file declares as `#[cfg(test)] mod name;`, without extension.
fn test_modules(path: &Path, tokens: &[Token]) -> Vec<PathBuf> {
    let root = path.file_stem().is_some_and(|stem| stem == "lib" || stem == "main");
    let folder = if root { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let tests = tests_only(tokens);
    let declarations = tests.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    declarations.map(|three| folder.join(&three[1].text)).collect()
}
