//! How many instructions each step of an event takes, which tells more than time where others use the machine too:
//!
//! ```sh
//! cargo bench --bench instructions            # fails where a step takes a fifth more than instructions.txt says
//! cargo bench --bench instructions -- write   # writes instructions.txt anew
//! ```
//!
//! Counted by callgrind of Valgrind, which must be installed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement")]

use std::path::Path;
use std::process::{Command, ExitCode};

#[path = "steps/event.rs"]
mod event;

/// Rounds that are counted; a few more go before, so that what happens once is not.
const ROUNDS: u64 = 200;
const WARM: u64 = 20;
/// What a step may take, as a part of what it took once.
const BOUND: f64 = 1.2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["carry-out", step, rounds] => {
            let stage = event::Stage::set();
            let (_, step) = event::STEPS.into_iter().find(|(name, _)| *name == step).unwrap();
            (0..rounds.parse::<u64>().unwrap()).for_each(|_| step(&stage));
            ExitCode::SUCCESS
        }
        ["write"] => {
            let lines: Vec<_> = counted().map(|(name, count)| format!("{name} {count}")).collect();
            std::fs::write(file(), lines.join("\n") + "\n").unwrap();
            ExitCode::SUCCESS
        }
        _ => compare(),
    }
}

fn compare() -> ExitCode {
    let written = std::fs::read_to_string(file()).unwrap();
    let written = |name: &str| -> f64 {
        let line = written.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{} says nothing of {name}", file().display())).parse().unwrap()
    };
    let mut code = ExitCode::SUCCESS;
    for (name, count) in counted() {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let part = count as f64 / written(name);
        println!("{name}: {count} instructions for each event, {part:.2} of what they were");
        if part > BOUND {
            println!("{name}: too many. If that has to be, `cargo bench --bench instructions -- write`, and say why");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Each step with its instructions for one event.
fn counted() -> impl Iterator<Item = (&'static str, u64)> {
    event::STEPS.into_iter().map(|(name, _)| {
        let counted = instructions(name, WARM + ROUNDS) - instructions(name, WARM);
        (name, counted / (ROUNDS * event::MESSAGES as u64))
    })
}

/// All instructions of a process that carries out a step so often.
fn instructions(step: &str, rounds: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["carry-out", step, &rounds.to_string()])
        .output()
        .unwrap_or_else(|fault| panic!("valgrind cannot be run, install it: {fault}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
    collected.1.trim().parse().unwrap()
}

fn file() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt"))
}
