use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::board::{AccountStatus, SinkStatus, SubscriptionStatus};
use crate::domain::status::{AccountState, GapReason, SinkState, SubscriptionState};
use crate::protocol::coverage::Blind;

const EVIL: &str = "<script>alert(\"x\")</script> & 'so on'";
const TAMED: &str = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;so on&#39;";

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

/// The page of a board, where nothing was counted yet.
fn page(view: &View, now: Timestamp) -> String {
    let metrics = Metrics::new("0", "0", [""; 0], [""; 0], [""; 0]).unwrap();
    super::page(view, &metrics, LastMinute::default(), Moment::virtual_at(Duration::ZERO, now))
}

fn account(state: AccountState, why: Option<&str>) -> AccountStatus {
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    let why = why.map(str::to_owned);
    AccountStatus { why, ..AccountStatus::new(state, since) }
}

#[test]
fn whatever_text_the_board_holds_is_shown_and_not_obeyed() {
    let mut view = View::default();
    view.accounts.insert("front".parse().unwrap(), account(AccountState::Refused, Some(EVIL)));
    let (state, since, why) = (SubscriptionState::Denied, now(), Some(EVIL.to_owned()));
    let subscription = SubscriptionStatus { state, since, why, subid: None, lease_until: None, renewed: None };
    view.subscriptions.insert(("front".parse().unwrap(), EVIL.to_owned(), EVIL.into()), subscription);
    let last_error = Some(EVIL.to_owned());
    let sink = SinkStatus { state: SinkState::Down, last_error, ..SinkStatus::new("file") };
    view.sinks.insert("log".parse().unwrap(), sink);
    let page = page(&view, now());
    assert!(!page.contains("<script>alert") && !page.contains("'so on'"));
    assert_eq!(page.matches(TAMED).count(), 6, "the account tells why its subscription is denied, too");
}

#[test]
fn the_worst_accounts_come_first_and_the_left_out_are_counted() {
    let mut view = View::default();
    for n in 0..ROWS {
        view.accounts.insert(format!("a{n}").parse().unwrap(), account(AccountState::Online, None));
    }
    view.accounts.insert("x-waiting".parse().unwrap(), account(AccountState::Waiting, None));
    view.accounts.insert("y-refused".parse().unwrap(), account(AccountState::Refused, None));
    view.accounts.insert("z-busy".parse().unwrap(), account(AccountState::Connecting, None));
    let page = page(&view, now());
    let at = |text: &str| page.find(text).unwrap();
    assert!(at("<b>y-refused</b>") < at("<b>x-waiting</b>"));
    assert!(at("<b>x-waiting</b>") < at("<b>z-busy</b>"));
    assert!(at("<b>z-busy</b>") < at("<b>a0</b>"));
    assert!(page.contains("3 more are left out"));
}

#[test]
fn a_state_is_told_with_its_age() {
    let mut view = View { store_open: true, ..View::default() };
    view.accounts.insert("front".parse().unwrap(), account(AccountState::Online, None));
    let text = page(&view, now());
    assert!(text.contains(">10 min ago<") && text.contains(">ready<"));
    view.draining = true;
    assert!(page(&view, now()).contains(">stopping<"));
}

#[test]
fn a_blind_account_says_since_when_and_why_and_an_address_that_is_not_granted_is_named() {
    let mut view = View::default();
    let blind = Some(Blind { since: "2026-01-01T00:05:00Z".parse().unwrap(), reason: GapReason::Authorization });
    let not_granted = Some("front@acme.test".to_owned());
    let status = AccountStatus { blind, not_granted, ..account(AccountState::Authorizing, None) };
    view.accounts.insert("front".parse().unwrap(), status);
    let page = page(&view, now());
    assert!(page.contains(">5 min ago</time>: authorization<"), "{page}");
    assert!(page.contains("front@acme.test is not among the granted addresses"));
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    // Names that are not asked for: XML namespaces.
    let page = page(&View::default(), now()).replace("http://www.w3.org/", "");
    for word in ["src=", "href=\"/", "url(", "@import", "style=", "http://", "https://", "import "] {
        assert!(!page.contains(word), "{word}");
    }
    for part in ["default-src 'none'", "style-src 'sha256-", "script-src 'sha256-", "connect-src 'self'"] {
        assert!(policy().contains(part), "{part}");
    }
    assert!(!policy().contains("unsafe"));
}

#[test]
fn the_page_is_whole_and_small() {
    let view = View::default();
    for page in [page(&view, now()), locked()] {
        assert_eq!(page.matches("<script type=\"module\">").count(), 1);
        assert!(page.contains(SCRIPT) && page.contains(STYLE) && page.ends_with("</html>\n"));
        assert!(page.len() < 60_000, "{}", page.len());
    }
}

#[test]
fn where_a_token_is_needed_the_page_says_so_and_nothing_else() {
    let locked = locked();
    assert!(locked.contains("<html lang=\"en\" data-locked>"));
    let mut view = View::default();
    view.accounts.insert("front".parse().unwrap(), account(AccountState::Online, None));
    assert!(page(&view, now()).contains("<b>front</b>") && !page(&view, now()).contains("data-locked>"));
}
