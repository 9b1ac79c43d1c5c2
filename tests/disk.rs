//! A disk that fills up under the daemon: it stops receiving, says so, and goes on by itself when there is space again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use onsip_router::store::Store;
use onsip_router::store::options::Options;

use support::condition::SOON;
use support::disk::Disk;
use support::stage::*;

#[tokio::test]
async fn while_the_disk_is_full_nothing_is_received_and_afterwards_nothing_is_missing() {
    let disk = Disk::mount();
    let (onsip, anna) = service_with_anna().await;
    let url = format!("sqlite://{}", disk.path().join("state.db").display());
    let setup = Setup::of(&onsip).account("front-desk", &anna).store_and_http(&url, "127.0.0.1:0").small_segments();
    let mut daemon = setup.start_active(1).await;
    daemon.until_ready().await;
    assert_eq!(daemon.count("store_writable", &[]).await, 1);
    disk.fill();
    let mut placed = Vec::new();
    for _ in 0..60 {
        placed.push(onsip.call_in(anna.as_str(), CALLER, 1));
    }
    daemon.until_metric("store_writable", &[], SOON, |writable| writable < 0.5).await;
    daemon.until_count("store_faults_total", &[("kind", "full")], 1).await;
    let (status, reasons) = daemon.readyz().await;
    assert!(status == 503 && reasons.contains("no space is left"), "{status} {reasons}");
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);

    disk.make_room();
    for call in &mut placed {
        onsip.hang_up(call);
    }
    let told = daemon.until_calls(120).await;
    daemon.until_ready().await;
    let ids: BTreeSet<_> = texts(&told, "id").into_iter().map(str::to_owned).collect();
    assert!(ids.len() == 120, "{} of 120 events", ids.len());
    assert!(daemon.log().contains("the store takes events again"), "{}", daemon.log());
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn kills_while_the_disk_is_full_lose_nothing_that_was_committed() {
    let disk = Disk::mount();
    let (onsip, anna) = service_with_anna().await;
    let url = format!("sqlite://{}", disk.path().join("state.db").display());
    let setup = Setup::of(&onsip).account("front-desk", &anna).store_and_http(&url, "127.0.0.1:0").small_segments();
    let mut daemon = setup.start_active(1).await;
    for round in 1..=5 {
        disk.fill();
        let mut placed: Vec<_> = (0..40).map(|_| onsip.call_in(anna.as_str(), CALLER, 1)).collect();
        daemon.until_metric("store_writable", &[], SOON, |writable| writable < 0.5).await;
        let kept = once(calls(daemon.events(EVENTS))).len();
        daemon.kill9().await;
        // On a full disk it starts and says so, or it refuses and says so; neither may cost what is in the database.
        daemon.launch_again();
        if round % 2 == 0 {
            daemon.until("a word about the disk", SOON, async || daemon.log().contains("no space").then_some(())).await;
        }
        daemon.kill9().await;
        disk.make_room();
        daemon.start_again().await;
        daemon.until_active(1).await;
        for call in &mut placed {
            onsip.hang_up(call);
        }
        let least = daemon.until("the end of each call", SOON, async || {
            let told = once(calls(daemon.events(EVENTS)));
            let ended = texts(&told, "type").iter().filter(|kind| **kind == "com.onsip.call.ended").count();
            (ended >= 40 * round).then_some(told.len())
        });
        assert!(least.await >= kept);
    }
    daemon.until_metric("sink_queue_events", &[], SOON, |queued| queued < 0.5).await;
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
    let told = once(calls(daemon.events(EVENTS)));
    let happened: BTreeSet<_> = told.iter().map(what_happened).collect();
    assert_eq!(happened.len(), told.len(), "something has two ids");
    // Whatever was committed is in the log still, and was delivered.
    let all = daemon.events(EVENTS);
    let all: BTreeSet<_> = texts(&all, "id").into_iter().collect();
    let committed = ids(&disk.path().join("state.events/log"));
    assert!(committed.len() >= happened.len(), "{} of {}", committed.len(), happened.len());
    let missing: Vec<_> = committed.iter().filter(|id| !all.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let store = Store::open(&Options { keep_bytes: 4 << 20, ..Options::at(url) }).await.unwrap();
    assert_eq!(store.holding().await, Ok(vec![]));
    assert_eq!(store.faults().await, Ok(vec![]));
}

/// The ids of all events in the segments of a log.
fn ids(log: &Path) -> BTreeSet<String> {
    const KEY: &[u8] = br#""id":""#;
    let mut ids = BTreeSet::new();
    for file in fs::read_dir(log).unwrap().map(|file| file.unwrap().path()) {
        let bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(KEY)) {
            let id = bytes[at + KEY.len()..].split(|byte| *byte == b'"').next().unwrap();
            ids.insert(String::from_utf8(id.to_vec()).unwrap());
        }
    }
    ids
}
