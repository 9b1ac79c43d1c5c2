//! What `kill -9` and a disk that takes no more leave: everything that was acknowledged, and nothing twice, but for what was
//! delivered last and not written down yet.

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
use onsip_router::state;
use onsip_router::store::options::Options;
use onsip_router::store::{Commit, CommitEvent, OpenError, Recall, Settlement, Store, StoreError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use support::disk::Disk;
use support::seed;

fn options(folder: &Path) -> Options {
    let url = format!("sqlite://{}", folder.join("router.db").display());
    Options { keep_bytes: 0, ..Options::at(url) }
}

/// Callers that commit and settle at the same time.
const CALLERS: usize = 8;

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
    let (mut settled, mut written_down) = ([const { BTreeSet::new() }; CALLERS], BTreeSet::new());
    for round in 0..4 {
        let lines = dice.random_range(1..512);
        for line in run_and_kill(folder.path(), lines, round) {
            let words: Vec<_> = line.trim_matches('=').split(' ').collect();
            match words[..] {
                ["committed", name] => drop(committed.insert(name.to_owned())),
                ["settled", caller, name] => drop(settled[caller.parse::<usize>().unwrap()].insert(name.to_owned())),
                // What this caller has settled before.
                ["kept", caller] => written_down.append(&mut settled[caller.parse::<usize>().unwrap()]),
                _ => panic!("{line}"),
            }
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
        assert_eq!(ids.len(), log_owed.len(), "no id twice");
        let is_owed = |name: &String| ids.contains(&Token::of([name.as_str()]));
        assert!(!written_down.iter().any(is_owed), "what is settled and written down stays settled");
        // It may be settled, and the process was killed before it could say so.
        let never_settled =
            |name: &&String| !written_down.contains(*name) && !settled.iter().any(|of| of.contains(*name));
        let lost = committed.iter().filter(never_settled).filter(|name| !is_owed(name)).count();
        assert!(lost <= CALLERS * (round + 1), "{lost} events are owed no more that nobody has settled");
        assert_eq!(store.depth(&log).await.unwrap().events, log_owed.len() as u64);
        store.close().await.unwrap();
    }
}

async fn commit_until_killed(folder: &Path) {
    let round = std::env::var("ROUND").unwrap();
    let store = Store::open(&options(folder)).await.unwrap();
    let say = |text: String| std::io::stdout().write_all(format!("\n={text}=\n").as_bytes()).unwrap();
    let callers = (0..CALLERS).map(|caller| {
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
                say(format!("settled {caller} {name}"));
                if n % 16 == 15 {
                    store.keep_up().await.unwrap();
                    say(format!("kept {caller}"));
                }
                if n % 50 == 49 && caller == 0 {
                    store.checkpoint().await.unwrap();
                }
            }
        })
    });
    futures::future::join_all(callers).await;
}

#[tokio::test]
async fn a_disk_that_takes_no_more_is_an_error_and_what_was_acknowledged_stays() {
    let disk = Disk::mount();
    let options = options(disk.path());
    let mut store = Store::open(&options).await.unwrap();
    let commit = |n: usize| Commit { events: vec![event(&format!("x-{n}"))], ..Commit::default() };
    let mut kept = 0;
    for round in 0..3 {
        assert_eq!(store.commit(commit(kept)).await, Ok(vec![true]));
        kept += 1;
        disk.fill();
        let error = loop {
            match store.commit(commit(kept)).await {
                Ok(new) => assert_eq!(new, [true]),
                Err(error) => break error,
            }
            kept += 1;
        };
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        for _ in 0..3 {
            assert!(store.commit(commit(kept)).await.is_err());
        }
        let [log, crm] = sinks();
        let due = store.due(&log, 0, 100_000).await.unwrap();
        assert_eq!(due.len(), kept - round, "nothing is half written");
        // What is owed goes on being delivered, and that is written down.
        store.settle(&log, vec![(due[0].position, Settlement::Delivered)]).await.unwrap();
        store.keep_up().await.unwrap();
        // The next life begins while the disk is still full, or with room.
        if round == 1 {
            disk.make_room();
        }
        drop(store);
        store = reopened(&options).await;
        assert_eq!(store.due(&crm, 0, 100_000).await.unwrap().len(), kept);
        assert_eq!(store.due(&log, 0, 100_000).await.unwrap().len(), kept - round - 1);
        disk.make_room();
        assert_eq!(store.commit(commit(kept)).await, Ok(vec![true]), "round {round}");
        kept += 1;
        assert_eq!(store.faults().await, Ok(vec![]));
    }
}

/// The store that a process left without closing it, which a thread of it may hold for another moment.
async fn reopened(options: &Options) -> Store {
    loop {
        match Store::open(options).await {
            Err(OpenError::State(state::OpenError::Locked { .. })) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}
