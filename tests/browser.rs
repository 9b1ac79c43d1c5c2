//! The status page in a real browser, served by a real daemon for a simulated service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;
#[path = "browser/webdriver.rs"]
mod webdriver;

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use onsip_router::board::{AccountStatus, Board};
use onsip_router::domain::moment::Moment;
use onsip_router::domain::status::AccountState;
use onsip_router::feed::Feed;
use onsip_router::http::listen;
use onsip_router::http::options::Options;
use onsip_router::metrics::Metrics;
use onsip_router::simulator::Login;

use support::receiver::{Receiver, status};
use support::stage::{CALLER, Setup, account, service, service_with_anna};
use webdriver::Browser;

/// A key, in the words of `WebDriver`.
const ENTER: &str = "\u{e007}";
const AWAY: Login = Login::Fail("temporary-auth-failure");

/// The text of the row of an account.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#accounts tr')].find((row) => row.innerText.startsWith('{name}'))?.innerText ?? ''"
    )
}

fn says(selector: &str, text: &str) -> String {
    format!("document.querySelector({selector:?})?.innerText.includes({text:?})")
}

/// Fails if anything but `server` was asked for; names are all there is in an address.
async fn assert_asked_nobody_else(browser: &Browser, server: SocketAddr) {
    let requests = browser.requests().await;
    assert!(requests.len() > 5, "{requests:?}");
    let own = format!("http://{server}/");
    let others: Vec<_> = requests.iter().filter(|url| !url.starts_with(&own) && !url.starts_with("data:")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn the_page_follows_accounts_and_events_as_they_happen() {
    let onsip = service().await;
    let (anna, ben) = (account(&onsip, "anna@acme.test"), account(&onsip, "ben@acme.test"));
    onsip.behave(&ben, |b| b.login = AWAY);
    let setup = Setup::of(&onsip).account("anna", &anna).account("ben", &ben);
    let daemon = setup.start_active(1).await;
    let browser = Browser::start().await;
    browser.look(1440, 900, "light").await;
    browser.open(&format!("http://{}/", daemon.listen())).await;

    // An account that is not online yet, and why; then it comes.
    browser.until(&says("#figures", "1 of 2 online")).await;
    browser.until(&format!("/waiting[^]*blind for/.test({})", row("ben"))).await;
    onsip.behave(&ben, |b| b.login = Login::Check);
    browser.until(&says("#figures", "2 of 2 online")).await;
    browser.until(&format!("/online/.test({0}) && !/blind/.test({0})", row("ben"))).await;
    browser.until(&says("#subscriptions", "1 h 59 min")).await; // a lease that counts down
    browser.until(&says("#sinks", "log")).await;
    daemon.until_ready().await;
    browser.until(&says("#health", "ready")).await;

    // An event that happens now.
    let called = Moment::now();
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    browser.until("/rings\\s+anna\\s+\\+12125550111 → /.test(document.querySelector('#events li')?.innerText)").await;
    println!("from a call to its event on the page: {:?}", Moment::now().since(called));
    onsip.hang_up(&mut call);
    browser.until(&says("#events li", "ended")).await;
    onsip.call_in(ben.as_str(), "sip:+12125550199@carrier.test", 1);
    browser.until(&says("#events li", "+12125550199")).await;

    // Who comes later begins with what happened before.
    let opened = Moment::now();
    browser.open(&format!("http://{}/", daemon.listen())).await;
    browser.until(&says("#events ol", "ended")).await;
    println!("from opening the page to its first event: {:?}", Moment::now().since(opened));

    // Filters, by the keyboard alone.
    browser.type_into("#events input", "ben").await;
    browser.until("document.querySelectorAll('#events li:not([hidden])').length === 1").await;
    browser.type_into("#pause", ENTER).await;
    browser.until("document.querySelector('#pause').ariaPressed === 'true'").await;
    onsip.call_in(ben.as_str(), CALLER, 1);
    browser.until(&says("#feed-state", "paused, 1 new")).await;
    browser.type_into("#pause", ENTER).await;
    browser.until("document.querySelectorAll('#events li:not([hidden])').length === 2").await;
    browser.click("[data-account=anna]").await;
    browser
        .until(
            "[...document.querySelectorAll('#subscriptions tbody tr')].every((row) => row.innerText.includes('anna'))",
        )
        .await;
    browser.type_into("#selection button", ENTER).await;
    browser.until(&says("#subscriptions", "ben")).await;

    // Blind, and seeing again.
    onsip.behave(&anna, |b| b.login = AWAY);
    onsip.cut(&anna);
    browser.until(&format!("/waiting[^]*blind for [^]*disconnect/.test({})", row("anna"))).await;
    browser.until(&says("#health", "1 account blind")).await;
    browser.until("document.title.startsWith('(1 blind)')").await;
    browser.until("document.querySelector('#accounts tbody tr').innerText.startsWith('anna')").await; // the worst first
    browser.picture("blind").await;
    onsip.behave(&anna, |b| b.login = Login::Check);
    browser.until(&format!("/online/.test({0}) && !/blind/.test({0})", row("anna"))).await;
    browser.until("document.title === 'onsip-router'").await;
    browser.run("document.querySelector('#events input').value = ''; document.querySelector('#events input').dispatchEvent(new Event('input'))").await;
    browser.until(&says("#events ol", "gap")).await;

    for (name, width, height, scheme) in
        [("light", 1440, 900, "light"), ("dark", 1440, 900, "dark"), ("narrow", 390, 1600, "light")]
    {
        browser.look(width, height, scheme).await;
        browser.until(&format!("innerWidth === {width} && document.documentElement.scrollWidth <= {width}")).await;
        browser.picture(name).await;
    }
    assert_eq!(browser.console().await, [""; 0]);
    assert_asked_nobody_else(&browser, daemon.listen()).await;
}

#[tokio::test]
async fn f3_f5_the_page_shows_the_next_try_of_a_held_call_and_a_sink_that_is_not_configured_any_more() {
    let receiver = Receiver::start(|_| status(500));
    let (onsip, anna) = service_with_anna().await;
    let without = Setup::of(&onsip).account("anna", &anna);
    let crm = format!("type = \"webhook\"\nurl = \"http://{}/\"", receiver.address());
    let daemon = without.clone().sink("crm", &crm).start_active(1).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", daemon.listen())).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    browser.until(&says("#sinks", "call held, next try in ")).await;
    without.reload(&daemon).await;
    browser.until(&says("#sinks", "not configured")).await;
    browser.until(&says("#figures", "1 not configured")).await;
}

#[tokio::test]
async fn where_a_token_is_set_the_page_shows_nothing_without_it() {
    let onsip = service().await;
    let anna = account(&onsip, "anna@acme.test");
    let setup = Setup::of(&onsip).account("anna", &anna).section("token = \"open sesame\"");
    let daemon = setup.start_active(1).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", daemon.listen())).await;
    browser.until("!document.querySelector('#sign-in').hidden && document.querySelector('#app').hidden").await;
    assert_eq!(browser.run("return document.documentElement.outerHTML.includes('anna')").await, false);
    assert_eq!(browser.run("return performance.getEntriesByType('navigation')[0].responseStatus").await, 401);
    browser.picture("sign-in").await;

    browser.type_into("#token", &format!("wrong{ENTER}")).await;
    browser.until(&says("#refusal", "This is not the token.")).await;
    browser.run("document.querySelector('#token').value = ''").await;
    browser.type_into("#token", &format!("open sesame{ENTER}")).await;
    browser.until(&row("anna")).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    browser.until(&says("#events ol", "rings")).await;

    // A reload keeps it, signing out forgets it, and no address ever had it.
    browser.open(&format!("http://{}/#account=anna", daemon.listen())).await;
    browser.run("location.reload()").await;
    browser.until(&row("anna")).await;
    browser.click("#sign-out").await;
    browser.until("!document.querySelector('#sign-in').hidden && document.querySelector('#app').hidden").await;
    assert_eq!(browser.run("return document.documentElement.outerHTML.includes('anna')").await, false);
    let requests = browser.requests().await;
    assert!(requests.iter().all(|url| !url.contains("sesame")), "{requests:?}");
    let unexpected = browser.console().await;
    let unexpected: Vec<_> = unexpected.iter().filter(|line| !line.contains("status of 401")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[actix_rt::test]
async fn ten_thousand_accounts_are_one_page_at_a_time() {
    let options =
        Options { listen: "127.0.0.1:0".parse().unwrap(), token: None, allowed_hosts: Vec::new(), mask_numbers: false };
    let (board, now) = (Arc::new(Board::default()), Timestamp::UNIX_EPOCH);
    for n in 0..10_000 {
        let state = if n == 4711 { AccountState::Refused } else { AccountState::Online };
        let name = format!("account-{n:05}").parse().unwrap();
        board.view().accounts.insert(name, AccountStatus::new(state, now));
    }
    let metrics = Arc::new(Metrics::new("1", "a", [""; 0], [""; 0], [""; 0]).unwrap());
    let server = listen(&options).unwrap().serve(board, metrics, Feed::default()).unwrap();
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", server.addr())).await;
    browser.until(&says("#accounts .pager", "1–25 of 10,000")).await;
    browser.until("document.querySelector('#accounts tbody tr').innerText.startsWith('account-04711')").await;
    let elements = browser.run("return document.querySelectorAll('*').length").await;
    assert!(elements.as_u64().unwrap() < 1000, "{elements} elements");

    browser.type_into("#accounts .pager button:last-child", ENTER).await;
    browser.until(&says("#accounts .pager", "26–50 of 10,000")).await;
    let searched = Moment::now();
    browser.type_into("#accounts input", "09999").await;
    browser.until("document.querySelectorAll('#accounts tbody tr').length === 1").await;
    println!("a search among 10,000: {:?}", Moment::now().since(searched));
    let weight = browser.run("return performance.getEntriesByType('navigation')[0].decodedBodySize").await;
    println!("the page has {weight} bytes");
    assert!(weight.as_u64().unwrap() < 60_000, "{weight} bytes");
}

#[actix_rt::test]
async fn everything_that_can_be_operated_has_a_name() {
    let options =
        Options { listen: "127.0.0.1:0".parse().unwrap(), token: None, allowed_hosts: Vec::new(), mask_numbers: false };
    let metrics = Arc::new(Metrics::new("1", "a", [""; 0], [""; 0], [""; 0]).unwrap());
    let server = listen(&options).unwrap().serve(Arc::default(), metrics, Feed::default()).unwrap();
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", server.addr())).await;
    browser.until(&says("#health", "not ready")).await;
    let nameless = browser.run(
        "return [...document.querySelectorAll('input, select, button, svg, section, ol')]
            .filter((one) => !(one.ariaLabel || one.labels?.length || one.innerText?.trim() || one.getAttribute('aria-labelledby')))
            .map((one) => one.outerHTML)",
    );
    assert_eq!(nameless.await, serde_json::json!([]));
}
