//! Starting and stopping: readiness through the life of the daemon, ends in time, and starts that must fail clearly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use onsip_router::simulator::{Answering, Approval, Authorize, Request, Stall, State};
use onsip_router::store::Store;
use onsip_router::store::options::Options;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// Ends the daemon; it must end in good order and in the promised time.
async fn stop(daemon: &mut Daemon) {
    let status = daemon.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    daemon.assert_stopped_in_time();
}

#[tokio::test]
async fn the_daemon_is_alive_from_the_start_and_ready_once_every_account_is_online() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Wait);
    let bert = account(&onsip, "bert@acme.test");
    let off = format!("password = \"{PASSWORD}\"\nenabled = false");
    let mut daemon = Setup::of(&onsip).account("anna", &anna).account_with("bert", &bert, &off).start().await;
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);
    daemon.until_accounts("waiting", 1).await;
    daemon.until_accounts("disabled", 1).await;
    let (status, reasons) = daemon.readyz().await;
    assert!(status == 503 && reasons.contains("anna") && !reasons.contains("bert"), "{status} {reasons}");
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_hours(1)));
    daemon.until_ready().await;
    daemon.until_accounts("online", 1).await;
    assert_eq!(daemon.get("/livez", &[]).await.status, 200);
    stop(&mut daemon).await;
    assert!(!daemon.log().contains("in time"), "nothing hangs: {}", daemon.log());
}

#[tokio::test]
async fn a_clean_stop_closes_the_streams_and_keeps_the_subscriptions() {
    let (onsip, anna, mut daemon) = running().await;
    let before = subids(&onsip, &anna);
    stop(&mut daemon).await;
    assert!(onsip.until(SOON, |board| board.connections() == 0).await);
    assert_eq!(subids(&onsip, &anna), before);
    assert!(!daemon.log().contains("WARN") && !daemon.log().contains("ERROR"), "{}", daemon.log());
}

