//! The queue without anything around it.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use onsip_router::domain::identity::Token;
use onsip_router::domain::moment::Moment;
use onsip_router::domain::name::SinkName;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Pick, Settlement, Store};

use super::parcels::parcel;
use super::{Figure, Watch, sinks};

/// Events of one batch, as a connection hands over what it read at once.
const BATCH: usize = 256;
/// Batches that wait at the same time, as several connections do.
const CALLERS: usize = 16;

pub fn options(folder: &Path) -> Options {
    Options::at(format!("sqlite://{}", folder.join("router.db").display()))
}

/// So far acceptance may be ahead of the slowest sink: both are measured, and neither waits for long.
pub const AHEAD: u64 = 8192;

/// `count` events in batches, owed to `sinks`; four events to a call.
pub fn commits(name: &str, count: usize, sinks: &[SinkName]) -> Vec<Commit> {
    let event = |number: usize| {
        let parcel = parcel(number / 4, number, 0);
        CommitEvent {
            id: Token::of([name, &parcel.id]),
            partition: Token::of([name, &parcel.partition]).to_string(),
            received: Timestamp::UNIX_EPOCH,
            body: parcel.body,
            owed: sinks.to_vec(),
        }
    };
    let batch = |number: usize| (number * BATCH..(number + 1) * BATCH).map(event).collect();
    (0..count / BATCH).map(|number| Commit { events: batch(number), ..Commit::default() }).collect()
}

/// Commits all of it, received now, several at a time. Group commits are the store's.
pub async fn commit(store: &Store, commits: Vec<Commit>, room: impl AsyncFn()) {
    let waiting = tokio::sync::Semaphore::new(CALLERS);
    let waiting = std::sync::Arc::new(waiting);
    for mut commit in commits {
        room().await;
        let place = std::sync::Arc::clone(&waiting).acquire_owned().await.unwrap();
        for event in &mut commit.events {
            event.received = Moment::now().utc();
        }
        let store = store.clone();
        tokio::spawn(async move {
            store.commit(commit).await.unwrap();
            drop(place);
        });
    }
    drop(waiting.acquire_many(u32::try_from(CALLERS).unwrap()).await.unwrap());
}

/// How many a second are accepted and owed to one sink.
pub async fn accepted(count: usize) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&options(folder.path())).await.unwrap();
    let commits = commits("accepted", count, &sinks(["one", "two", "three"]));
    let (count, start) = (commits.len() * BATCH, Watch::start());
    commit(&store, commits, async || ()).await;
    let rate = start.stop(count);
    store.close().await.unwrap();
    rate
}

/// How many a second go all the way with three sinks that do nothing, all at the same time.
pub async fn whole_way(count: usize) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&options(folder.path())).await.unwrap();
    let sinks = sinks(["one", "two", "three"]);
    let commits = commits("way", count, &sinks);
    let (count, start) = (commits.len() * BATCH, Watch::start());
    let deliver = sinks.iter().map(|sink| take(store.clone(), sink.clone(), count)).map(tokio::spawn);
    let room = async || until_at_most(&store, &sinks, AHEAD).await;
    let (taken, ()) = tokio::join!(futures::future::join_all(deliver), commit(&store, commits, room));
    taken.into_iter().for_each(Result::unwrap);
    let rate = start.stop(count);
    store.close().await.unwrap();
    rate
}

/// Waits until none of `sinks` is owed more.
pub async fn until_at_most(store: &Store, sinks: &[SinkName], most: u64) {
    for sink in sinks {
        while store.depth(sink).await.unwrap().events > most {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn take(store: Store, sink: SinkName, count: usize) {
    let mut settled = 0;
    while settled < count {
        let pick = Pick { after: 0, until: i64::MAX, without: Vec::new(), first_below: None, limit: 4096 };
        let due = store.pick(&sink, &pick).await.unwrap();
        settled += due.len();
        let delivered = due.iter().map(|owed| (owed.position, Settlement::Delivered)).collect();
        store.settle(&sink, delivered).await.unwrap();
        if due.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
