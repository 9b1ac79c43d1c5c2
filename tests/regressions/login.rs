//! Log-in: mechanisms, SCRAM, and servers that cheat in it.

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Login, Mechanism, Options, Request, Simulator};

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::stage::{CALLER, PASSWORD, Setup, account, asked};

const BOTH_SCRAM: [Mechanism; 2] = [Mechanism::ScramSha256, Mechanism::ScramSha1];

async fn service(mechanisms: &[Mechanism]) -> (Simulator, BareJid) {
    let options = Options { mechanisms: mechanisms.to_vec(), ..Options::default() };
    let onsip = Simulator::start(options).await.expect("the simulated service starts");
    let anna = account(&onsip, "anna@acme.test");
    (onsip, anna)
}

/// As many accounts as there are names, all of whose log-ins are treated like this, besides anna's.
async fn beside(onsip: &Simulator, anna: &BareJid, count: usize, login: &Login, xmpp: &str) -> Daemon {
    let mut setup = Setup::of(onsip).xmpp(xmpp);
    for number in 0..count {
        let jid = account(onsip, &format!("hostile{number}@evil.test"));
        onsip.behave(&jid, |behaviour| behaviour.login = login.clone());
        setup = setup.account(&format!("hostile-{number}"), &jid);
    }
    setup.account("front-desk", anna).start().await
}

async fn failures(daemon: &Daemon, outcome: &str, least: u64) {
    daemon.until_count("connects_total", &[("outcome", outcome)], least).await;
}

fn challenge(rounds: u64) -> Login {
    Login::Challenge(format!("r=NONCE0123,s=QSXCR+Q6sek8bf92,i={rounds}"))
}

#[tokio::test]
async fn c4_more_rounds_of_scram_than_allowed_are_not_computed() {
    let (onsip, anna) = service(&BOTH_SCRAM).await;
    let daemon = beside(&onsip, &anna, 8, &challenge((1 << 32) - 1), "").await;
    failures(&daemon, "protocol", 8).await;
    daemon.until_active(1).await;
    daemon.until_logged("more rounds of SCRAM than the 1000000 that are computed", SOON).await;
}

#[tokio::test]
async fn c4_keys_that_take_long_hold_nobody_up_and_end_with_the_time_for_the_log_in() {
    let (onsip, anna) = service(&BOTH_SCRAM).await;
    let daemon = beside(&onsip, &anna, 32, &challenge(1_000_000), "request_timeout = \"1s\"").await;
    daemon.until_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    failures(&daemon, "timeout", 1).await;
}

#[tokio::test]
async fn c5_a_server_that_does_not_prove_that_it_knows_the_password_gets_no_session() {
    let (onsip, anna) = service(&BOTH_SCRAM).await;
    let cheats = [
        Login::Believe { early: true, data: String::new() },
        Login::Believe { early: true, data: "v=AAAA".to_owned() },
        Login::Believe { early: false, data: String::new() },
        Login::Believe { early: false, data: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_owned() },
        Login::Challenge("r=another,s=QSXCR+Q6sek8bf92,i=4096".to_owned()),
        challenge(1),
    ];
    let mut setup = Setup::of(&onsip);
    for (number, cheat) in cheats.iter().enumerate() {
        let jid = account(&onsip, &format!("hostile{number}@evil.test"));
        onsip.behave(&jid, |behaviour| behaviour.login = cheat.clone());
        setup = setup.account(&format!("hostile-{number}"), &jid);
    }
    let daemon = setup.account("front-desk", &anna).start().await;
    daemon.until_active(1).await;
    failures(&daemon, "protocol", 6).await;
    daemon.until_accounts("online", 1).await;
    assert_eq!(onsip.observed().logins, 1, "nobody else was bound");
    assert!(!daemon.log().contains(PASSWORD));
}

#[tokio::test]
async fn b6_the_next_mechanism_is_tried_in_the_same_attempt() {
    let (onsip, anna) = service(&[Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain]).await;
    onsip.behave(&anna, |behaviour| behaviour.login = Login::OnlyPlain { closes: false });
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 3);
    assert_eq!(daemon.count("connects_total", &[("outcome", "protocol")]).await, 0);
    daemon.until_logged("refuses log-in mechanisms that it offers", SOON).await;
    onsip.cut(&anna);
    daemon.until_count("connects_total", &[("outcome", "online")], 2).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 4, "what was learned is kept");
}

#[tokio::test]
async fn b6_where_the_stream_ends_with_it_the_next_attempt_goes_on_with_the_next_mechanism() {
    let (onsip, anna) = service(&[Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain]).await;
    onsip.behave(&anna, |behaviour| behaviour.login = Login::OnlyPlain { closes: true });
    let _daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Login), 3);
}

#[tokio::test]
async fn b6_a_server_that_refuses_every_mechanism_is_not_hammered() {
    let (onsip, anna) = service(&BOTH_SCRAM).await;
    let ben = account(&onsip, "ben@acme.test");
    onsip.behave(&ben, |behaviour| behaviour.login = Login::Fail("mechanism-too-weak"));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).account("ben", &ben).start_active(1).await;
    let line = daemon.until_logged("refuses every log-in mechanism", SOON).await;
    assert!(line.contains("SCRAM-SHA-256, SCRAM-SHA-1"), "{line}");
    assert_eq!(asked(&onsip, &ben, Request::Login), 2, "each once");
}

#[tokio::test]
async fn b7_user_names_are_escaped_and_passwords_are_prepared() {
    for mechanisms in [&BOTH_SCRAM[..1], &BOTH_SCRAM[1..], &[Mechanism::Plain]] {
        let (onsip, _) = service(mechanisms).await;
        let typed = "cafe\u{301}\u{a0}secret";
        // A server prepares what it stores too; one that offers PLAIN compares what it was given.
        let stored = if mechanisms == [Mechanism::Plain] { typed } else { "caf\u{e9} secret" };
        let jid = onsip.account("front=desk,1@acme.test", stored).expect("a bare JID");
        // The authorization has the password as it is typed, which is another matter.
        onsip.behave(&jid, |behaviour| behaviour.needs_authorization = false);
        let setup = Setup::of(&onsip).onsip("authorize = false");
        let daemon = setup.account_with("front-desk", &jid, &format!("password = \"{typed}\"")).start().await;
        daemon.until_active(1).await;
        assert_eq!(onsip.observed().logins, 1, "{mechanisms:?}");
    }
}
