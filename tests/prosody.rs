//! The daemon against a real server: Prosody, installed by `tests/run`, started by the tests because they kill it.
//!
//! This server has TLS, SCRAM and room for many; it has no approval, so a node answers `subscribed` at once.
#![allow(clippy::expect_used, clippy::panic, clippy::float_cmp, reason = "tests; counts are whole")]

mod prosody {
    //! What is particular to this server.
    pub mod server;
}
mod support;

use std::fmt::Write as _;
use std::path::Path;

use prosody::server::{DOMAIN, PASSWORD, Server, TLS_NAME};
use support::condition::SOON;
use support::daemon::Daemon;

const ACCOUNTS: u16 = 500;
const CONCURRENT_LOGINS: usize = 20;

fn configuration(server: &Server, authority: &Path, accounts: u16) -> String {
    let mut config = format!(
        r#"
        [xmpp]
        host = "127.0.0.1"
        port = {}
        tls = "starttls"
        ca_file = "{}"
        tls_name = "{TLS_NAME}"
        concurrent_logins = {CONCURRENT_LOGINS}
        [onsip]
        services_domain = "{DOMAIN}"
        authorize = false
        [store]
        url = "sqlite://state.db"
        [sinks.log]
        type = "file"
        path = "events.jsonl"
        [http]
        listen = "127.0.0.1:0"
        "#,
        server.address().port(),
        authority.display(),
    );
    for number in 1..=accounts {
        let _ = write!(config, "[accounts.a{number}]\njid = \"user{number}@{DOMAIN}\"\npassword = \"{PASSWORD}\"\n");
    }
    config
}

async fn until_all_live(daemon: &Daemon) {
    let all = f64::from(ACCOUNTS);
    daemon.until_metric("accounts", &[("state", "online")], SOON, |online| online >= all).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |active| active >= all).await;
}

#[tokio::test]
async fn five_hundred_accounts_log_in_with_scram_over_tls_and_come_back_after_the_server_was_killed() {
    let mut server = Server::start(ACCOUNTS).await;
    let daemon = Daemon::start(&configuration(&server, &server.authority(), ACCOUNTS), &[]).await;
    until_all_live(&daemon).await;
    assert_eq!(server.logins(), usize::from(ACCOUNTS));

    server.kill().await;
    daemon.until_metric("accounts", &[("state", "online")], SOON, |online| online == 0.0).await;
    server.start_again().await;
    until_all_live(&daemon).await;

    assert_eq!(daemon.metric("connects_total", &[("outcome", "refused")]).await, 0.0);
    assert!(daemon.metric("connects_total", &[("outcome", "online")]).await >= 2.0 * f64::from(ACCOUNTS));
    let most = server.most_handshakes();
    assert!((1..=CONCURRENT_LOGINS).contains(&most), "{most} handshakes at once");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_an_unknown_authority_is_not_talked_to() {
    let (server, other) = (Server::start(1).await, Server::start(0).await);
    let daemon = Daemon::start(&configuration(&server, &other.authority(), 1), &[]).await;
    daemon.until_metric("connects_total", &[("outcome", "tls")], SOON, |tls| tls >= 1.0).await;
    assert_eq!(daemon.metric("connects_total", &[("outcome", "online")]).await, 0.0);
    assert_eq!(server.logins(), 0);
}
