//! The life of a subscription over real connections: approval, renewal, revocation, silent ends, limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{
    Answering, Approval, Authorize, CountedBy, Failure, Options, Request, Simulator, State, Switchboard,
};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// A refused request may be tried three times in fifteen seconds (interface section 6). The pure core is held to all
/// that is promised of pauses, on virtual time (`protocol/subscription/tests`); here it is seen to be obeyed.
const REFUSAL_REST: Duration = Duration::from_millis(7500);

/// Waits until the service would deliver to `jid`; fails with the end of the log.
async fn until_delivering(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    if !onsip.until_subscribed(jid, &node(jid), SOON).await {
        daemon.fail(&format!("nothing is delivered: {:?}", onsip.subscriptions(jid, &node(jid))));
    }
}

async fn assert_delivers(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    let before = daemon.events(EVENTS).len();
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_events(EVENTS, before + 2, SOON).await;
}

/// Looks at the service until `end` has come, and fails as soon as `promise` is broken.
async fn holds_until(
    onsip: &Simulator,
    daemon: &Daemon,
    end: impl Fn(&Switchboard) -> bool,
    what: &str,
    promise: impl Fn(&Switchboard) -> bool,
) {
    let mut broken = false;
    let ended = onsip.until(SOON, |board| {
        broken = broken || !promise(board);
        broken || end(board)
    });
    if !ended.await || broken {
        daemon.fail(&format!("{what}: {:?}", onsip.observed()));
    }
}

/// The shortest time between two requests of these kinds.
fn shortest_pause(onsip: &Simulator, jid: &BareJid, requests: &[Request]) -> Duration {
    let seen = onsip.observed();
    let mut times: Vec<_> = requests.iter().flat_map(|request| seen.requests(jid, *request).times).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1].since(pair[0])).min().unwrap_or_default()
}

/// Waits for the try after a refusal, and checks that it was not made at once.
async fn assert_refusal_is_respected(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    until_observed(onsip, daemon, "another try", SOON, |saw| saw.count(jid, Request::Subscribe) >= 2).await;
    let pause = shortest_pause(onsip, jid, &[Request::Subscribe]);
    assert!(pause >= REFUSAL_REST, "{pause:?} after a refusal");
}

#[tokio::test]
async fn a_late_approval_is_waited_for() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.approval = Approval::After(Duration::from_secs(2)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("pending", 1).await;
    daemon.until_accounts("online", 1).await;
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
    let subscriptions = daemon.json("/api/v1/subscriptions").await;
    assert_eq!(subscriptions[0]["subid"], subids(&onsip, &anna)[0].as_str(), "{subscriptions:#}");
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn a_denied_subscription_is_left_alone_for_a_while() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.approval = Approval::Deny(Duration::from_millis(20)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("denied", 1).await;
    daemon.until_accounts("online", 1).await;
    daemon.until_ready().await; // a denied subscription does not keep the daemon from that
    assert_refusal_is_respected(&onsip, &daemon, &anna).await;
    daemon.until_subscriptions("denied", 1).await;
    assert_eq!(subids(&onsip, &anna), [""; 0]);
}

#[tokio::test]
async fn a_request_that_nobody_decides_on_is_taken_back_and_made_again_but_never_twice_at_once() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.approval = Approval::Silence);
    let setup = Setup::of(&onsip).onsip("approval_timeout = \"1s\"").account("front-desk", &anna);
    let daemon = setup.start().await;
    let alone = |board: &Switchboard| board.subscriptions(&anna, Some(&node(&anna))).len() <= 1;
    let taken_back = |board: &Switchboard| board.observed().count(&anna, Request::Unsubscribe) >= 2;
    holds_until(&onsip, &daemon, taken_back, "two requests at once", alone).await;
    let pause = shortest_pause(&onsip, &anna, &[Request::Subscribe]);
    assert!(pause >= Duration::from_secs(1), "{pause:?} between two requests");

    onsip.behave(&anna, |b| b.approval = Approval::After(Duration::from_millis(20)));
    daemon.until_active(1).await;
    assert_eq!(subids(&onsip, &anna).len(), 1);
}

