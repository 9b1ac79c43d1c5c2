//! The configuration changes on the disk: it is taken over without a signal, once, and only if it really changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use onsip_router::domain::BareJid;
use onsip_router::settings::sources::Sources;
use onsip_router::settings::watch::Watch;
use onsip_router::simulator::{Request, Simulator};
use tokio::time::timeout;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// A service with three accounts, and a daemon that runs the first two and watches its configuration.
async fn stage() -> (Simulator, [BareJid; 3], Setup, Daemon) {
    let onsip = service().await;
    let jids = ["anna", "bert", "cleo"].map(|name| account(&onsip, &format!("{name}@acme.test")));
    let setup = Setup::of(&onsip).watched().account("anna", &jids[0]).account("bert", &jids[1]);
    let daemon = setup.start_active(2).await;
    (onsip, jids, setup, daemon)
}

/// A watch of our own over the same file.
fn witness(daemon: &Daemon) -> Watch {
    let mut watch = Watch::new().unwrap();
    watch.renew(&Sources::given(&[daemon.folder().join("config.toml")])).unwrap();
    watch
}

async fn until_reloaded(daemon: &Daemon, outcome: &str, times: u64) {
    daemon.until_count("config_reloads_total", &[("outcome", outcome)], times).await;
}

async fn reloads(daemon: &Daemon) -> [u64; 2] {
    let count = async |outcome| daemon.count("config_reloads_total", &[("outcome", outcome)]).await;
    [count("applied").await, count("failed").await]
}

/// Replaces a file as careful programs do.
fn replace(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("temporary~"), text).unwrap();
    fs::rename(folder.join("temporary~"), folder.join(name)).unwrap();
}

#[tokio::test]
async fn a_file_that_is_written_or_replaced_is_taken_over_and_the_difference_is_logged() {
    let (onsip, jids, setup, daemon) = stage().await;
    daemon.rewrite_config(&setup.clone().account("cleo", &jids[2]).toml());
    daemon.until_active(3).await;
    daemon.until_logged("accounts.cleo", SOON).await;
    let sink = "type = \"file\"\npath = \"more.jsonl\"";
    let changed = setup.clone().without("bert").sink("more", sink);
    let secret = format!("password = \"{PASSWORD}\"\nsip_address = \"cleo@acme.test\"\nresource = \"desk\"");
    replace(daemon.folder(), "config.toml", &changed.account_with("cleo", &jids[2], &secret).toml());
    until_reloaded(&daemon, "applied", 2).await;
    daemon.until_active(2).await;
    let log = daemon.log();
    for (kind, names) in [("1 stopped", "accounts.bert"), ("1 changed", "accounts.cleo"), ("1 started", "sinks.more")] {
        let told = log.lines().any(|line| line.contains(kind) && line.contains(names));
        assert!(told, "no line with {kind} {names} in:\n{log}");
    }
    assert!(!log.contains(PASSWORD), "{log}");
    assert_eq!(asked(&onsip, &jids[0], Request::Login), 1, "who did not change was not touched");
}

#[tokio::test]
async fn several_writes_in_a_row_are_one_reload_and_writing_the_same_is_none() {
    let (onsip, jids, setup, daemon) = stage().await;
    daemon.rewrite_config(&setup.toml());
    let with = setup.clone().account("cleo", &jids[2]);
    daemon.signal("STOP").await; // so that it sees them in a row on a busy machine, too
    for text in ["instance = ", &setup.toml(), "", &with.toml()] {
        daemon.rewrite_config(text);
    }
    daemon.signal("CONT").await;
    until_reloaded(&daemon, "applied", 1).await;
    daemon.until_active(3).await;
    replace(daemon.folder(), "config.toml", &with.toml());
    // A reload that is asked for comes after all that the watch had to say.
    daemon.reload().await;
    until_reloaded(&daemon, "applied", 2).await;
    replace(daemon.folder(), "config.toml", &setup.toml());
    daemon.until_active(2).await;
    assert_eq!(reloads(&daemon).await, [3, 0], "{}", daemon.log());
    assert_eq!(onsip.observed().connections_ever, 3);
}

