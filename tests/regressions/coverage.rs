//! Windows in which events cannot arrive: each is told once, from the last moment at which they could, and every place where
//! an operator reads of it says the same.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Answering, Approval, Authorize, Failure, Login, Request, Simulator};
use serde_json::Value;

use crate::places::{self, Places, Told, account_everywhere};
use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::stage::*;

#[path = "coverage/ends.rs"]
mod ends;

/// The account of these tests.
const ACCOUNT: &str = "front-desk";

/// When the window began and why it is open.
type Window = (Timestamp, String);

fn window(of: &Value, since: &str) -> Option<Window> {
    Some((of[since].as_str()?.parse().unwrap(), of["reason"].as_str()?.to_owned()))
}

/// Waits until the account is blind for `reason`, and has the API, the metrics, the page, `status` and the log agree.
async fn blind_everywhere(daemon: &Daemon, reason: &str) -> Window {
    window(&blind(daemon, reason).await.row["blind"], "since").unwrap()
}

async fn blind(daemon: &Daemon, reason: &str) -> Told {
    account_everywhere(daemon, ACCOUNT, &format!("blind for {reason}"), |row| row["blind"]["reason"] == reason).await
}

/// Waits until the account sees, and returns its gaps so far, without repeats. The log tells of the newest one's window.
async fn sees(daemon: &Daemon, gaps_so_far: usize) -> Vec<Value> {
    let enough = async || Some(gaps(once(daemon.events(EVENTS)))).filter(|gaps| gaps.len() >= gaps_so_far);
    let told = daemon.until(&format!("{gaps_so_far} gaps"), SOON, enough).await;
    account_everywhere(daemon, ACCOUNT, "an account that sees", |row| row["blind"].is_null()).await;
    told
}

/// The newest gap is the only new one, and is the window that was told of while it was open.
fn assert_is(told: &[Value], count: usize, (since, reason): &Window) {
    assert_eq!(told.len(), count, "{told:#?}");
    assert_eq!(window(&told[count - 1]["data"], "from"), Some((*since, reason.clone())));
}

async fn stage() -> (Simulator, BareJid, Setup, Daemon) {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account(ACCOUNT, &anna);
    let daemon = setup.start_active(1).await;
    (onsip, anna, setup, daemon)
}

fn with(setup_of: &Simulator, anna: &BareJid, lines: &str) -> Setup {
    Setup::of(setup_of).account_with(ACCOUNT, anna, lines)
}

#[tokio::test]
async fn f1_a_start_while_the_service_is_away_keeps_the_end_of_the_last_coverage() {
    let (onsip, _, _, mut daemon) = stage().await;
    assert!(daemon.terminate().await.success());
    let ended = Moment::now().utc();
    onsip.go_down();
    daemon.start_again().await;
    let first = blind_everywhere(&daemon, "restart").await;
    assert!(first.0 <= ended, "{first:?} is later than {ended}");
    // A clean stop, and one that is none, of a router under which it never was on line.
    assert!(daemon.terminate().await.success());
    daemon.start_again().await;
    assert_eq!(blind_everywhere(&daemon, "restart").await, first);
    daemon.kill9().await;
    daemon.start_again().await;
    assert_eq!(blind_everywhere(&daemon, "restart").await, first);
    onsip.come_up();
    assert_is(&sees(&daemon, 1).await, 1, &first);
    assert!(daemon.log().contains(&format!("blind_since={}", first.0)), "{}", daemon.log());
}

#[tokio::test]
async fn f1_f6_refused_credentials_that_are_put_right_by_reload_or_restart_are_one_window() {
    let (onsip, anna, right, mut daemon) = stage().await;
    assert!(daemon.terminate().await.success());
    let ended = Moment::now().utc();
    let wrong = with(&onsip, &anna, "password = \"wrong\"");
    daemon.rewrite_config(&wrong.toml());
    daemon.start_again().await;
    let first = blind_everywhere(&daemon, "refused").await;
    assert!(first.0 <= ended, "{first:?} is later than {ended}");
    with(&onsip, &anna, "password = \"wrong again\"").reload(&daemon).await;
    daemon.until_count("connects_total", &[("outcome", "refused")], 2).await;
    assert_eq!(blind_everywhere(&daemon, "refused").await, first, "a reload changes nothing of it");
    right.reload(&daemon).await;
    assert_is(&sees(&daemon, 1).await, 1, &first);

    // Refused while it runs: the service does not know the password any more after a loss.
    wrong.reload(&daemon).await;
    let second = blind_everywhere(&daemon, "refused").await;
    assert!(daemon.terminate().await.success());
    daemon.rewrite_config(&right.toml());
    daemon.start_again().await;
    assert_is(&sees(&daemon, 2).await, 2, &second);
}