#[tokio::test]
async fn a_request_found_pending_is_waited_for_and_not_repeated() {
    let (onsip, anna) = service_with_anna().await;
    let planted = onsip.plant("active-calls", &own(&anna), &node(&anna), State::Pending);
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("pending", 1).await;
    onsip.approve_now(&anna, &node(&anna));
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna)), (0, vec![planted]));
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn after_a_revocation_it_is_subscribed_again_on_the_same_connection() {
    let (onsip, anna, daemon) = running().await;
    onsip.revoke(&anna, &node(&anna));
    until_delivering(&onsip, &daemon, &anna).await;
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 2);
    assert_eq!(onsip.observed().connections_ever, 1, "the connection stays");
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn a_none_that_is_not_true_changes_nothing() {
    let (onsip, anna, daemon) = running().await;
    let lists = asked(&onsip, &anna, Request::List);
    onsip.announce("active-calls", &own(&anna), &node(&anna), "none");
    until_observed(&onsip, &daemon, "a listing", SOON, |saw| saw.count(&anna, Request::List) > lists).await;
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), asked(&onsip, &anna, Request::Unsubscribe)), (1, 0));
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn a_subscription_that_vanished_in_silence_is_found_missing_at_its_renewal() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"2s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    onsip.forget(&anna, &node(&anna));
    until_delivering(&onsip, &daemon, &anna).await;
    daemon.until_active(1).await;
    assert_eq!(subids(&onsip, &anna).len(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_before_it_ends_and_not_all_the_time() {
    let (onsip, anna) = service_with_anna().await;
    // Renewed after 10 s to 13 s: what remains is for a busy machine.
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"20s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let delivers = |board: &Switchboard| {
        let now = Moment::now();
        let entries = board.subscriptions(&anna, Some(&node(&anna)));
        entries.len() == 1 && entries.iter().all(|entry| entry.delivers(now))
    };
    let renewed = |board: &Switchboard| board.observed().count(&anna, Request::Options) >= 1;
    holds_until(&onsip, &daemon, renewed, "a gap in the lease", delivers).await;
    daemon.until_count("subscription_renewals_total", &[SERVICE, ("outcome", "renewed")], 1).await;
    let pause = shortest_pause(&onsip, &anna, &[Request::Subscribe, Request::Options]);
    assert!(pause >= Duration::from_secs(8), "{pause:?} between subscription and renewal");
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
    assert_eq!(daemon.count("subscription_renewals_total", &[("outcome", "failed")]).await, 0);
    assert_eq!(daemon.count("gaps_total", &[]).await, 0);
}

#[tokio::test]
async fn an_authorization_is_renewed_before_it_ends_and_not_all_the_time() {
    let (onsip, anna) = service_with_anna().await;
    // Renewed after 12 s to 14 s: what remains is for a busy machine.
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(20)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    let authorized = |board: &Switchboard| board.authorized_until(&anna, Moment::now()).is_some();
    let renewed = |board: &Switchboard| board.observed().count(&anna, Request::Authorize) >= 2;
    holds_until(&onsip, &daemon, renewed, "the authorization lapsed", authorized).await;
    let pause = shortest_pause(&onsip, &anna, &[Request::Authorize]);
    assert!(pause >= Duration::from_secs(10), "{pause:?} between two authorizations");
    let end = onsip.look(|board| board.authorized_until(&anna, Moment::now())).expect("it was renewed").utc();
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let end = end.as_second() as f64;
    let of = [("account", "front-desk")];
    let told = |until: f64| (until - end).abs() <= 2.0; // the service tells its end in whole seconds
    daemon.until_metric("account_authorized_until_timestamp_seconds", &of, SOON, told).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
    daemon.until_accounts("online", 1).await;
}

#[tokio::test]
async fn a_lease_that_ended_in_silence_is_healed_by_the_next_renewal() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"3s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    onsip.end_leases(&anna);
    assert!(!onsip.until_subscribed(&anna, &node(&anna), Duration::ZERO).await, "nothing is delivered any more");
    until_delivering(&onsip, &daemon, &anna).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn an_authorization_that_ended_in_silence_is_healed_by_the_next_one() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(4)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    onsip.end_authorization(&anna);
    let again = |board: &Switchboard| board.authorized_until(&anna, Moment::now()).is_some();
    assert!(onsip.until(SOON, again).await, "{:?}", onsip.observed());
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn of_several_entries_of_our_own_one_is_kept_and_those_of_others_are_not_touched() {
    let (onsip, anna) = service_with_anna().await;
    let plant = |resource: &str, state| {
        let jid = anna.with_resource_str(resource).unwrap();
        onsip.plant("active-calls", &jid, &node(&anna), state)
    };
    let others = [plant("phone", State::Subscribed), plant("phone", State::Subscribed), plant("old", State::Pending)];
    let ours: Vec<_> = (0..3).map(|_| plant(RESOURCE, State::Subscribed)).collect();
    let similar = plant("onsip-router-2", State::Subscribed);
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;

    daemon.until_count("subscriptions_removed_total", &[SERVICE], 2).await;
    let kept = subids(&onsip, &anna);
    assert!(others.iter().chain([&similar]).all(|subid| kept.contains(subid)), "{kept:?}");
    assert_eq!(kept.len(), others.len() + 2);
    assert!(kept.contains(&ours[2]), "the newest is kept");
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), asked(&onsip, &anna, Request::Unsubscribe)), (0, 2));
    assert_eq!(daemon.count("subscriptions_reused_total", &[SERVICE]).await, 1);
    let touched = onsip.subscriptions(&anna, &node(&anna)).into_iter().filter(|entry| entry.renewals > 0).count();
    assert_eq!(touched, 1, "only our own is renewed");
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn where_others_use_up_the_limit_the_subscription_is_denied_and_they_stay() {
    let options = Options { counted_by: CountedBy::BareJid, ..Options::default() };
    let onsip = Simulator::start(options).await.unwrap();
    let anna = account(&onsip, "anna@acme.test");
    for n in 0..10 {
        let other = anna.with_resource_str(&format!("random-{n}")).unwrap();
        onsip.plant("active-calls", &other, &node(&anna), State::Subscribed);
    }
    let before = subids(&onsip, &anna);
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("denied", 1).await;
    let why = daemon.json("/api/v1/subscriptions").await[0]["why"].to_string();
    assert!(why.contains("too-many-subscriptions"), "{why}");
    assert_refusal_is_respected(&onsip, &daemon, &anna).await;
    assert_eq!((subids(&onsip, &anna), asked(&onsip, &anna, Request::Unsubscribe)), (before, 0));
}