#[tokio::test]
async fn a_file_with_problems_changes_nothing_names_them_all_and_is_healed_by_the_next_one() {
    let (onsip, jids, setup, daemon) = stage().await;
    let bad = setup.clone().without("bert").account_with("cleo", &jids[2], "pasword = \"typo\"\nresource = 7");
    replace(daemon.folder(), "config.toml", &bad.toml());
    until_reloaded(&daemon, "failed", 1).await;
    for key in ["accounts.cleo.pasword", "accounts.cleo.password", "accounts.cleo.resource"] {
        daemon.until_logged(key, SOON).await;
    }
    replace(daemon.folder(), "config.toml", "this is no TOML [");
    until_reloaded(&daemon, "failed", 2).await;
    fs::remove_file(daemon.folder().join("config.toml")).unwrap();
    until_reloaded(&daemon, "failed", 3).await;
    assert_eq!(onsip.observed().connections_ever, 2);
    daemon.until_active(2).await;
    replace(daemon.folder(), "config.toml", &setup.account("cleo", &jids[2]).toml());
    until_reloaded(&daemon, "applied", 1).await;
    daemon.until_active(3).await;
    assert_eq!((reloads(&daemon).await, onsip.observed().connections_ever), ([1, 3], 3));
}

#[tokio::test]
async fn a_rotated_secret_in_a_file_of_its_own_takes_effect() {
    let (onsip, jids, setup, daemon) = stage().await;
    let secrets = daemon.folder().join("secrets");
    let version = |name: &str, password: &str| {
        fs::create_dir_all(secrets.join(name)).unwrap();
        fs::write(secrets.join(name).join("cleo"), password).unwrap();
        symlink(name, secrets.join("..data_tmp")).unwrap();
        fs::rename(secrets.join("..data_tmp"), secrets.join("..data")).unwrap();
    };
    version("..1", "wrong");
    symlink("..data/cleo", secrets.join("cleo")).unwrap();
    let setup = setup.account_with("cleo", &jids[2], "password = { file = \"secrets/cleo\" }");
    replace(daemon.folder(), "config.toml", &setup.toml());
    daemon.until_accounts("refused", 1).await;
    version("..2", PASSWORD);
    daemon.until_active(3).await;
    assert_eq!(asked(&onsip, &jids[0], Request::Login), 1);
    onsip.set_password(&jids[2], "changed");
    version("..3", "changed");
    until_reloaded(&daemon, "applied", 3).await;
    daemon.until_ready().await;
    daemon.until_active(3).await;
    assert!(!daemon.log().contains("changed\""), "{}", daemon.log());
}

#[tokio::test]
async fn where_watching_is_switched_off_only_a_signal_counts_and_it_can_be_switched_on() {
    let (_onsip, jids, setup, daemon) = stage().await;
    let unwatched = setup.toml().replace("watch_config = true", "watch_config = false");
    daemon.rewrite_config(&unwatched);
    until_reloaded(&daemon, "applied", 1).await;
    let mut witness = witness(&daemon);
    daemon.rewrite_config(&setup.clone().account("cleo", &jids[2]).toml());
    timeout(SOON, witness.stirred()).await.expect("whoever watches sees it");
    assert_eq!(reloads(&daemon).await, [1, 0], "{}", daemon.log());
    daemon.reload().await;
    until_reloaded(&daemon, "applied", 2).await;
    daemon.until_active(3).await;
    daemon.rewrite_config(&setup.toml());
    until_reloaded(&daemon, "applied", 3).await;
    daemon.until_active(2).await;
    assert_eq!(reloads(&daemon).await, [3, 0], "{}", daemon.log());
}
