//! What `kill -9` and a disk that takes no more leave: everything that was acknowledged, and nothing twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::domain::identity::Token;
use onsip_router::domain::name::SinkName;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, Recall, Settlement, Store, StoreError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use support::seed;

fn options(folder: &Path) -> Options {
    Options { url: format!("sqlite://{}", folder.join("router.db").display()) }
}

fn sinks() -> [SinkName; 2] {
    ["log", "crm"].map(|name| name.parse().unwrap())
}

fn event(name: &str) -> CommitEvent {
    CommitEvent {
        id: Token::of([name]),
        partition: "call".to_owned(),
        received: Timestamp::UNIX_EPOCH,
        body: Arc::from(format!(r#"{{"name":"{name}"}}"#)),
        owed: sinks().into(),
    }
}

/// Lets a process of its own commit and settle, and kills it after `lines` acknowledgements.
fn run_and_kill(folder: &Path, lines: usize, round: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "after_a_kill_everything_acknowledged_is_there_and_nothing_twice", "--nocapture"])
        .envs([("FOLDER", folder.as_os_str()), ("ROUND", round.to_string().as_ref())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged: Vec<String> = said.by_ref().filter(|line| line.starts_with('=')).take(lines).collect();
    assert_eq!(acknowledged.len(), lines, "the process ended too early");
    child.kill().unwrap();
    acknowledged.extend(said.filter(|line| line.starts_with('=') && line.ends_with('=')));
    child.wait().unwrap();
    acknowledged
}

#[tokio::test]
async fn after_a_kill_everything_acknowledged_is_there_and_nothing_twice() {
    // The same test in a process of its own, with a folder to work in, is the one that gets killed.
    if let Some(folder) = std::env::var_os("FOLDER") {
        return commit_until_killed(&PathBuf::from(folder)).await;
    }
    for seed in seed::fixed_and_fresh([1]) {
        kill_now_and_then(&mut StdRng::seed_from_u64(seed)).await;
    }
}

async fn kill_now_and_then(dice: &mut StdRng) {
    let folder = tempfile::tempdir().unwrap();
    let mut committed = BTreeSet::new();
    let mut settled = BTreeSet::new();
    for round in 0..4 {
        let lines = dice.random_range(1..512);
        for line in run_and_kill(folder.path(), lines, round) {
            match line.trim_matches('=').split_once(' ').unwrap() {
                ("committed", name) => committed.insert(name.to_owned()),
                ("settled", name) => settled.insert(name.to_owned()),
                other => panic!("{other:?}"),
            };
        }
        let store = Store::open(&options(folder.path())).await.unwrap();
        let events: Vec<_> = committed.iter().map(|name| Token::of([name.as_str()])).collect();
        let known = store.recall(Recall { events: events.clone(), ..Recall::default() }).await.unwrap().events;
        assert_eq!(known.len(), committed.len());

        let [log, crm] = sinks();
        let crm_owed = store.due(&crm, 0, 100_000).await.unwrap();
        let ids: BTreeSet<_> = crm_owed.iter().map(|owed| owed.id.clone()).collect();
        assert_eq!(ids.len(), crm_owed.len(), "no id twice");
        assert!(events.iter().all(|id| ids.contains(id)), "everything acknowledged is owed");
        assert_eq!(store.depth(&crm).await.unwrap().events, crm_owed.len() as u64);

        let log_owed = store.due(&log, 0, 100_000).await.unwrap();
        let ids: BTreeSet<_> = log_owed.iter().map(|owed| owed.id.clone()).collect();
        assert!(settled.iter().all(|name| !ids.contains(&Token::of([name.as_str()]))), "what is settled stays settled");
        assert_eq!(store.depth(&log).await.unwrap().events, log_owed.len() as u64);
        store.close().await.unwrap();
    }
}

async fn commit_until_killed(folder: &Path) {
    let round = std::env::var("ROUND").unwrap();
    let store = Store::open(&options(folder)).await.unwrap();
    let say = |text: String| std::io::stdout().write_all(format!("\n={text}=\n").as_bytes()).unwrap();
    let callers = (0..8).map(|caller| {
        let (store, round) = (store.clone(), round.clone());
        tokio::spawn(async move {
            let [log, _] = sinks();
            for n in 0.. {
                let name = format!("{round}-{caller}-{n}");
                assert_eq!(
                    store.commit(Commit { events: vec![event(&name)], ..Commit::default() }).await,
                    Ok(vec![true])
                );
                say(format!("committed {name}"));
                let due = store.due(&log, 0, 1).await.unwrap();
                let Some(owed) = due.into_iter().next() else { continue };
                store.settle(&log, vec![(owed.position, Settlement::Delivered)]).await.unwrap();
                let name = owed.body.split('"').nth(3).unwrap().to_owned();
                say(format!("settled {name}"));
            }
        })
    });
    futures::future::join_all(callers).await;
}

#[tokio::test]
async fn a_disk_that_takes_no_more_is_an_error_and_what_was_acknowledged_stays() {
    // The same test in a process of its own, whose files may not grow for ever, is the one that runs out of space.
    if let Some(folder) = std::env::var_os("FOLDER") {
        return commit_until_no_more_is_taken(&PathBuf::from(folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let name = "a_disk_that_takes_no_more_is_an_error_and_what_was_acknowledged_stays";
    let script = format!("trap '' XFSZ; ulimit -f 1800; exec '{}' --exact {name} --nocapture", program.display());
    let output = Command::new("sh").args(["-c", &script]).env("FOLDER", folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let acknowledged = said.lines().filter(|line| line.starts_with("=committed")).count();
    assert!(acknowledged > 0);

    let store = Store::open(&options(folder.path())).await.unwrap();
    assert_eq!(store.due(&sinks()[0], 0, 100_000).await.unwrap().len(), acknowledged);
    let next = event(&format!("x-{acknowledged}"));
    assert_eq!(store.commit(Commit { events: vec![next], ..Commit::default() }).await, Ok(vec![true]));
    assert_eq!(store.faults().await, Ok(vec![]));
}

async fn commit_until_no_more_is_taken(folder: &Path) {
    let store = Store::open(&options(folder)).await.unwrap();
    let commit = |n: usize| Commit { events: vec![event(&format!("x-{n}"))], ..Commit::default() };
    let mut kept = 0;
    let error = loop {
        match store.commit(commit(kept)).await {
            Ok(new) => assert_eq!(new, [true]),
            Err(error) => break error,
        }
        println!("\n=committed {kept}=");
        kept += 1;
    };
    assert!(matches!(error, StoreError::Io(_) | StoreError::Full(_)), "{error:?}");
    for _ in 0..3 {
        assert!(store.commit(commit(kept)).await.is_err());
    }
    assert_eq!(store.due(&sinks()[0], 0, 100_000).await.unwrap().len(), kept, "nothing is half written");
}