#[tokio::test]
async fn a_service_without_options_keeps_the_subscription_active() {
    let (onsip, anna) = service_with_anna().await;
    let unsupported = Answering::Fail(Failure::unsupported("subscription-options"));
    onsip.behave(&anna, |b| b.options = unsupported.clone());
    let planted = onsip.plant("active-calls", &own(&anna), &node(&anna), State::Subscribed);
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"2s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let unsupported = [SERVICE, ("outcome", "unsupported")];
    daemon.until_count("subscription_renewals_total", &unsupported, 3).await;
    daemon.until_active(1).await;
    assert_eq!(subids(&onsip, &anna), [planted]);
    assert_eq!(daemon.count("subscription_renewals_total", &[SERVICE, ("outcome", "failed")]).await, 0);
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_while_the_lease_lasts_and_the_end_of_the_lease_is_seen() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"8s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let fault = Answering::Fail(Failure::new("wait", "internal-server-error"));
    onsip.behave(&anna, |b| b.options = fault.clone());
    daemon.until_count("subscription_renewals_total", &[("outcome", "failed")], 1).await;
    daemon.until_active(1).await;
    daemon.until_subscriptions("lost", 1).await;
    assert!(
        !onsip.until_subscribed(&anna, &node(&anna), Duration::ZERO).await,
        "it is not said to be over before it is"
    );
    onsip.behave(&anna, |b| b.options = Answering::AsDocumented);
    until_delivering(&onsip, &daemon, &anna).await;
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
}

#[tokio::test]
async fn a_redirect_is_followed_and_remembered_for_the_renewal() {
    let (onsip, anna) = service_with_anna().await;
    let moved = format!("{}/acme.test", node(&anna));
    onsip.redirect(&node(&anna), &moved);
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"2s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    daemon.until_count("subscription_renewals_total", &[("outcome", "renewed")], 2).await;
    assert_eq!((onsip.subscriptions(&anna, &moved).len(), asked(&onsip, &anna, Request::Subscribe)), (1, 1));
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn redirects_in_a_circle_end_in_a_denial_and_not_in_a_storm() {
    let (onsip, anna) = service_with_anna().await;
    onsip.redirect(&node(&anna), "/me/anna@acme.test/a");
    onsip.redirect("/me/anna@acme.test/a", &node(&anna));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("denied", 1).await;
    let lists = asked(&onsip, &anna, Request::List);
    assert!(lists <= 12, "{lists} requests before it was denied");
    until_observed(&onsip, &daemon, "another try", SOON, |saw| saw.count(&anna, Request::List) > lists).await;
    let times = onsip.observed().requests(&anna, Request::List).times;
    let next = usize::try_from(lists).unwrap();
    let pause = times[next].since(times[next - 1]);
    assert!(pause >= REFUSAL_REST, "{pause:?} after a denial");
}

#[tokio::test]
async fn the_echo_of_our_own_tidying_up_ends_nothing() {
    let (onsip, anna) = service_with_anna().await;
    onsip.style(|style| style.unsubscribe_echoed = true);
    for _ in 0..3 {
        onsip.plant("active-calls", &own(&anna), &node(&anna), State::Subscribed);
    }
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    daemon.until_count("subscriptions_removed_total", &[SERVICE], 2).await;
    assert_delivers(&onsip, &daemon, &anna).await;
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna).len()), (0, 1));
}