#[tokio::test]
async fn f1_a_password_that_is_put_right_in_its_file_ends_the_window_it_opened() {
    let (onsip, anna) = service_with_anna().await;
    let mut daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start_active(1).await;
    let secret = daemon.folder().join("password");
    std::fs::write(&secret, "wrong").unwrap();
    let from_file = Setup::of(&onsip).watched().account_with(ACCOUNT, &anna, "password = { file = \"password\" }");
    assert!(daemon.terminate().await.success());
    let ended = Moment::now().utc();
    daemon.rewrite_config(&from_file.toml());
    daemon.start_again().await;
    let first = blind_everywhere(&daemon, "refused").await;
    assert!(first.0 <= ended, "{first:?} is later than {ended}");
    std::fs::write(&secret, PASSWORD).unwrap();
    assert_is(&sees(&daemon, 1).await, 1, &first);
}

#[tokio::test]
async fn f1_f6_an_account_that_was_disabled_has_a_gap_from_then_on() {
    let (onsip, anna, enabled, daemon) = stage().await;
    let password = format!("password = \"{PASSWORD}\"\n");
    let disabled = with(&onsip, &anna, &(password + "enabled = false"));
    let before = Moment::now().utc();
    disabled.reload(&daemon).await;
    daemon.until_accounts("disabled", 1).await;
    daemon.until_count("disconnects_total", &[("reason", "stopped")], 1).await;
    let told = account_everywhere(&daemon, ACCOUNT, "a disabled account", |row| row["state"] == "disabled").await;
    assert_eq!(told.row["blind"], Value::Null, "nothing is expected of it");
    let after = Moment::now().utc();
    enabled.reload(&daemon).await;
    let told = sees(&daemon, 1).await;
    let (from, reason) = window(&told[0]["data"], "from").unwrap();
    assert!(before <= from && from <= after && reason == "reload", "{before} {from} {after} {reason}");
    assert_eq!(told.len(), 1, "{told:#?}");

    // The same for one that is started anew with another setting.
    let other = format!("password = \"{PASSWORD}\"\nresource = \"other\"");
    with(&onsip, &anna, &other).reload(&daemon).await;
    let told = sees(&daemon, 2).await;
    assert_eq!(window(&told[1]["data"], "from").unwrap().1, "reload", "{told:#?}");
}

#[tokio::test]
async fn f6_a_first_start_says_so_and_has_no_gap() {
    let (onsip, anna) = service_with_anna().await;
    onsip.go_down();
    let daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start().await;
    blind_everywhere(&daemon, "start").await;
    onsip.come_up();
    daemon.until_active(1).await;
    daemon.until_logged("reason=start", SOON).await;
    onsip.cut(&anna);
    let told = sees(&daemon, 1).await;
    assert_eq!(told[0]["data"]["reason"], "disconnect", "the first is the one of the cut");
}

#[tokio::test]
async fn f6_an_account_whose_subscription_waits_for_approval_says_so() {
    let onsip = service().await;
    onsip.behave_all(|behaviour| behaviour.approval = Approval::Silence);
    let anna = account(&onsip, "anna@acme.test");
    let daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start().await;
    daemon.until_subscriptions("pending", 1).await;
    daemon.until_logged("waits for approval", SOON).await;
    let told = blind(&daemon, "start").await;
    assert!(told.row["why"].as_str().unwrap().contains("wait for approval"), "{:#}", told.row);
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
}

/// Returns the account's only subscription, once it is so; the account tells of it too.
async fn only_subscription(daemon: &Daemon, state: &str, text: &str) -> (Told, Value) {
    let is = |places: &Places| {
        let mut rows = places.subscriptions(ACCOUNT);
        rows.next().is_some_and(|row| row["state"] == state)
            && places
                .account(ACCOUNT)
                .is_some_and(|row| row["why"].as_str().is_some_and(|why| why.contains(text)) && !row["blind"].is_null())
    };
    let places = places::until(daemon, text, is).await;
    let (row, subscription) =
        (places.account(ACCOUNT).cloned().unwrap(), places.subscriptions(ACCOUNT).next().cloned());
    (Told { row, places }, subscription.unwrap())
}

