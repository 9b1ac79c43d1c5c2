//! The limit of open files: raised by the daemon where it can be, told where it cannot.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fmt::Write as _;
use std::process::Stdio;

use support::condition::{self, SOON};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const LISTENS: &str = "listening on http://";

/// A daemon with `accounts` accounts that nobody answers, started with these limits.
struct Limited {
    folder: TempDir,
    process: Child,
}

impl Limited {
    async fn start(soft: u64, hard: u64, accounts: usize) -> Self {
        let folder = TempDir::with_prefix("onsip-router-").expect("a temporary folder");
        let mut config = "[xmpp]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"off\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nurl = \"sqlite://state.db\"\n[sinks.log]\ntype = \"file\"\npath = \"events.jsonl\"\n"
            .to_owned();
        for number in 1..=accounts {
            let _ = write!(config, "[accounts.a{number}]\njid = \"a{number}@acme.test\"\npassword = \"x\"\n");
        }
        std::fs::write(folder.path().join("config.toml"), config).expect("the configuration is written");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file for the log");
        let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" run --config config.toml");
        let process = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_onsip-router")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the daemon is started");
        let daemon = Self { folder, process };
        let listens = async || daemon.log().contains(LISTENS).then_some(());
        if let Err(error) = condition::until("the daemon to listen", SOON, listens).await {
            panic!("{error}: {}", daemon.log());
        }
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn soft_limit(&self) -> u64 {
        let path = format!("/proc/{}/limits", self.process.id().expect("it runs"));
        let limits = std::fs::read_to_string(path).expect("the limits of the process");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line for open files");
        line.split_whitespace().next().and_then(|soft| soft.parse().ok()).expect("a number")
    }
}

#[tokio::test]
async fn a_soft_limit_that_is_too_low_for_the_accounts_is_raised() {
    let daemon = Limited::start(64, 512, 100).await;
    assert_eq!(daemon.soft_limit(), 512);
    assert!(!daemon.log().contains("too few open files"), "{}", daemon.log());
}

#[tokio::test]
async fn a_hard_limit_that_is_too_low_for_the_accounts_is_told_with_both_numbers() {
    let daemon = Limited::start(64, 128, 100).await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("too few open files")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("allowed=128") && line.contains("needed=300"), "{line}");
}
