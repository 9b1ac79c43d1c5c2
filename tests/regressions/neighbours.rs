//! Accounts and sessions that one bad server or a bad clock could starve.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::BareJid;
use onsip_router::simulator::{Answering, Bind, Login, Request, Simulator, State, Switchboard};
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::stage::*;

fn ring(onsip: &Simulator, jid: &BareJid) {
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
}

/// Accounts that log in where nobody answers, before one that is well; of a domain of their own or of the same.
async fn beside_silent_accounts(others: usize, domain: &str) -> (Simulator, BareJid, Daemon) {
    let (onsip, anna) = service_with_anna().await;
    let mut setup = Setup::of(&onsip);
    for n in 0..others {
        let silent = account(&onsip, &format!("silent{n}@{domain}"));
        onsip.behave(&silent, |b| b.login = Login::Silence);
        setup = setup.account(&format!("a-{n:04}"), &silent);
    }
    let daemon = setup.account("front-desk", &anna).start_active(1).await;
    (onsip, anna, daemon)
}

/// Seconds from the last sign of life to the moment from which events can arrive again, as the daemon tells them.
fn seconds_of_the_gap(events: Vec<serde_json::Value>) -> f64 {
    let told = gaps(events);
    assert_eq!(told.len(), 1, "{told:#?}");
    let at = |key: &str| told[0]["data"][key].as_str().unwrap().parse::<Timestamp>().unwrap();
    at("to").duration_since(at("from")).as_secs_f64()
}

#[tokio::test]
async fn b2_an_account_is_back_in_time_beside_three_hundred_of_a_server_that_stays_silent() {
    for domain in ["dead.test", "acme.test"] {
        let (onsip, anna, daemon) = beside_silent_accounts(300, domain).await;
        let memory = daemon.metric("process_resident_memory_bytes", &[]).await;
        onsip.cut(&anna);
        until_observed(&onsip, &daemon, "the account to be back", SOON, |saw| saw.count(&anna, Request::Bind) == 2)
            .await;
        daemon.until_active(1).await;
        let gap = seconds_of_the_gap(daemon.until_events(EVENTS, 1, SOON).await);
        assert!(gap < 5.0, "{domain}: {gap} s");
        ring(&onsip, &anna);
        daemon.until_calls(2).await;
        let commit = daemon.metrics().await;
        let (sum, count) =
            (commit.value("event_commit_seconds_sum", &[]), commit.value("event_commit_seconds_count", &[]));
        assert!(sum.unwrap() / count.unwrap().max(1.0) < 1.0, "{domain}: {sum:?} {count:?}");
        let grown = daemon.metric("process_resident_memory_bytes", &[]).await - memory;
        assert!(grown < 200e6, "{grown} bytes more");
        assert!(daemon.metric("logins_under_way", &[]).await + daemon.metric("logins_waiting", &[]).await <= 300.0);
    }
}

#[tokio::test]
async fn b5_a_resumption_that_the_server_refuses_and_closes_upon_is_asked_for_once() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave_all(|b| {
        b.resumable_for = Some(std::time::Duration::from_mins(5));
        b.closes_unresumed = true;
    });
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    onsip.restart(std::time::Duration::ZERO).await; // it forgets every session
    until_observed(&onsip, &daemon, "a second binding", SOON, |saw| saw.count(&anna, Request::Bind) == 2).await;
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Resume), 1);
    assert_eq!(daemon.count("resumptions_total", &[("outcome", "failed")]).await, 1);
    ring(&onsip, &anna);
    daemon.until_calls(2).await;
}

/// A server that logs one client in and then sends what it is told to, for ever, and reads nothing any more.
async fn server_that_stops_reading(text: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            if log_in(&mut tcp).await.is_some() {
                while tcp.write_all(text.as_bytes()).await.is_ok() {}
            }
            open.push(tcp);
        }
    });
    port
}

