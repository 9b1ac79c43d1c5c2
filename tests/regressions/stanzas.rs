//! Hostile stanzas, and a store that fails.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::BareJid;
use serde_json::Value;

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::program;
use crate::support::receiver::{Receiver, status};
use crate::support::stage::*;

/// A message of the service to `jid` with this in its event.
fn message(jid: &BareJid, inner: &str) -> String {
    format!(
        "<message xmlns='jabber:client' from='{CALLS}' to='{}'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
         {inner}</event></message>",
        own(jid)
    )
}

fn retracts(node: &str, name: &str, count: usize) -> String {
    let mut text = format!("<items node='{node}'>");
    for n in 0..count {
        let _ = write!(text, "<retract id='{name}{n}'/>");
    }
    text + "</items>"
}

/// What stands between the daemon and the system: `shim-sync-fails` in its folder has every sync fail, and `shim-clock` sets
/// the clock by so many seconds (`SHIM_CLOCK` does until that file is there).
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int broken(void) { return access("shim-sync-fails", F_OK) == 0; }
int fsync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int said = real(id, time);
    if (id == CLOCK_REALTIME && said == 0) {
        char text[32] = {0};
        int kept = errno, file = open("shim-clock", O_RDONLY);
        if (file >= 0) {
            if (read(file, text, 31) > 0) time->tv_sec += atol(text);
            close(file);
        } else if (getenv("SHIM_CLOCK")) {
            time->tv_sec += atol(getenv("SHIM_CLOCK"));
        }
        errno = kept;
    }
    return said;
}
"#;

/// Builds the shim; what is built lies in a folder that goes with the test.
fn shim() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let (source, built): (PathBuf, PathBuf) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&built, &source]).arg("-ldl").status().unwrap();
    assert!(made.success(), "cc is there where Rust links");
    let built = built.display().to_string();
    (folder, built)
}

#[tokio::test]
async fn c1_two_messages_that_no_database_can_take_stop_nobody() {
    let onsip = service().await;
    let (anna, bert) = (account(&onsip, "anna@acme.test"), account(&onsip, "bert@acme.test"));
    let setup = Setup::of(&onsip).account("hostile", &anna).account("healthy", &bert);
    let mut daemon = setup.start_active(2).await;
    let node = "n".repeat(90_000);
    for name in ["a", "b"] {
        onsip.inject(&anna, &message(&anna, &retracts(&node, name, 5_500)));
    }
    let mut call = onsip.call_in(bert.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    assert_eq!(daemon.until_calls(2).await.len(), 2);
    daemon.until_count("events_rejected_total", &[("reason", "oversize")], 2).await;
    // A name that is as long as it may be, and as many parts as there are.
    onsip.inject(&anna, &message(&anna, &retracts(&node[..1_023], "c", 5_500)));
    let mut last = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut last);
    let ended = last.legs[0].item_id.clone();
    daemon
        .until("what came behind it", SOON, async || {
            let events = daemon.events(EVENTS);
            let of_it = events.iter().filter(|event| event["data"]["item_id"] == ended.as_str()).count();
            (of_it == 2).then_some(())
        })
        .await;
    assert_eq!(daemon.count("store_faults_total", &[]).await, 0);
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
}