#[tokio::test]
async fn a_clean_stop_unsubscribes_where_that_is_wanted_and_the_ledger_forgets_it() {
    let (onsip, anna) = service_with_anna().await;
    let phone = anna.with_resource_str("phone").unwrap();
    let foreign = onsip.plant("active-calls", &phone, &node(&anna), State::Subscribed);
    let pending = account(&onsip, "bert@acme.test");
    onsip.behave(&pending, |b| b.approval = Approval::Silence);
    let setup = Setup::of(&onsip).account("anna", &anna).account("bert", &pending);
    let mut daemon = setup.onsip("unsubscribe_on_stop = true").start_active(1).await;
    daemon.until_subscriptions("pending", 1).await;
    stop(&mut daemon).await;
    assert_eq!(subids(&onsip, &anna), [foreign], "only our own is gone");
    assert_eq!(subids(&onsip, &pending), [""; 0]);
    assert!(onsip.until(SOON, |board| board.connections() == 0).await);
    assert_eq!(ledger(&daemon).await, [""; 0]);
    assert!(!daemon.log().contains("WARN") && !daemon.log().contains("ERROR"), "{}", daemon.log());

    onsip.behave(&pending, |b| b.approval = Approval::After(Duration::ZERO));
    daemon.start_again().await;
    daemon.until_active(2).await;
    let reasons: Vec<_> = gaps(daemon.events(EVENTS)).iter().map(|gap| gap["data"]["reason"].clone()).collect();
    assert!(reasons.iter().all(|reason| reason == "restart"), "{reasons:?}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_an_unsubscribe_holds_up_no_stop() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.unsubscribe = Answering::Silence);
    let setup = Setup::of(&onsip).account("anna", &anna).onsip("unsubscribe_on_stop = true");
    let mut daemon = setup.start_active(1).await;
    stop(&mut daemon).await;
    assert_eq!(asked(&onsip, &anna, Request::Unsubscribe), 1);
    assert_eq!(ledger(&daemon).await.len(), 1, "it may still be there");
    assert!(onsip.until(SOON, |board| board.connections() == 0).await, "the stream was closed all the same");
}

/// The accounts of the lines in the ledger of a daemon that has stopped.
async fn ledger(daemon: &Daemon) -> Vec<String> {
    let url = format!("sqlite://{}", daemon.folder().join("state.db").display());
    let store = Store::open(&Options::at(url)).await.unwrap();
    let lines = store.ledger().await.unwrap().into_iter().map(|entry| entry.account.to_string()).collect();
    store.close().await.unwrap();
    lines
}

#[tokio::test]
async fn sigint_stops_it_as_sigterm_does() {
    let (_onsip, _anna, mut daemon) = running().await;
    daemon.signal("INT").await;
    assert_eq!(daemon.exit(SOON).await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn it_stops_in_time_while_the_server_is_silent() {
    let (onsip, anna, mut daemon) = running().await;
    onsip.stall(&anna, Stall::Dead);
    daemon.signal("TERM").await;
    daemon
        .until("/readyz to say that it is stopping", SOON, async || {
            let (status, reasons) = daemon.readyz().await;
            (status == 503 && reasons.contains("stopping")).then_some(())
        })
        .await;
    assert_eq!(daemon.get("/livez", &[]).await.status, 200, "it still works");
    assert_eq!(daemon.exit(SOON).await.code(), Some(0), "{}", daemon.log());
    daemon.assert_stopped_in_time();
}

#[tokio::test]
async fn it_stops_in_time_during_a_log_in_that_goes_nowhere() {
    let (onsip, anna) = service_with_anna().await;
    onsip.mute(true);
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    assert!(onsip.until(SOON, |board| board.connections() == 1).await, "{}", daemon.log());
    stop(&mut daemon).await;
}

#[tokio::test]
async fn it_stops_in_time_while_a_sink_hangs_and_delivers_what_it_owes_after_the_next_start() {
    let (onsip, anna) = service_with_anna().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let hanging = format!("type = \"file\"\npath = \"{}\"", pipe.display());
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("hanging", &hanging);
    let mut daemon = setup.start_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
    daemon.until_metric("sink_queue_events", &[("sink", "hanging")], SOON, |queued| queued >= 2.0).await;
    // It holds up no other. The board is told of it a moment after the line is in the file.
    daemon.until_metric("sink_queue_events", &[("sink", "log")], SOON, |queued| queued < 0.5).await;
    stop(&mut daemon).await;

    std::fs::remove_file(&pipe).unwrap();
    daemon.start_again().await;
    let owed = daemon
        .until("what was owed", SOON, async || Some(calls(daemon.events(&pipe))).filter(|all| all.len() == 2))
        .await;
    assert_eq!(texts(&owed, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
}

#[tokio::test]
async fn a_second_signal_while_stopping_changes_nothing() {
    let (onsip, anna, mut daemon) = running().await;
    onsip.stall(&anna, Stall::Dead);
    for signal in ["TERM", "HUP", "TERM", "INT"] {
        daemon.signal(signal).await;
    }
    assert_eq!(daemon.exit(SOON).await.code(), Some(0), "{}", daemon.log());
    daemon.assert_stopped_in_time();
}

/// Starts a daemon that cannot run; what it logged.
async fn fails(setup: &Setup, code: i32) -> String {
    let mut daemon = Daemon::spawn(&setup.toml(), &[]);
    let status = daemon.exit(SOON).await;
    assert_eq!(status.code(), Some(code), "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.log()
}

#[tokio::test]
async fn a_second_daemon_on_the_same_database_is_told_so_and_the_first_goes_on() {
    let (onsip, anna, daemon) = running().await;
    let bert = account(&onsip, "bert@acme.test");
    let store = format!("sqlite://{}", daemon.folder().join("state.db").display());
    let second = Setup::of(&onsip).account("bert", &bert).store_and_http(&store, "127.0.0.1:0");
    let log = fails(&second, 1).await;
    assert!(log.contains("store.url") && log.contains("state.db") && log.contains("another"), "{log}");
    assert_eq!(onsip.observed().connections_ever, 1, "it connects nowhere");
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
}

#[tokio::test]
async fn a_database_that_is_none_is_left_alone_and_named() {
    let (onsip, anna) = service_with_anna().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("photo.db");
    std::fs::write(&file, "no database at all ".repeat(100)).unwrap();
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let log = fails(&setup.store_and_http(&format!("sqlite://{}", file.display()), "127.0.0.1:0"), 1).await;
    assert!(log.contains("store.url") && log.contains("photo.db"), "{log}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("no database at all"));
    assert_eq!(onsip.observed().connections_ever, 0);
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    let (onsip, _anna, mut daemon) = running().await;
    stop(&mut daemon).await;
    let file = daemon.folder().join("state.db");
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(8192) {
        *byte = 0xAA;
    }
    std::fs::write(&file, bytes).unwrap();
    let anna = account(&onsip, "anna@acme.test");
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let log = fails(&setup.store_and_http(&format!("sqlite://{}", file.display()), "127.0.0.1:0"), 1).await;
    assert!(log.contains("store.url") && log.contains("state.db"), "{log}");
}

#[tokio::test]
async fn a_folder_for_the_database_that_is_missing_is_named() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let log = fails(&setup.store_and_http("sqlite://no/such/folder/state.db", "127.0.0.1:0"), 78).await;
    assert!(log.contains("store.url") && log.contains("no/such/folder"), "{log}");
    assert_eq!(onsip.observed().connections_ever, 0);
}

#[tokio::test]
async fn an_http_port_that_is_taken_is_named() {
    let (onsip, anna) = service_with_anna().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let log = fails(&setup.store_and_http("sqlite://state.db", &address), 1).await;
    assert!(log.contains("http.listen") && log.contains(&address), "{log}");
    assert_eq!(onsip.observed().connections_ever, 0);
}

#[tokio::test]
async fn a_bad_configuration_is_told_in_full_before_any_connection() {
    let (onsip, anna) = service_with_anna().await;
    let setup =
        Setup::of(&onsip).account_with("front-desk", &anna, "pasword = \"x\"").sink("odd", "type = \"filr\"\npath = 7");
    let log = fails(&setup, 78).await;
    for key in ["accounts.front-desk.password", "accounts.front-desk.pasword", "sinks.odd.type"] {
        assert!(log.lines().any(|line| line.starts_with(key)), "{key} begins no line of:\n{log}");
    }
    assert_eq!(onsip.observed().connections_ever, 0);
}
