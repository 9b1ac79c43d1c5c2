//! What is told of a transition: the log line, the counter and the board, in one place, so that none goes unseen.

use jiff::SignedDuration;
use tracing::field::display;
use tracing::{debug, error, info, warn};

use super::House;
use crate::board::{AccountStatus, SubscriptionStatus};
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, NodeName};
use crate::domain::service::Service;
use crate::domain::status::{
    AccountState, ConnectOutcome, GapReason, ProbeOutcome, RenewalOutcome, ResumptionOutcome, ResyncOutcome,
    SubscriptionState,
};
use crate::protocol::account::Account;
use crate::protocol::authorization::Authorization;
use crate::protocol::coverage::{Blind, Change};
use crate::protocol::link::{Failure, Loss};
use crate::protocol::sasl::Mechanisms;
use crate::protocol::subscription::{Fact, Memory};

/// Seconds by which clocks may differ before an operator should see to it.
const CLOCKS_APART: f64 = 60.0;

/// An account's state changed; one that waits, or was refused, tries again at `retry_at`.
pub(super) fn account(
    house: &House,
    name: &AccountName,
    state: AccountState,
    why: Option<&str>,
    retry_at: Option<Moment>,
) {
    let retry_at = retry_at.map(|at| display(at.utc()));
    match state {
        AccountState::Refused => error!(account = %name, %state, why, retry_at, "account refused"),
        AccountState::Waiting => warn!(account = %name, %state, why, retry_at, "account waits"),
        AccountState::Online => info!(account = %name, %state, "account online"),
        AccountState::Connecting | AccountState::Authorizing | AccountState::Disabled => {
            debug!(account = %name, %state, "account");
        }
    }
    let mut view = house.board.view();
    let since = Moment::now().utc();
    let before = view.accounts.remove(name).unwrap_or_else(|| AccountStatus::new(state, since));
    let status =
        AccountStatus { state, since, why: why.map(str::to_owned), jid: None, authorized_until: None, ..before };
    view.accounts.insert(name.clone(), status);
}

/// The process stops, and nothing that comes after `covered` is sure to be received: the next start tells that as a gap.
pub(super) fn stopping(house: &House, covered: Moment) {
    let since = covered.utc();
    info!(%since, "receiving ends: what comes from now on is told as a gap after the next start");
    let mut view = house.board.view();
    view.draining = true;
    for status in view.accounts.values_mut().filter(|status| status.state != AccountState::Disabled) {
        status.blind.get_or_insert(Blind { since, reason: GapReason::Restart });
    }
}

/// The process stops, and an account's connection is closed.
pub(super) fn stopped(house: &House, name: &AccountName) {
    let since = Moment::now().utc();
    debug!(account = %name, "the connection is closed");
    let mut view = house.board.view();
    if let Some(status) = view.accounts.get_mut(name) {
        (status.state, status.since) = (AccountState::Waiting, since);
        status.why = Some("the router is stopping".to_owned());
        (status.jid, status.authorized_until) = (None, None);
    }
    for (_, status) in view.subscriptions.iter_mut().filter(|((of, ..), _)| of == name) {
        *status = SubscriptionStatus { state: SubscriptionState::Lost, since, why: None, ..status.clone() };
    }
}

/// An account's actor begins, perhaps anew: until its subscriptions are seen, nothing is sure to arrive.
pub(super) fn begun(house: &House, name: &AccountName, blind: Blind) {
    let since = Moment::now().utc();
    let mut view = house.board.view();
    let status =
        view.accounts.entry(name.clone()).or_insert_with(|| AccountStatus::new(AccountState::Connecting, since));
    status.blind = Some(blind);
}

/// Returns the window of an account that never was covered, as it is shown already.
pub(super) fn first_window(house: &House, name: &AccountName) -> Blind {
    let shown = house.board.view().accounts.get(name).and_then(|status| status.blind);
    let shown = shown.filter(|blind| blind.reason == GapReason::Start);
    shown.unwrap_or_else(|| Blind { since: Moment::now().utc(), reason: GapReason::Start })
}

