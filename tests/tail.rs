//! `tail` and `status`, against a daemon that runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use support::condition::{SOON, until};
use support::daemon::Daemon;
use support::port;
use support::program::{Said, run, run_with};
use support::stage::*;

/// A `tail` under way, in a folder of its own.
struct Tail {
    folder: TempDir,
    child: Child,
}

impl Tail {
    /// Starts it, and returns once it shows what comes.
    async fn start(daemon: &Daemon, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let url = format!("http://{}", daemon.listen());
        let child = Command::new(env!("CARGO_BIN_EXE_onsip-router"))
            .args(["tail", "--url", &url])
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let tail = Self { folder, child };
        daemon.until_metric("feed_clients", &[], SOON, |clients| clients > 0.5).await;
        tail
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Waits until `text` was said there.
    async fn until_said(&self, name: &str, text: &str) {
        let said = until(text, SOON, async || self.read(name).contains(text).then_some(()));
        said.await.unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.read("stdout"), self.read("stderr")));
    }

    /// Stops it as Ctrl-C does; it is content with that.
    async fn interrupt(mut self) -> (String, String) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().await.unwrap().success());
        let status = tokio::time::timeout(SOON, self.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.read("stderr"));
        (self.read("stdout"), self.read("stderr"))
    }
}

fn url(daemon: &Daemon) -> String {
    format!("http://{}", daemon.listen())
}

fn nowhere() -> &'static Path {
    Path::new("/")
}

#[tokio::test]
async fn into_a_pipe_every_event_is_a_line_of_json() {
    let (onsip, anna, daemon) = running().await;
    let tail = Tail::start(&daemon, &[], &[]).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    tail.until_said("stdout", "com.onsip.call.ended").await;
    let (stdout, stderr) = tail.interrupt().await;
    let shown: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, daemon.until_calls(2).await);
    assert_eq!(stderr, "");
}

#[tokio::test]
async fn only_what_is_asked_for_is_shown() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    let daemon = Setup::of(&onsip).account("front", &anna).account("back", &bert).start_active(2).await;
    let tail = Tail::start(&daemon, &["--account", "front", "--type", "call.ended", "--type", "gap"], &[]).await;
    for jid in [&bert, &anna] {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    tail.until_said("stdout", "\n").await;
    let (stdout, _) = tail.interrupt().await;
    let [line] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
    let event: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&event["type"], &event["data"]["account"]), (&"com.onsip.call.ended".into(), &"front".into()));
}

