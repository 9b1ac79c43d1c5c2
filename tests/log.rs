//! What is logged: one line per change a user would ask about, with the same fields everywhere, and repeats held back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use support::condition::SOON;
use support::daemon::Daemon;
use support::receiver::{Receiver, status};
use support::stage::*;

const JSON: &str = "[log]\nformat = \"json\"\nrepeat_after = \"5s\"";

/// The first line with this message, as soon as it is there.
async fn line(daemon: &Daemon, message: &str) -> Value {
    let text = daemon.until_logged(&format!("\"message\":\"{message}"), SOON).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_change_is_one_object_that_names_what_it_is_about() {
    let (onsip, anna) = service_with_anna().await;
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).section(JSON).start_active(1).await;
    let online = line(&daemon, "account online").await;
    assert_eq!(
        (&online["account"], &online["state"], &online["level"]),
        (&"front-desk".into(), &"online".into(), &"INFO".into())
    );
    let active = line(&daemon, "subscription active").await;
    let about = ["account", "service", "node"].map(|key| active[key].clone());
    assert_eq!(about, ["front-desk", "active-calls", &node(&anna)]);
    assert_eq!(line(&daemon, "account sees").await["reason"], "start");

    onsip.cut(&anna);
    let waits = line(&daemon, "account waits").await;
    assert!(waits["why"].is_string() && waits["retry_at"].is_string(), "{waits}");
    let blind = line(&daemon, "account blind").await;
    assert!(
        blind["account"] == "front-desk" && blind["reason"] == "disconnect" && blind["since"].is_string(),
        "{blind}"
    );
    daemon.until_count("connects_total", &[("outcome", "online")], 2).await;
    daemon.terminate().await;
    let log = daemon.log();
    assert!(log.contains("\"message\":\"starting\"") && log.contains("\"message\":\"stopped\""), "{log}");
    for text in log.lines() {
        let line: Value = serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{text}");
        }
    }
}

#[tokio::test]
async fn a_sink_that_keeps_failing_is_told_of_now_and_then_with_the_number_of_the_others() {
    let (onsip, anna) = service_with_anna().await;
    let broken = "type = \"file\"\npath = \"no/such/folder/events.jsonl\"";
    let daemon =
        Setup::of(&onsip).account("front-desk", &anna).sink("broken", broken).section(JSON).start_active(1).await;
    for _ in 0..20 {
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    daemon.until_logged("\"suppressed\":", SOON).await;
    let log = daemon.log();
    let told: Vec<Value> = log
        .lines()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .filter(|line| line["message"] == "a delivery failed and is tried again")
        .collect();
    assert!(told[0]["sink"] == "broken" && told[0]["why"].is_string() && told[0]["suppressed"].is_null(), "{log}");
    assert!(told[1..].iter().all(|line| line["sink"] == "broken"), "{log}");
    for pair in told.windows(2) {
        let [earlier, later] = [&pair[0], &pair[1]].map(|line| line["timestamp"].as_str().unwrap());
        assert!(earlier <= later, "{log}");
    }
}

#[tokio::test]
async fn a_dead_letter_is_told_of_by_the_id_of_its_event() {
    let (onsip, anna) = service_with_anna().await;
    let refusing =
        Receiver::start(|post| status(if String::from_utf8_lossy(&post.body).contains(CALLER) { 400 } else { 200 }));
    let hook = format!("type = \"webhook\"\nurl = \"http://{}/\"", refusing.address());
    let daemon = Setup::of(&onsip).account("front-desk", &anna).sink("hook", &hook).section(JSON).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_count("sink_deliveries_total", &[("sink", "hook"), ("outcome", "retried")], 1).await;
    onsip.call_in(anna.as_str(), "sip:+12125550199@carrier.test", 1); // passes: only now the refusal is about its event
    let dead = line(&daemon, "given up and kept as dead letters").await;
    let events = daemon.until_events(EVENTS, 1, SOON).await;
    assert!(events.iter().any(|event| event["id"] == dead["event_id"]), "{dead}");
    assert_eq!((&dead["sink"], dead["events"].is_u64()), (&"hook".into(), true));
}

#[tokio::test]
async fn at_debug_every_event_is_followed_by_its_id() {
    let (onsip, anna) = service_with_anna().await;
    let log = "[log]\nformat = \"json\"\nlevel = \"debug\"";
    let daemon = Setup::of(&onsip).account("front-desk", &anna).section(log).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let call = daemon.until_calls(1).await.remove(0);
    let committed = daemon.until_logged(&format!("\"event_id\":{}", call["id"]), SOON).await;
    let committed: Value = serde_json::from_str(&committed).unwrap();
    let about = ["message", "account", "service", "node", "type"].map(|key| committed[key].clone());
    let leaf = leaf(&anna);
    assert_eq!(about, ["event committed", "front-desk", "active-calls", &leaf, "com.onsip.call.requested"]);
    let delivered = line(&daemon, "event delivered").await;
    assert!(delivered["sink"] == "log" && delivered["event_id"].is_string(), "{delivered}");
}

/// A daemon that says two lines and ends, as its address is taken: once into a pipe, once on a terminal.
async fn said(folder: &Path, on_a_terminal: bool, environment: &[(&str, &str)]) -> String {
    let program = env!("CARGO_BIN_EXE_onsip-router");
    let mut command = Command::new("script");
    if on_a_terminal {
        command.args(["-qec", &format!("{program} run --config config.toml"), "/dev/null"]);
    } else {
        command = Command::new(program);
        command.args(["run", "--config", "config.toml"]);
    }
    command.current_dir(folder).env_clear().env("TERM", "xterm").env("PATH", "/usr/bin:/bin");
    let output = command.envs(environment.iter().copied()).stdin(std::process::Stdio::null()).output();
    let output = tokio::time::timeout(SOON, output).await.unwrap().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test]
async fn colours_are_for_terminals_that_want_them() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let setup =
        Setup::at(1).account("anna", &"anna@acme.test".parse().unwrap()).store_and_http("sqlite://s.db", &listen);
    let folder = support::program::folder(&setup.toml());
    for (on_a_terminal, environment, coloured) in [
        (false, &[][..], false),
        (true, &[], true),
        (true, &[("NO_COLOR", "1")], false),
        (true, &[("TERM", "dumb")], false),
        (false, &[("CLICOLOR_FORCE", "1")], true),
    ] {
        let text = said(folder.path(), on_a_terminal, environment).await;
        assert!(text.contains("http.listen: cannot listen"), "{text}");
        assert_eq!(text.contains('\u{1b}'), coloured, "on a terminal: {on_a_terminal}, {environment:?}: {text:?}");
    }
}