/// What of an account can change without its state.
pub(super) fn account_details(house: &House, name: &AccountName, machine: &Account) {
    let until = machine.authorization().and_then(Authorization::until);
    if let Some(status) = house.board.view().accounts.get_mut(name) {
        status.jid = machine.own().map(ToString::to_string);
        status.authorized_until = until.map(|until| until.by(Moment::now()).utc());
    }
}

/// A session came up.
pub(super) fn connected(house: &House, name: &AccountName, own: &str, asked: &str) {
    house.metrics.connected(ConnectOutcome::Online);
    if own == asked {
        debug!(account = %name, jid = own, "connected");
    } else {
        warn!(account = %name, jid = own, asked, "the server bound another resource than the configured one");
    }
}

/// A lost session was resumed, or is given up.
pub(super) fn resumption(house: &House, name: &AccountName, outcome: ResumptionOutcome) {
    house.metrics.resumption(outcome);
    match outcome {
        ResumptionOutcome::Resumed => {
            house.metrics.connected(ConnectOutcome::Online);
            info!(account = %name, "session resumed, nothing was missed");
        }
        ResumptionOutcome::Failed => info!(account = %name, "the lost session could not be resumed"),
        ResumptionOutcome::GivenUp => {
            warn!(account = %name, "the server acknowledges too little: this session cannot be resumed after a loss");
        }
    }
}

/// The server refuses log-in mechanisms that it offers.
pub(super) fn mechanisms_refused(name: &AccountName, refused: Mechanisms) {
    let mechanisms = refused.names().join(", ");
    warn!(account = %name, mechanisms, "the server refuses log-in mechanisms that it offers; others are tried");
}

/// A session did not come up.
pub(super) fn failed(house: &House, name: &AccountName, failure: &Failure) {
    house.metrics.connected(failure.outcome());
    debug!(account = %name, outcome = %failure.outcome(), why = failure.why(), "no connection");
}

/// A session is over.
pub(super) fn lost(house: &House, name: &AccountName, loss: &Loss) {
    house.metrics.disconnected(loss.reason());
    match loss {
        Loss::Stopped => debug!(account = %name, "disconnected"),
        Loss::Conflict => error!(account = %name, why = loss.why(), "connection lost"),
        Loss::Network(_)
        | Loss::Closed
        | Loss::Timeout
        | Loss::Unread
        | Loss::Redirected(_)
        | Loss::Throttled(_)
        | Loss::StreamError(_)
        | Loss::Protocol(_) => warn!(account = %name, why = loss.why(), "connection lost"),
    }
}

/// An authorization was answered: it may not cover the configured address, which is told once.
pub(super) fn granted(house: &House, name: &AccountName, sip_address: &str, machine: &Account) {
    let addresses = machine.authorization().map_or(&[][..], |authorization| authorization.addresses());
    let missing = !addresses.is_empty() && !addresses.iter().any(|granted| granted.eq_ignore_ascii_case(sip_address));
    let not_granted = missing.then(|| sip_address.to_owned());
    let news = house
        .board
        .view()
        .accounts
        .get_mut(name)
        .is_some_and(|status| std::mem::replace(&mut status.not_granted, not_granted.clone()) != not_granted);
    match (news, missing) {
        (true, true) => {
            let granted = addresses.len();
            warn!(account = %name, sip_address, granted, "the configured address is not among the granted");
        }
        (true, false) => info!(account = %name, sip_address, "the configured address is granted again"),
        (false, _) => {}
    }
}

/// The service told its time.
pub(super) fn clock(house: &House, name: &AccountName, ahead: Option<SignedDuration>) {
    let seconds = ahead.map(|ahead| ahead.as_secs_f64());
    let apart = |seconds: Option<f64>| seconds.is_some_and(|seconds| seconds.abs() >= CLOCKS_APART);
    let before = house
        .board
        .view()
        .accounts
        .get_mut(name)
        .and_then(|status| std::mem::replace(&mut status.clock_ahead_seconds, seconds));
    if apart(seconds) && !apart(before) {
        warn!(account = %name, seconds, "the service's clock is ahead of ours (behind, if below 0): set this machine's clock");
    } else {
        debug!(account = %name, seconds, "the service's clock is ahead of ours");
    }
}