#[tokio::test]
async fn on_a_terminal_an_event_is_a_coloured_line_for_people() {
    let (onsip, anna, daemon) = running().await;
    let tail = format!("{} tail --url {}", env!("CARGO_BIN_EXE_onsip-router"), url(&daemon));
    for (environment, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut terminal = Command::new("script")
            .args(["-qefc", &tail, "/dev/null"])
            .env_clear()
            .env("TERM", "xterm")
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        daemon.until_metric("feed_clients", &[], SOON, |clients| clients > 0.5).await;
        onsip.call_in(anna.as_str(), CALLER, 1);
        let mut lines = BufReader::new(terminal.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.contains("front-desk") && line.contains("rings"), "{line}");
        assert!(line.contains("+12125550111@carrier.test → anna@acme.test"), "{line}");
        assert_eq!(line.contains("\u{1b}["), coloured, "{line:?}");
        terminal.kill().await.unwrap();
        daemon
            .until("nobody to watch any more", SOON, async || {
                onsip.call_in(anna.as_str(), CALLER, 1); // who has left is found out by what is written
                (daemon.metric("feed_clients", &[]).await < 0.5).then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn a_lost_daemon_is_found_again_and_that_is_said() {
    let (onsip, anna) = service_with_anna().await;
    let port = port::free();
    let setup = Setup::of(&onsip).account("front-desk", &anna).store_and_http("sqlite://s.db", &port.to_string());
    let mut daemon = setup.start_active(1).await;
    let tail = Tail::start(&daemon, &["--type", "call"], &[]).await;
    daemon.terminate().await;
    tail.until_said("stderr", "; trying again").await;
    daemon.start_again().await;
    daemon.until_active(1).await;
    tail.until_said("stderr", "connected again").await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    tail.until_said("stdout", "com.onsip.call.requested").await;
    tail.interrupt().await;
}

#[tokio::test]
async fn nobody_reading_any_more_is_a_good_end() {
    let (onsip, anna, daemon) = running().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_onsip-router"))
        .args(["tail", "--url", &url(&daemon)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    daemon.until_metric("feed_clients", &[], SOON, |clients| clients > 0.5).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
    drop(lines);
    let ended = daemon.until("it to end", SOON, async || {
        onsip.call_in(anna.as_str(), CALLER, 1);
        child.try_wait().unwrap()
    });
    assert_eq!(ended.await.code(), Some(0));
}

fn assert_refused(said: &Said, why: &str) {
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:#?}");
    assert!(said.stderr.starts_with("onsip-router: ") && said.stderr.contains(why), "{said:#?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:#?}");
}

#[tokio::test]
async fn where_there_is_no_daemon_both_say_so_and_fail() {
    let (_held, gone) = port::closed();
    let url = format!("http://{gone}");
    for command in ["tail", "status"] {
        let said = run(nowhere(), &[command, "--url", &url]).await;
        assert_refused(&said, &format!("cannot reach {url}: "));
        let said = run(nowhere(), &[command, "--url", "ftp://x"]).await;
        assert_refused(&said, "--url must begin with http:// or https://");
        let said = run(nowhere(), &[command, "--url", "http://me:sesame@127.0.0.1"]).await;
        assert_refused(&said, "--url must be without user and password");
        assert!(!said.shows("sesame"), "{said:#?}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_a_file_the_environment_or_the_configuration() {
    let (onsip, anna) = service_with_anna().await;
    let port = port::free();
    let http = format!("{port}\"\ntoken = \"open sesame");
    let setup = Setup::of(&onsip).account_with("front-desk", &anna, "password = { env = \"NOT_HERE\" }");
    let setup = setup.store_and_http("sqlite://s.db", &http);
    let daemon = Daemon::start(&setup.toml(), &[("NOT_HERE", PASSWORD)]).await;
    daemon.until_active(1).await;
    let url = url(&daemon);
    for command in ["tail", "status"] {
        let said = run(nowhere(), &[command, "--url", &url]).await;
        assert_refused(&said, "wants a token (401): --token-file FILE, ONSIP_ROUTER_TOKEN, or --config");
        let said = run_with(nowhere(), &[command, "--url", &url], &[("ONSIP_ROUTER_TOKEN", "open")]).await;
        assert_refused(&said, "does not accept this token (401)");
        assert!(!said.shows("sesame"), "{said:#?}");
    }
    std::fs::write(daemon.folder().join("token"), "open sesame\n").unwrap();
    for arguments in [
        &["status", "--url", &url, "--token-file", "token"][..],
        &["status", "--config", "config.toml"], // without the secrets of the accounts
    ] {
        let said = run(daemon.folder(), arguments).await;
        assert!(said.code == Some(0) && said.shows("ready"), "{said:#?}");
    }
    let said = run_with(nowhere(), &["status", "--url", &url], &[("ONSIP_ROUTER_TOKEN", "open sesame")]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[tokio::test]
async fn a_type_there_is_not_is_refused_in_the_daemon_s_words() {
    let (_onsip, _anna, daemon) = running().await;
    let said = run(nowhere(), &["tail", "--url", &url(&daemon), "--type", "cal"]).await;
    assert_refused(&said, "400 Bad Request: no event has a type that begins so");
}

#[tokio::test]
async fn the_status_names_who_is_blind_and_which_sink_is_down() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    let broken = "type = \"file\"\npath = \"no/such/folder/events.jsonl\"";
    let setup = Setup::of(&onsip).account("front", &anna).account_with("back", &bert, "password = \"wrong\"");
    let daemon = setup.sink("broken", broken).start_active(1).await;
    daemon.until_accounts("refused", 1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_metric("sink_up", &[("sink", "broken")], SOON, |up| up < 0.5).await;
    let said = run(nowhere(), &["status", "--url", &url(&daemon)]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:#?}");
    assert!(said.shows("accounts       2: 1 online, 1 refused; 1 blind"), "{said:#?}");
    assert_eq!(said.row(&["back", "refused"])[3], "refused");
    assert!(said.row(&["broken", "file", "down"]).len() == 9 && said.row(&["log", "file", "up"]).len() == 9);
    assert!(!said.stdout.contains('\u{1b}'), "{said:#?}");

    let said = run(nowhere(), &["status", "--url", &url(&daemon), "--json"]).await;
    let both: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&both["summary"]["accounts"]["blind"], &both["sinks"][0]["name"]), (&1.into(), &"broken".into()));
}