#[tokio::test]
async fn a_subscription_that_is_denied_is_so_everywhere_at_the_start_and_later() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |behaviour| behaviour.approval = Approval::Deny(Duration::ZERO));
    let daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start().await;
    let (told, denied) = only_subscription(&daemon, "denied", "subscriptions that the service denies: 1").await;
    assert_eq!(told.row["blind"]["reason"], "start");
    assert_eq!(told.line("subscription denied").field("why"), denied["why"].as_str().unwrap());
    assert!(told.row["why"].as_str().unwrap().contains(denied["why"].as_str().unwrap()), "{:#}", told.row);

    let (onsip, anna, _, daemon) = stage().await;
    onsip.behave(&anna, |behaviour| behaviour.approval = Approval::Deny(Duration::ZERO));
    onsip.revoke(&anna, &node(&anna));
    let (told, denied) = only_subscription(&daemon, "denied", "subscriptions that the service denies: 1").await;
    assert_eq!(told.row["blind"]["reason"], "revoked");
    assert_eq!(told.line("subscription denied").field("why"), denied["why"].as_str().unwrap());
    assert_eq!(told.places.summary()["totals"]["gaps"], 0, "the window is open");
}

#[tokio::test]
async fn a_lease_that_is_lost_is_told_everywhere_until_the_subscription_is_back() {
    let (onsip, anna) = service_with_anna().await;
    let daemon = Setup::of(&onsip).onsip("subscription_lease = \"4s\"").account(ACCOUNT, &anna).start_active(1).await;
    let fault = || Answering::Fail(Failure::new("wait", "internal-server-error"));
    onsip.behave(&anna, |behaviour| {
        (behaviour.options, behaviour.subscribe, behaviour.list) = (fault(), fault(), fault());
    });
    let told = blind(&daemon, "lease").await;
    assert_eq!(told.row["state"], "online");
    onsip.behave(&anna, |behaviour| {
        behaviour.options = Answering::AsDocumented;
        (behaviour.subscribe, behaviour.list) = (Answering::AsDocumented, Answering::AsDocumented);
    });
    let window = window(&told.row["blind"], "since").unwrap();
    assert_is(&sees(&daemon, 1).await, 1, &window);
}

#[tokio::test]
async fn an_account_that_is_refused_for_good_is_so_everywhere() {
    let (onsip, anna, _, daemon) = stage().await;
    onsip.behave(&anna, |behaviour| behaviour.login = Login::Fail("account-disabled"));
    onsip.cut(&anna);
    let told = account_everywhere(&daemon, ACCOUNT, "a refused account", |row| row["state"] == "refused").await;
    assert_eq!(told.row["blind"]["reason"], "refused");
    assert_eq!(told.line("account refused").field("why"), told.row["why"].as_str().unwrap());
    assert_eq!(told.places.summary()["ready"], true, "the others are served");
}

#[tokio::test]
async fn an_address_that_is_not_granted_is_told_everywhere() {
    let (onsip, anna) = service_with_anna().await;
    let other = Authorize::GrantOther(Duration::from_hours(1), "bert@acme.test".to_owned());
    onsip.behave(&anna, |behaviour| {
        (behaviour.authorize, behaviour.needs_authorization) = (other, false);
    });
    let daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start_active(1).await;
    let granted = |row: &Value| row["why"] == "anna@acme.test is not among the granted addresses";
    let told = account_everywhere(&daemon, ACCOUNT, "an address that is not granted", granted).await;
    assert_eq!(told.row["blind"], Value::Null);
    assert_eq!(told.line("the configured address is not among the granted").field("sip_address"), "anna@acme.test");
}

