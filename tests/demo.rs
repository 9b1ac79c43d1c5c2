//! `demo`, and `simulate` with `run`: a whole system with no set-up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use support::condition::{SOON, until};
use support::daemon::Daemon;
use support::http;
use support::metrics::Metrics;

fn start(arguments: &[&str], output: &Path) -> Child {
    let file = File::create(output).unwrap();
    Command::new(env!("CARGO_BIN_EXE_onsip-router"))
        .args(arguments)
        .current_dir(output.parent().unwrap())
        .stdin(Stdio::null())
        .stderr(file.try_clone().unwrap())
        .stdout(file)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn read(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap()
}

#[tokio::test]
async fn the_demo_shows_a_working_system_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("demo.log");
    let arguments = ["demo", "--accounts", "5", "--calls-per-minute", "300", "--duration", "15"];
    let mut demo = start(&arguments, &output);
    let metrics = until("the address of the metrics", SOON, async || {
        let text = read(&output);
        let line = text.lines().find_map(|line| line.strip_prefix("metrics: http://"))?;
        line.strip_suffix("/metrics").map(|address| address.parse().unwrap())
    });
    let address = metrics.await.unwrap_or_else(|error| panic!("{error}\n{}", read(&output)));
    assert!(read(&output).contains(&format!("status page: http://{address}/\n")), "{}", read(&output));
    let online = until("five active subscriptions", SOON, async || {
        let scrape = Metrics::parse(&http::get(address, "/metrics", &[]).await.ok()?.body);
        (scrape.value("subscriptions", &[("state", "active")])? > 4.0).then_some(())
    });
    online.await.unwrap_or_else(|error| panic!("{error}\n{}", read(&output)));
    let page = http::get(address, "/", &[]).await.unwrap();
    assert!(page.status == 200 && page.body.contains("demo-5"), "{}", page.body);

    let status = tokio::time::timeout(SOON, demo.wait()).await.expect("it ends").unwrap();
    let text = read(&output);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("5 of 5 accounts online"), "{text}");
    let mut lines = text.lines();
    let (page, metrics) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(
        (page, metrics),
        (&*format!("status page: http://{address}/"), &*format!("metrics: http://{address}/metrics"))
    );
    for part in [" delivered, 0 given up; from socket to acknowledgement: median ", " 0 blind now", "\nno gap: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours in a file: {text}");
    for kind in ["requested", "confirmed", "ended"] {
        assert!(text.contains(&format!("com.onsip.call.{kind}")), "{kind}: {text}");
    }
    for alarming in ["ERROR", "panicked", "WARN"] {
        assert!(!text.contains(alarming), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it leaves nothing behind where it was started");
}

#[tokio::test]
async fn f12_the_demo_with_faults_shows_an_account_that_goes_blind_and_heals_and_what_it_may_have_missed() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("demo.log");
    let mut demo = start(&["demo", "--accounts", "5", "--faults"], &output);
    let healed = until("an account to go blind and to heal", SOON, async || {
        let text = read(&output);
        let mut told = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let blind = told.find(|words| words.get(2) == Some(&"blind"))?;
        told.find(|words| words.get(1..3) == Some(&[blind[1], "sees"]))?;
        text.lines().any(|line| line.split_whitespace().nth(2) == Some("gap")).then_some(())
    });
    healed.await.unwrap_or_else(|error| panic!("{error}\n{}", read(&output)));
    let pid = demo.id().unwrap().to_string();
    assert!(Command::new("sh").args(["-c", "kill -s INT \"$1\"", "sh", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(SOON, demo.wait()).await.expect("it ends").unwrap();
    let text = read(&output);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains(" of 5 accounts online, "), "{text}");
    let (_, end) = text.rsplit_once(" accounts online, ").unwrap();
    assert!(!end.contains("lost"), "{text}");
    // The gaps told at the end are those told as events, and whose they are.
    let events = end.lines().find_map(|line| line.trim().strip_suffix("  com.onsip.gap")).unwrap();
    let gaps = end.lines().find(|line| line.contains(" events may have been missed: demo-")).unwrap();
    assert!(gaps.starts_with(&format!("in {events} gap")), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn the_configuration_that_simulate_prints_is_one_that_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("simulated.toml");
    let arguments = ["simulate", "--listen", "127.0.0.1:0", "--accounts", "4", "--calls-per-minute", "300"];
    let mut simulate = start(&arguments, &output);
    let config =
        until("a whole configuration", SOON, async || Some(read(&output)).filter(|text| text.contains("[sinks")));
    let config = config.await.unwrap();

    let environment = [("ONSIP_ROUTER__HTTP__LISTEN", "127.0.0.1:0")];
    let mut daemon = Daemon::start(&config, &environment).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |active| active > 3.0).await;
    daemon
        .until("ten lines on standard output", SOON, async || (daemon.stdout().lines().count() >= 10).then_some(()))
        .await;
    for line in daemon.stdout().lines().take(10) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["specversion"], "1.0");
    }
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());

    let pid = simulate.id().unwrap().to_string();
    assert!(Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(SOON, simulate.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "{}", read(&output));
}
