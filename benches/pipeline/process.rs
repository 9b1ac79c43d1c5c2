//! What the system says of a contestant's process.

use std::collections::BTreeMap;
use std::fs;

#[path = "../fleet/process.rs"]
mod whole;

pub use whole::{processor, resident};

/// Most memory that was ever resident, in KiB, since [`forget_peak`].
pub fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Lets the peak begin anew.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Ticks of processor time so far, by name of thread.
pub fn threads(pid: u32) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // A thread may end while we look.
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (head, rest) = stat.rsplit_once(')').unwrap();
        let name = head.split_once('(').unwrap().1.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        let fields: Vec<&str> = rest.trim_start().split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        *all.entry(name.to_owned()).or_default() += ticks;
    }
    all
}