/// The account turned blind, or its events can arrive again.
pub(super) fn coverage(house: &House, name: &AccountName, change: &Change) {
    let blind = match change {
        Change::Covered { .. } | Change::Continued { .. } => None,
        Change::Uncovered { since, reason } => Some(Blind { since: *since, reason: *reason }),
    };
    let mut view = house.board.view();
    let Some(status) = view.accounts.get_mut(name) else { return };
    let before = status.blind;
    if status.state != AccountState::Disabled {
        status.blind = blind; // of one that is disabled nothing is expected
    }
    drop(view);
    match (before, blind) {
        (_, Some(Blind { since, reason })) => {
            warn!(account = %name, %since, %reason, "account blind: its events cannot arrive");
        }
        (Some(Blind { since, reason }), None) => {
            info!(account = %name, blind_since = %since, %reason, "account sees: its events can arrive");
        }
        (None, None) => {}
    }
}

/// One subscription, for the lines about it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) account: AccountName,
    pub(super) service: Service,
    pub(super) node: NodeName,
}

/// A subscription's state changed.
pub(super) fn subscription(house: &House, of: &Subject, state: SubscriptionState, why: Option<&str>) {
    let (account, service, node) = (&of.account, &of.service, &of.node);
    match state {
        SubscriptionState::Denied => error!(%account, %service, %node, why, "subscription denied"),
        SubscriptionState::Lost if why.is_some() => {
            warn!(%account, %service, %node, why, "subscription lost");
        }
        SubscriptionState::Active => info!(%account, %service, %node, "subscription active"),
        SubscriptionState::Pending => {
            info!(%account, %service, %node, "subscription waits for approval by the owner of the node");
        }
        SubscriptionState::Lost
        | SubscriptionState::Listing
        | SubscriptionState::Subscribing
        | SubscriptionState::Renewing => debug!(%account, %service, %node, %state, "subscription"),
    }
    let status = SubscriptionStatus {
        state,
        since: Moment::now().utc(),
        why: why.map(str::to_owned),
        subid: None,
        lease_until: None,
        renewed: None,
    };
    house.board.view().subscriptions.insert(key(of), status);
}

/// What of a subscription can change without its state.
pub(super) fn subscription_details(house: &House, of: &Subject, memory: &Memory) {
    if let Some(status) = house.board.view().subscriptions.get_mut(&key(of)) {
        status.subid.clone_from(&memory.subid);
        status.lease_until = memory.lease_until;
        status.renewed = memory.renewed;
    }
}

/// Something countable happened to a subscription.
pub(super) fn fact(house: &House, of: &Subject, fact: Fact) {
    let service = of.service.name();
    match fact {
        Fact::Reused => house.metrics.subscription_reused(service),
        Fact::Created => house.metrics.subscription_created(service),
        Fact::Removed => house.metrics.subscription_removed(service),
        Fact::Renewal(outcome) => house.metrics.renewal(service, outcome),
        Fact::Resync(outcome) => house.metrics.resync(service, outcome),
        Fact::Probe(outcome) => house.metrics.probe(service, outcome),
    }
    let (account, node) = (&of.account, &of.node);
    match fact {
        Fact::Renewal(RenewalOutcome::Failed) => warn!(%account, service, %node, "renewal failed"),
        Fact::Resync(ResyncOutcome::Refused) => {
            info!(%account, service, %node, "the service does not show its items: missed ends show only by age");
        }
        Fact::Probe(ProbeOutcome::Missing) => warn!(%account, service, %node, "subscription vanished without a word"),
        Fact::Probe(ProbeOutcome::Unanswered) => {
            warn!(%account, service, %node, "the link answers no listing and is replaced");
        }
        Fact::Reused | Fact::Created | Fact::Removed | Fact::Renewal(_) | Fact::Probe(_) | Fact::Resync(_) => {
            debug!(%account, service, %node, ?fact, "subscription");
        }
    }
}

fn key(of: &Subject) -> (AccountName, String, NodeName) {
    (of.account.clone(), of.service.name().to_owned(), of.node.clone())
}
