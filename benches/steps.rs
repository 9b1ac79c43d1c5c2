//! How long each step of an event takes: `cargo bench --bench steps` prints them for a batch of 16 events.
//!
//! The steps that only compute are also counted, instruction by instruction, by `cargo bench --bench instructions`.
#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use onsip_router::domain::identity::Token;
use onsip_router::domain::moment::Moment;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Store};

#[path = "steps/event.rs"]
mod event;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let stage = event::Stage::set();
    let mut group = criterion.benchmark_group("steps");
    group.throughput(Throughput::Elements(event::MESSAGES as u64));
    for (name, step) in event::STEPS {
        group.bench_function(name, |bencher| bencher.iter(|| step(&stage)));
    }
    // Durable: the disk takes its part of this.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("router.db").display());
    let store = runtime.block_on(Store::open(&Options::at(url))).unwrap();
    let mut count = 0;
    group.bench_function("commit", |bencher| {
        bencher.iter_batched(
            || {
                count += 1;
                commit(count)
            },
            |commit| runtime.block_on(store.commit(commit)).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    criterion.final_summary();
}

fn commit(round: usize) -> Commit {
    let body: Arc<str> = format!(r#"{{"data":"{}"}}"#, "x".repeat(1000)).into();
    let event = |n: usize| CommitEvent {
        id: Token::of([round.to_string().as_str(), n.to_string().as_str()]),
        partition: "0123456789abcdef0123456789abcdef".to_owned(),
        received: Moment::now().utc(),
        body: body.clone(),
        owed: Vec::new(),
    };
    Commit { events: (0..event::MESSAGES).map(event).collect(), ..Commit::default() }
}