#[tokio::test]
async fn f4_nodes_come_and_go_in_the_open_session() {
    let (onsip, anna, setup, daemon) = stage().await;
    let password = format!("password = \"{PASSWORD}\"\n");
    let two = "subscribe = { active-calls = [\"/me/anna@acme.test\"], voicemail = [\"/me/anna@acme.test\"] }";
    let voicemail_is_active = async || {
        daemon.until_exactly("subscriptions", &[("service", "voicemail"), ("state", "active")], 1).await;
    };
    with(&onsip, &anna, &(password.clone() + two)).reload(&daemon).await;
    voicemail_is_active().await;
    onsip.publish("voicemail", "/acme.test/anna", "v1", "<message xmlns='x'/>");
    let of_service = |events: Vec<Value>, service: &str| {
        events.into_iter().filter(|event| event["data"]["service"] == service).count()
    };
    let heard = async || (of_service(daemon.events(EVENTS), "voicemail") == 1).then_some(());
    daemon.until("an item of the new service", SOON, heard).await;

    setup.reload(&daemon).await;
    until_observed(&onsip, &daemon, "an unsubscription", SOON, |saw| saw.count(&anna, Request::Unsubscribe) == 1).await;
    let line = daemon.until_logged("the node is not configured any more", SOON).await;
    assert!(line.contains("unsubscribed") && line.contains("voicemail"), "{line}");
    daemon.until_active(1).await;
    let rows = async || (daemon.json("/api/v1/subscriptions").await.as_array().unwrap().len() == 1).then_some(());
    daemon.until("one subscription", SOON, rows).await;

    // And back again, at once.
    with(&onsip, &anna, &(password.clone() + two)).reload(&daemon).await;
    voicemail_is_active().await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
    assert_eq!((asked(&onsip, &anna, Request::Login), asked(&onsip, &anna, Request::Bind)), (1, 1));
    assert_eq!(gaps(daemon.events(EVENTS)), Vec::<Value>::new());

    // After the next loss both count.
    onsip.cut(&anna);
    let told = sees(&daemon, 1).await;
    assert_eq!(told[0]["data"]["services"], serde_json::json!(["active-calls", "voicemail"]));
    voicemail_is_active().await;
}

#[tokio::test]
async fn f4_a_node_that_is_taken_out_while_the_account_is_away_is_said_to_be_left() {
    let (onsip, anna, setup, daemon) = stage().await;
    let lines = format!(
        "password = \"{PASSWORD}\"\nsubscribe = {{ active-calls = [\"/me/anna@acme.test\", \"/acme.test/anna\"] }}"
    );
    with(&onsip, &anna, &lines).reload(&daemon).await;
    daemon.until_active(2).await;
    onsip.go_down();
    daemon.until_accounts("online", 0).await;
    setup.reload(&daemon).await;
    let line = daemon.until_logged("is left at the service", SOON).await;
    assert!(line.contains("/acme.test/anna"), "{line}");
    onsip.come_up();
    daemon.until_active(1).await;
    assert_eq!(sees(&daemon, 1).await.len(), 1);
}

/// What ends coverage, and what has it begin again.
type Turn = fn(&Simulator, &BareJid);

#[tokio::test]
async fn whatever_ends_coverage_is_told_alike_everywhere() {
    let hour = Duration::from_hours(1);
    let cases: [(&str, Turn, Turn); 4] = [
        ("disconnect", |onsip, _| onsip.go_down(), |onsip, _| onsip.come_up()),
        (
            "conflict",
            |onsip, anna| {
                onsip.behave(anna, |behaviour| behaviour.login = Login::Fail("temporary-auth-failure"));
                onsip.stream_error(anna, "conflict");
            },
            |onsip, anna| onsip.behave(anna, |behaviour| behaviour.login = Login::Check),
        ),
        (
            "revoked",
            |onsip, anna| {
                onsip.behave(anna, |behaviour| behaviour.approval = Approval::Silence);
                onsip.revoke(anna, &node(anna));
            },
            |onsip, anna| onsip.approve_now(anna, &node(anna)),
        ),
        (
            "authorization",
            |onsip, anna| onsip.behave(anna, |behaviour| behaviour.authorize = Authorize::Wait),
            |onsip, anna| {
                onsip.behave(anna, |behaviour| behaviour.authorize = Authorize::Grant(Duration::from_hours(1)));
            },
        ),
    ];
    for (reason, end, begin) in cases {
        let (onsip, anna) = service_with_anna().await;
        let granted = if reason == "authorization" { Duration::from_secs(3) } else { hour };
        onsip.behave(&anna, |behaviour| behaviour.authorize = Authorize::Grant(granted));
        let daemon = Setup::of(&onsip).account(ACCOUNT, &anna).start_active(1).await;
        let before = Moment::now().utc();
        end(&onsip, &anna);
        let told = blind_everywhere(&daemon, reason).await;
        // What was heard last may be a little older than what was done; a lapse is told in whole seconds.
        assert!(told.0 >= before - SignedDuration::from_secs(5), "{told:?} {before}");
        let line = daemon.log().lines().rfind(|line| line.contains("account blind")).unwrap().to_owned();
        assert!(line.contains(&format!("since={}", told.0)) && line.contains(&format!("reason={reason}")), "{line}");
        if reason == "revoked" {
            daemon.until_subscriptions("pending", 1).await;
        }
        begin(&onsip, &anna);
        assert_is(&sees(&daemon, 1).await, 1, &told);
    }
}
