//! What a contestant written in Rust counts, and how it is asked for it: a line in, a line out, as with the others.
//!
//! `expect FIRST LEGS BYTES TIMES` is answered with `expecting`; a line of JSON follows once everything is there, or after
//! `report`. The end of the input ends the contestant.

use std::sync::{Arc, Mutex};

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::EVENTS_PER_LEG;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;

use super::notification::Event;

const STEPS: usize = 3;
const _: () = assert!(STEPS as u64 == EVENTS_PER_LEG);
/// As many as the router has by default.
const CONCURRENT_LOGINS: usize = 50;

#[derive(Default)]
struct Counted {
    first: u64,
    seen: Vec<u8>,
    /// UTC in microseconds, by event; empty if nobody wants it.
    at: Vec<i64>,
    bytes: (u64, u64),
    distinct: usize,
    duplicated: u64,
    out_of_order: u64,
    waiting_for: usize,
    told: bool,
}

/// Shared by all sessions of a contestant.
pub struct Tally {
    counted: Mutex<Counted>,
    pub logins: Semaphore,
}

impl Tally {
    pub fn of(accounts: usize) -> Arc<Self> {
        let counted = Mutex::new(Counted { waiting_for: accounts, told: true, ..Counted::default() });
        Arc::new(Self { counted, logins: Semaphore::new(CONCURRENT_LOGINS) })
    }

    /// One more account gets its events.
    pub fn subscribed(&self) {
        let mut counted = self.counted.lock().unwrap();
        counted.waiting_for -= 1;
        if counted.waiting_for == 0 {
            println!("subscribed");
        }
    }

    pub fn event(&self, event: &Event) {
        std::hint::black_box((&event.node, &event.publish_time, &event.call_id, &event.from_uri, &event.to_uri));
        let mut counted = self.counted.lock().unwrap();
        let Some(leg) = event.leg().and_then(|leg| leg.checked_sub(counted.first)) else { return };
        let (begin, step) = (usize::try_from(leg).unwrap() * STEPS, event.step());
        let Some(seen) = counted.seen.get_mut(begin..begin + STEPS) else { return };
        let twice = std::mem::replace(&mut seen[step], 1) != 0;
        let disordered = seen[step + 1..].contains(&1);
        counted.duplicated += u64::from(twice);
        counted.out_of_order += u64::from(disordered && !twice);
        counted.distinct += usize::from(!twice);
        if !counted.at.is_empty() && !twice {
            counted.at[begin + step] = Moment::now().utc().as_microsecond();
        }
        if counted.distinct == counted.seen.len() {
            counted.tell();
        }
    }

    /// Of a contestant that counts nothing else.
    pub fn bytes(&self, count: usize) {
        let mut counted = self.counted.lock().unwrap();
        counted.bytes.0 += count as u64;
        if counted.bytes.1 != 0 && counted.bytes.0 >= counted.bytes.1 {
            let events = counted.seen.len();
            counted.distinct = events;
            counted.tell();
        }
    }

    /// Does what standard input says.
    pub async fn obey(&self) {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let words: Vec<&str> = line.split(' ').collect();
            let mut counted = self.counted.lock().unwrap();
            match words.as_slice() {
                ["expect", first, legs, bytes, times] => {
                    let events = legs.parse::<usize>().unwrap() * STEPS;
                    *counted = Counted {
                        first: first.parse().unwrap(),
                        seen: vec![0; events],
                        at: if *times == "1" { vec![0; events] } else { Vec::new() },
                        bytes: (0, bytes.parse().unwrap()),
                        ..Counted::default()
                    };
                    println!("expecting");
                }
                _ => counted.tell(),
            }
        }
    }
}

impl Counted {
    fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            let lost = self.seen.len() - self.distinct;
            let Self { distinct, duplicated, out_of_order, at, .. } = self;
            println!(
                "{}",
                json!({
                    "events": distinct, "lost": lost, "duplicated": duplicated, "out_of_order": out_of_order, "at": at
                })
            );
        }
    }
}