#[tokio::test]
async fn c2_d20_hostile_neighbours_cost_little_memory_and_a_healthy_account_no_time() {
    let onsip = service().await;
    let hostile: Vec<_> = (1..=5).map(|n| account(&onsip, &format!("hostile-{n}@acme.test"))).collect();
    let bert = account(&onsip, "bert@acme.test");
    let mut setup = Setup::of(&onsip).account("healthy", &bert).section("[log]\nlevel = \"debug\"");
    for (n, jid) in hostile.iter().enumerate() {
        setup = setup.account(&format!("hostile-{n}"), jid);
    }
    let mut daemon = setup.start_active(6).await;
    let long = "n".repeat(1_000);
    let deep = "<a>".repeat(50) + &"</a>".repeat(50);
    let attributes = (0..20_000).map(|n| format!("a{n}='' ")).collect::<Vec<_>>().concat();
    let call = "<active-call xmlns='onsip:active-calls'><dialog-state>created</dialog-state></active-call>";
    let items = (0..1_500).map(|n| format!("<item id='i{n}'>{call}</item>")).collect::<Vec<_>>().concat();
    let display = format!(
        "<items node='/x'><item id='d'><active-call xmlns='onsip:active-calls'><dialog-state>created</dialog-state>\
         <to-display>{}</to-display></active-call></item></items>",
        "&lt;".repeat(60_000)
    );
    let namespace = "u".repeat(100_000);
    let inner = [
        retracts(&"n".repeat(80_000), "a", 5_000),
        retracts(&long, "b", 5_000),
        retracts("/x", "c", 10_000),
        format!("<items node='{long}'>{items}</items>"),
        "<purge node='/x'/>".repeat(10_000),
        "<subscription node='/x' subscription='none' subid='1'/>".repeat(4_000),
        display,
        format!("<items node='/x'><item id='e'>{}</item></items>", deep.repeat(600)),
        format!("<items node='/x'><item id='f' {attributes}/></items>"),
        format!("<items node='/x' xmlns:x='{namespace}'>{}</items>", "<x:item/>".repeat(10_000)),
    ];
    let mut placed = Vec::new();
    for text in &inner {
        for jid in &hostile {
            onsip.inject(jid, &message(jid, text));
            // A tree, by the way of answers.
            let tree = format!("<iq xmlns='jabber:client' type='result' id='x'>{}</iq>", "<a/>".repeat(40_000));
            onsip.inject(jid, &tree);
        }
        let mut call = onsip.call_in(bert.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        placed.push(call.legs[0].item_id.clone());
    }
    let told = |daemon: &Daemon| -> Vec<Value> {
        let events = daemon.events(EVENTS).into_iter();
        events.filter(|event| placed.iter().any(|id| event["data"]["item_id"] == id.as_str())).collect()
    };
    let healthy =
        daemon.until("the healthy calls", SOON, async || Some(told(&daemon)).filter(|told| told.len() == 20)).await;
    // And when everything is done, nothing has failed. The last call of each comes behind all that it was sent.
    for jid in &hostile {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        let id = call.legs[0].item_id.clone();
        daemon
            .until("the last call of a hostile account", SOON, async || {
                let events = daemon.events(EVENTS);
                (events.iter().filter(|event| event["data"]["item_id"] == id.as_str()).count() == 2).then_some(())
            })
            .await;
    }
    // By the daemon's own clock, from the receipt to the commit.
    let (said, mut longest) = (daemon.log(), SignedDuration::ZERO);
    for event in &healthy {
        let id = event["id"].as_str().unwrap();
        let received: Timestamp = event["data"]["received_at"].as_str().unwrap().parse().unwrap();
        let line = said.lines().find(|line| line.contains(id) && line.contains("event committed")).unwrap();
        let committed: Timestamp = line.split_whitespace().next().unwrap().parse().unwrap();
        let waited = committed.duration_since(received);
        assert!(waited.as_secs_f64() < 1.0, "{waited:#} of {line}");
        longest = longest.max(waited);
    }
    assert_eq!(daemon.count("store_faults_total", &[]).await, 0);
    // A node is shown once for many events of one message.
    let of_long = daemon.events(EVENTS).iter().filter(|event| event["data"]["node"] == long.as_str()).count();
    let shown = said.lines().filter(|line| line.contains("event committed") && line.contains(&long)).count();
    assert!(shown > 0 && shown * 5 < of_long, "{shown} times for {of_long} events");
    let peak = daemon.peak_memory();
    println!("a healthy event waited {longest:#} at most; the process took {peak} KiB at most");
    assert!(peak < 200 * 1024, "{peak} KiB at most");
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
}

#[tokio::test]
async fn a7_a_sync_that_fails_ends_the_daemon_and_nothing_is_acknowledged_or_lost() {
    let (_built, shim) = shim();
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |behaviour| behaviour.resumable_for = Some(std::time::Duration::from_mins(5)));
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let mut daemon = Daemon::start(&setup.toml(), &[("LD_PRELOAD", &shim)]).await;
    daemon.until_active(1).await;
    let mut first = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    daemon.until_settled().await;
    fs::write(daemon.folder().join("shim-sync-fails"), "").unwrap();
    onsip.hang_up(&mut first);
    let ended = daemon.exit(SOON).await;
    assert_eq!(ended.code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("the store has failed for good") && log.contains("check the disk"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    fs::remove_file(daemon.folder().join("shim-sync-fails")).unwrap();
    daemon.start_again().await;
    daemon.until_active(1).await;
    let calls = daemon.until_calls(2).await;
    assert_eq!(texts(&calls, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
}

#[tokio::test]
async fn a7_a_database_that_is_removed_or_moved_away_is_missed_and_its_end_is_no_clean_one() {
    for moved in [true, false] {
        let (onsip, anna, mut daemon) = running().await;
        daemon.until_ready().await;
        let (folder, files) = (daemon.folder().to_owned(), ["state.db", "state.db-wal", "state.db-shm"]);
        let away = |file: &str| folder.join(format!("{file}.away"));
        for file in files {
            let from = folder.join(file);
            if moved { fs::rename(from, away(file)).unwrap() } else { fs::remove_file(from).unwrap() }
        }
        let told = async || {
            let (status, why) = daemon.readyz().await;
            (status == 503 && why.contains("the database was removed or moved away")).then_some(())
        };
        daemon.until("a router that is not ready", SOON, told).await;
        let line = daemon.until_logged("was removed or moved away while the router runs", SOON).await;
        assert!(line.contains(&format!("/proc/{}/fd", daemon.pid())), "{line}");
        assert!(daemon.count("store_faults_total", &[("kind", "moved")]).await > 0);
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        if moved {
            for file in files {
                fs::rename(away(file), folder.join(file)).unwrap();
            }
            daemon.until_ready().await;
            daemon.until_calls(1).await;
            onsip.hang_up(&mut call);
            daemon.until_calls(2).await;
            assert!(daemon.terminate().await.success(), "{}", daemon.log());
        } else {
            assert_eq!(daemon.terminate().await.code(), Some(1), "{}", daemon.log());
            assert!(calls(daemon.events(EVENTS)).is_empty(), "nothing is promised that cannot be kept");
        }
    }
}

#[tokio::test]
async fn a5_a_clock_that_is_put_right_while_events_wait_drops_none() {
    const YEARS: &str = "-63072000";
    let (_built, shim) = shim();
    let (onsip, anna) = service_with_anna().await;
    // The service's clock is as wrong, so that it grants what is asked for by ours.
    onsip.set_clock(SignedDuration::from_secs(YEARS.parse().unwrap()));
    let takes = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&takes);
    let crm = Receiver::start(move |_| status(if seen.load(Ordering::Relaxed) { 204 } else { 503 }));
    let sink = format!("type = \"webhook\"\nurl = \"http://{}/\"", crm.address());
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &sink);
    let env = [("LD_PRELOAD", shim.as_str()), ("SHIM_CLOCK", YEARS)];
    let mut daemon = Daemon::start(&setup.toml(), &env).await;
    daemon.until_active(1).await;
    for _ in 0..5 {
        onsip.call_in(anna.as_str(), CALLER, 1);
    }
    daemon.until_calls(5).await;
    let waiting = |owed: f64| owed > 4.5;
    daemon.until_metric("sink_queue_events", &[("sink", "crm")], SOON, waiting).await;
    for (seconds, times) in [("0", 1), ("-864000", 2), ("864000", 3), ("0", 4)] {
        fs::write(daemon.folder().join("shim-clock"), seconds).unwrap();
        let noticed = || daemon.log().matches("the system's clock was set").count() >= times;
        daemon.until("a word about the clock", SOON, async || noticed().then_some(())).await;
    }
    // It is started anew under yet another clock.
    fs::write(daemon.folder().join("shim-clock"), "2592000").unwrap();
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
    daemon.start_again().await;
    daemon.until_active(1).await;
    takes.store(true, Ordering::Relaxed);
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "delivered")], 5).await;
    daemon.until_metric("sink_queue_events", &[("sink", "crm")], SOON, |owed| owed < 0.5).await;
    let bodies: Vec<Value> =
        crm.received().iter().map(|received| serde_json::from_slice(&received.body).unwrap()).collect();
    assert_eq!(once(calls(bodies)).len(), 5);
    assert_eq!(daemon.count("sink_dropped_total", &[("sink", "crm"), ("reason", "age")]).await, 0);
    let stale = daemon.events(EVENTS).into_iter().filter(|event| event["data"]["end_reason"] == "stale").count();
    assert_eq!(stale, 0);
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
}

#[tokio::test]
async fn d2_d6_store_faults_are_told_once_and_name_the_key() {
    let onsip = program::service(&["anna@acme.test"]).await;
    let configuration = program::configuration(onsip.addr().port(), &["anna@acme.test"]);
    let of = |url: &str| format!("{configuration}[store]\nurl = \"{url}\"\n");
    let mut daemon = Daemon::spawn(&of("sqlite://nowhere/router.db"), &[]);
    assert_eq!(daemon.exit(SOON).await.code(), Some(78));
    let log = daemon.log();
    assert_eq!(log.matches("the folder nowhere does not exist").count(), 1, "{log}");
    assert_eq!(log.matches("store.url").count(), 1, "{log}");
    let mut daemon = Daemon::spawn(&of("sqlite://router.db?mode=rwc"), &[]);
    assert_eq!(daemon.exit(SOON).await.code(), Some(78));
    let log = daemon.log();
    assert!(log.contains("store.url: ") && log.contains('?'), "{log}");
    let files: Vec<_> = fs::read_dir(daemon.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().contains("router.db")), "{files:?}");
}
