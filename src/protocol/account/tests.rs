//! The states of interface section 4, in every order of inputs.

use std::time::Duration;

use super::*;
use crate::protocol::requests::NoAnswer;
use crate::protocol::stanza::Refusal;

fn at(seconds: u64) -> Moment {
    let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Moment::virtual_at(Duration::from_secs(seconds), start + Duration::from_secs(seconds))
}

fn own() -> FullJid {
    FullJid::new("a@b.test/router").unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn granted() -> Reply {
    Ok("<iq xmlns='jabber:client'><command xmlns='http://jabber.org/protocol/commands' status='completed'/></iq>"
        .parse()
        .unwrap())
}

#[test]
fn the_order_is_connect_authorize_serve() {
    let mut account = Account::new(true, Dice::seeded(1));
    assert_eq!(account.start(at(0)), [Command::Connect(None), Command::Became(AccountState::Connecting, None)]);
    assert_eq!(account.connected(own(), at(1)), [Command::Authorize, Command::Became(AccountState::Authorizing, None)]);
    assert_eq!(
        account.authorized(&granted(), at(2)),
        [Command::Serve(own()), Command::Became(AccountState::Online, None)]
    );
}

#[test]
fn without_authorization_a_session_is_enough() {
    let mut account = Account::new(false, Dice::seeded(1));
    account.start(at(0));
    assert_eq!(account.connected(own(), at(1)), [Command::Serve(own()), Command::Became(AccountState::Online, None)]);
}

#[test]
fn a_renewed_authorization_is_passed_on_and_a_lost_session_suspends() {
    let mut account = Account::new(true, Dice::seeded(1));
    account.start(at(0));
    account.connected(own(), at(0));
    account.authorized(&granted(), at(0));
    assert_eq!(account.tick(at(2700)), [Command::Authorize]);
    assert_eq!(account.authorized(&granted(), at(2701)), [Command::Reauthorized { lapsed: false }]);
    let lost = account.lost(&Loss::Timeout, at(3000));
    assert_eq!(lost[0], Command::Suspend);
    assert!(matches!(lost[1], Command::Became(AccountState::Waiting, Some(_))));
}

#[test]
fn a_rejected_authorization_is_refused_at_once_and_serves_nothing() {
    let mut account = Account::new(true, Dice::seeded(1));
    account.start(at(0));
    account.connected(own(), at(0));
    let refusal =
        Refusal { condition: "bad-request".into(), specific: Some("bad-action".into()), wait: false, target: None };
    let commands = account.authorized(&Err(NoAnswer::Refused(refusal)), at(1));
    assert!(matches!(&commands[..], [Command::Became(AccountState::Refused, Some(_))]), "{commands:?}");
}

fn refusal(condition: &str, wait: bool) -> Reply {
    Err(NoAnswer::Refused(Refusal { condition: condition.into(), specific: None, wait, target: None }))
}

/// Connected and asked for authorization.
fn asking() -> Account {
    let mut account = Account::new(true, Dice::seeded(1));
    account.start(at(0));
    account.connected(own(), at(0));
    account
}

fn state_of(commands: &[Command]) -> Option<AccountState> {
    commands.iter().find_map(|command| match command {
        Command::Became(state, _) => Some(*state),
        _ => None,
    })
}

#[test]
fn every_failure_to_connect_has_its_state() {
    let text = || "x".to_owned();
    let rows = [
        (Failure::Refused(text()), AccountState::Refused),
        (Failure::Tls(text()), AccountState::Waiting),
        (Failure::Network(text()), AccountState::Waiting),
        (Failure::Timeout, AccountState::Waiting),
        (Failure::Protocol(text()), AccountState::Waiting),
        (Failure::Throttled(text()), AccountState::Waiting),
    ];
    for (failure, state) in rows {
        let mut account = Account::new(true, Dice::seeded(1));
        account.start(at(0));
        assert_eq!(state_of(&account.failed(&failure, at(1))), Some(state), "{failure:?}");
        let due = account.deadline().unwrap();
        assert_eq!(state_of(&account.tick(due)), Some(AccountState::Connecting));
    }
}

#[test]
fn every_loss_is_waited_out_and_none_is_a_refusal() {
    let text = || "x".to_owned();
    for loss in [
        Loss::Network(text()),
        Loss::Closed,
        Loss::Timeout,
        Loss::Conflict,
        Loss::Throttled(text()),
        Loss::StreamError(text()),
        Loss::Protocol(text()),
    ] {
        let mut account = asking();
        assert_eq!(state_of(&account.lost(&loss, at(1))), Some(AccountState::Waiting), "{loss:?}");
        assert_eq!((account.own(), account.serving()), (None, None));
    }
}

#[test]
fn every_answer_to_authorize_plain_has_its_state() {
    for (reply, state) in [
        (granted(), AccountState::Online),
        (refusal("bad-request", false), AccountState::Refused),
        (refusal("bad-request", true), AccountState::Waiting),
        (refusal("service-unavailable", false), AccountState::Waiting),
        (Err(NoAnswer::TimedOut), AccountState::Waiting),
    ] {
        assert_eq!(state_of(&asking().authorized(&reply, at(1))), Some(state), "{reply:?}");
    }
}

#[test]
fn an_answer_after_the_session_grants_nothing() {
    let mut account = asking();
    account.lost(&Loss::Timeout, at(1));
    assert_eq!(account.authorized(&granted(), at(2)), []);
    assert_eq!(account.authorization().unwrap().until(), None);
}

#[test]
fn time_passes_without_a_session_and_asks_for_nothing() {
    let mut account = asking();
    account.authorized(&granted(), at(1));
    account.lost(&Loss::Conflict, at(3000));
    assert_eq!(account.tick(at(3001)), []);
    let commands = account.tick(at(4000));
    assert_eq!(commands, [Command::Connect(None), Command::Became(AccountState::Connecting, None)]);
    assert_eq!(account.tick(at(9000)), [], "the granted hour ends unseen");
    assert_eq!(
        account.connected(own(), at(9001)),
        [Command::Authorize, Command::Became(AccountState::Authorizing, None)]
    );
}

#[test]
fn an_ended_subscription_puts_the_authorization_in_doubt_without_a_change_of_state() {
    let mut account = asking();
    assert_eq!(account.doubted(at(1)), []);
    account.authorized(&granted(), at(1));
    assert_eq!(account.doubted(at(60)), [Command::Authorize]);
    assert_eq!(account.authorized(&granted(), at(61)), [Command::Reauthorized { lapsed: false }]);
    account.lost(&Loss::Timeout, at(70));
    assert_eq!(account.doubted(at(71)), []);
    let mut account = Account::new(false, Dice::seeded(1));
    account.start(at(0));
    account.connected(own(), at(1));
    assert_eq!(account.doubted(at(60)), [], "without authorization there is none to doubt");
}

#[test]
fn a_lapse_is_told_while_the_subscriptions_run_and_until_the_next_grant() {
    let mut account = asking();
    account.authorized(&granted(), at(0));
    account.tick(at(2700));
    assert_eq!(account.lapsed(), None);
    account.tick(at(3600));
    assert_eq!(account.lapsed(), Some(at(3600)));
    account.authorized(&granted(), at(3601));
    assert_eq!(account.lapsed(), None);
    account.tick(at(7300));
    account.tick(at(7300));
    account.lost(&Loss::Timeout, at(7301));
    assert_eq!(account.lapsed(), None, "a lost session is a gap of its own");
}

#[test]
fn a_grant_that_lapses_is_no_longer_online_and_the_next_one_reaches_the_subscriptions() {
    let mut account = asking();
    account.authorized(&granted(), at(0));
    assert_eq!(account.tick(at(2700)), [Command::Authorize]);
    assert_eq!(state_of(&account.tick(at(3600))), Some(AccountState::Authorizing));
    assert_eq!(
        account.authorized(&granted(), at(3601)),
        [Command::Reauthorized { lapsed: true }, Command::Became(AccountState::Online, None)]
    );
}

#[test]
fn after_a_reconnect_it_is_online_only_once_it_serves() {
    let mut account = asking();
    account.authorized(&granted(), at(0));
    account.lost(&Loss::Timeout, at(10));
    account.tick(at(20));
    assert_eq!(state_of(&account.connected(own(), at(21))), Some(AccountState::Authorizing));
    assert_eq!(account.authorized(&granted(), at(22))[0], Command::Serve(own()));
}

/// Online, and lost at 100 in a way that may be resumed until 160.
fn held() -> Account {
    let mut account = asking();
    account.authorized(&granted(), at(0));
    let commands = account.interrupted(&Loss::Timeout, Duration::from_mins(1), at(100));
    assert_eq!((commands.len(), state_of(&commands)), (1, Some(AccountState::Waiting)), "{commands:?}");
    account
}

#[test]
fn a_session_that_may_be_resumed_is_kept_and_yet_not_online() {
    let mut account = held();
    assert_eq!((account.own(), account.jid(), account.serving()), (None, Some(&own()), Some(own())));
    let first_try = account.deadline().unwrap();
    assert!(at(100).until(first_try) < Duration::from_secs(5));
    assert_eq!(account.tick(first_try), [Command::Connect(None), Command::Became(AccountState::Connecting, None)]);
    assert_eq!(account.deadline(), Some(at(160)));
}

#[test]
fn a_resumed_session_is_online_and_nothing_is_asked_for_again() {
    let mut account = held();
    account.tick(at(105));
    assert_eq!(account.resumed(at(106)), [Command::Became(AccountState::Online, None)]);
    assert_eq!((account.own(), account.is_held()), (Some(&own()), false));
    assert_eq!(account.tick(at(2700)), [Command::Authorize], "in its time");
    assert_eq!(account.lost(&Loss::Closed, at(2701))[0], Command::Suspend);
}

#[test]
fn an_authorization_that_came_of_age_meanwhile_is_asked_for_at_once() {
    let mut account = asking();
    account.authorized(&granted(), at(0));
    account.interrupted(&Loss::Timeout, Duration::from_mins(5), at(2000));
    account.tick(at(2005));
    assert_eq!(account.resumed(at(2790)), [Command::Authorize, Command::Became(AccountState::Online, None)]);

    let mut account = asking();
    account.authorized(&granted(), at(0));
    account.interrupted(&Loss::Timeout, Duration::from_hours(2), at(2000));
    account.tick(at(2005));
    let late = account.resumed(at(3700));
    assert_eq!(late, [Command::Authorize, Command::Became(AccountState::Authorizing, None)], "it has lapsed");
    assert_eq!(
        account.authorized(&granted(), at(3701)),
        [Command::Reauthorized { lapsed: true }, Command::Became(AccountState::Online, None)]
    );
}

#[test]
fn a_request_for_authorization_that_was_under_way_is_answered_after_the_resumption_or_asked_again() {
    let mut account = asking();
    account.interrupted(&Loss::Timeout, Duration::from_mins(5), at(1));
    account.tick(at(6));
    let mut other = account.clone();
    assert_eq!(state_of(&account.resumed(at(7))), Some(AccountState::Authorizing));
    assert_eq!(account.authorized(&granted(), at(8))[0], Command::Serve(own()));
    assert_eq!(other.authorized(&Err(NoAnswer::TimedOut), at(20)), []);
    assert_eq!(other.resumed(at(60))[0], Command::Authorize);
}

#[test]
fn a_session_that_cannot_be_resumed_any_more_is_given_up_once() {
    let patience = held().tick(at(160));
    assert_eq!(patience[..2], [Command::Suspend, Command::Connect(None)]);

    let mut account = held();
    account.tick(at(105));
    let fresh = account.connected(own(), at(106));
    assert_eq!(fresh[..2], [Command::Suspend, Command::Authorize]);
    assert_eq!(account.authorized(&granted(), at(107))[0], Command::Serve(own()));

    for failure in [Failure::Refused("not-authorized".into()), Failure::Protocol("nonsense".into())] {
        let mut account = held();
        account.tick(at(105));
        assert_eq!(account.failed(&failure, at(106))[0], Command::Suspend);
        assert!(!account.is_held() && account.jid().is_none());
        assert_eq!(account.resumed(at(107)), [], "nothing is held");
    }
    let mut account = held();
    account.tick(at(105));
    assert!(!account.failed(&Failure::Timeout, at(106)).contains(&Command::Suspend));
    assert!(account.is_held());
}

#[test]
fn a_loss_that_somebody_meant_is_never_held() {
    for loss in [Loss::Conflict, Loss::Closed, Loss::StreamError("x".into()), Loss::Protocol("x".into())] {
        let mut account = asking();
        assert_eq!(account.interrupted(&loss, Duration::from_mins(5), at(1))[0], Command::Suspend, "{loss:?}");
        assert!(!account.is_held());
    }
}

#[test]
fn a_refused_authorization_is_refused_again_in_the_next_session_without_asking() {
    let mut account = asking();
    account.authorized(&refusal("bad-request", false), at(1));
    account.lost(&Loss::Timeout, at(2));
    account.tick(at(10));
    let commands = account.connected(own(), at(11));
    assert!(!commands.contains(&Command::Authorize), "{commands:?}");
    assert_eq!(state_of(&commands), Some(AccountState::Refused));
}