async fn log_in(tcp: &mut TcpStream) -> Option<()> {
    let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                  id='s' from='acme.test' version='1.0'>";
    let plain = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
                 </mechanisms></stream:features>";
    let bind = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";
    let bound = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <jid>anna@acme.test/onsip-router</jid></bind></iq>";
    let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned();
    for (until, answer) in [
        ("version='1.0'>", format!("{header}{plain}")),
        ("</auth>", success),
        ("version='1.0'>", format!("{header}{bind}")),
        ("</iq>", bound.to_owned()),
    ] {
        let mut said = String::new();
        while !said.ends_with(until) {
            let mut bytes = [0; 2048];
            let count = tcp.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
            said += std::str::from_utf8(&bytes[..count]).ok()?;
        }
        tcp.write_all(answer.as_bytes()).await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn b12_a_server_that_asks_and_does_not_read_the_answers_is_a_lost_connection() {
    let mut pings = String::new();
    for n in 0..50 {
        let _ = write!(pings, "<iq type='get' id='{n}-{}'><ping xmlns='urn:xmpp:ping'/></iq>", "x".repeat(900));
    }
    let port = server_that_stops_reading(pings).await;
    let anna = BareJid::new("anna@acme.test").unwrap();
    let setup = Setup::at(port).xmpp("request_timeout = \"1s\"\nping_interval = \"1s\"");
    let daemon = setup.account("front-desk", &anna).start().await;
    daemon.until_count("disconnects_total", &[("reason", "timeout")], 1).await;
    daemon.until_logged("the server does not read what is sent to it", SOON).await;
    assert!(daemon.metric("process_resident_memory_bytes", &[]).await < 300e6);
}

#[tokio::test]
async fn c6_events_arrive_whatever_the_clocks_say() {
    for (days, time) in [(2, true), (-2, true), (2, false), (-2, false), (400, true)] {
        let (onsip, anna) = service_with_anna().await;
        onsip.set_clock(SignedDuration::from_hours(24 * days));
        if !time {
            onsip.behave_all(|b| b.time = Answering::Fail(onsip_router::simulator::Failure::unsupported("time")));
        }
        let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
        assert!(onsip.until_subscribed(&anna, &node(&anna), SOON).await, "{days} days, told: {time}");
        ring(&onsip, &anna);
        daemon.until_calls(2).await;
        if time || days > 0 {
            daemon.until_logged("set this machine's clock", SOON).await;
        }
    }
}

#[tokio::test]
async fn c9_a_condition_of_a_hundred_kilobytes_is_cut_in_the_log_the_api_and_the_page() {
    let (onsip, anna) = service_with_anna().await;
    let long: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    onsip.behave(&anna, |b| {
        b.bind = Bind::Fail(onsip_router::simulator::Failure::new("cancel", long).pubsub(long));
    });
    let bert = account(&onsip, "bert@acme.test");
    let daemon = Setup::of(&onsip).account("front-desk", &anna).account("well", &bert).start_active(1).await;
    daemon.until_accounts("waiting", 1).await;
    daemon.until_logged("account waits", SOON).await;
    let every_line_is_short = |daemon: &Daemon| {
        let longest = daemon.log().lines().map(str::len).max().unwrap_or_default();
        assert!(longest < 2000, "a line of {longest} bytes");
    };
    every_line_is_short(&daemon);
    let accounts = daemon.json("/api/v1/accounts").await;
    let why = accounts[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("xxx…") && why.len() < 400, "{why}");
    assert!(daemon.get("/", &[]).await.body.len() < 90_000);

    onsip.behave(&anna, |b| {
        b.bind = Bind::AsAsked;
        b.list = Answering::Fail(onsip_router::simulator::Failure::new("cancel", long).pubsub(long));
    });
    daemon.until_subscriptions("denied", 1).await;
    let subscriptions = daemon.json("/api/v1/subscriptions").await;
    assert!(subscriptions.to_string().len() < 3000, "{}", subscriptions.to_string().len());
    onsip.stream_error(&anna, long);
    daemon.until_count("disconnects_total", &[("reason", "stream_error")], 1).await;
    daemon.until_logged("the server closed the stream: xxx", SOON).await;
    every_line_is_short(&daemon);
    ring(&onsip, &bert);
    daemon.until_calls(2).await;
    assert_eq!(asked(&onsip, &bert, Request::Bind), 1, "nobody else's business");
}

#[tokio::test]
async fn c2_another_accounts_service_cannot_end_a_call_of_which_it_never_told() {
    let (onsip, anna) = service_with_anna().await;
    let eve = account(&onsip, "eve@evil.test");
    let daemon = Setup::of(&onsip).account("front-desk", &anna).account("stranger", &eve).start_active(2).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    let begun = daemon.until_calls(1).await;
    let (leaf, item) = (leaf(&anna), begun[0]["data"]["item_id"].as_str().unwrap());
    let (own, event) = (own(&eve), "http://jabber.org/protocol/pubsub#event");
    for what in [format!("<purge node='{leaf}'/>"), format!("<items node='{leaf}'><retract id='{item}'/></items>")] {
        let event = format!("<event xmlns='{event}'>{what}</event>");
        onsip.inject(&eve, &format!("<message xmlns='jabber:client' from='{CALLS}' to='{own}'>{event}</message>"));
    }
    daemon.until_count("events_rejected_total", &[("reason", "foreign_leg")], 2).await;
    onsip.hang_up(&mut call);
    let calls = daemon.until_calls(2).await;
    assert_eq!(texts(&calls, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    let end = &calls[1]["data"];
    assert_eq!((end["end_reason"].as_str(), end["account"].as_str()), (Some("retracted"), Some("front-desk")));
}

/// Whether the ledger shows that the router made a subscription under this full JID, which the server had assigned.
async fn is_in_the_ledger(daemon: &Daemon, jid: &str) -> bool {
    let database = format!("sqlite://{}", daemon.folder().join("state.db").display());
    let Ok(mut connection) = SqliteConnection::connect(&database).await else { return false };
    let made = "SELECT count(*) FROM ledger WHERE jid = ?1 AND subid IS NOT NULL AND assigned = 1";
    let count: Result<i64, _> = sqlx::query_scalar(made).bind(jid).fetch_one(&mut connection).await;
    matches!(count, Ok(1))
}

#[tokio::test]
async fn b9_one_subscription_is_left_however_often_the_server_assigns_another_resource() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.bind = Bind::Other("r0".to_owned()));
    let foreign = anna.with_resource_str("psi").unwrap();
    let foreign = onsip.plant("active-calls", &foreign, &node(&anna), State::Subscribed);
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    for n in 1..=12 {
        onsip.behave(&anna, |b| b.bind = Bind::Other(format!("r{n}")));
        if n == 6 {
            // What a crash keeps out of the ledger is not known to be ours, and is left alone.
            let held = anna.with_resource_str("r5").unwrap().to_string();
            daemon.until("the ledger", SOON, async || is_in_the_ledger(&daemon, &held).await.then_some(())).await;
            daemon.kill9().await;
            daemon.start_again().await;
        } else {
            onsip.cut(&anna);
        }
        let bound = u64::try_from(n + 1).unwrap();
        until_observed(&onsip, &daemon, "a binding", SOON, |saw| saw.count(&anna, Request::Bind) == bound).await;
        daemon.until_active(1).await;
        let resource = anna.with_resource_str(&format!("r{n}")).unwrap();
        let only_this = |board: &Switchboard| {
            let held = board.subscriptions(&anna, Some(&node(&anna)));
            held.len() == 2
                && held.iter().any(|one| one.subid == foreign)
                && held.iter().any(|one| one.jid.as_str() == resource.as_str())
        };
        assert!(
            onsip.until(SOON, only_this).await,
            "{:#?}\n{}",
            onsip.subscriptions(&anna, &node(&anna)),
            daemon.log()
        );
    }
    assert!(subids(&onsip, &anna).contains(&foreign), "what is somebody else's is left alone");
    ring(&onsip, &anna);
    daemon.until_calls(2).await;
}
