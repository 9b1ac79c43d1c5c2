//! The labels: their names, and the values known in advance, from the code or from the configuration.
//!
//! Must not know what is counted under them.

use std::collections::BTreeSet;

use crate::domain::event::{EndReason, EventType};
use crate::domain::status::{
    AccountState, ActorKind, ConnectOutcome, DeliveryOutcome, DisconnectReason, DropReason, GapReason, ProbeOutcome,
    QueueAction, RejectReason, ReloadOutcome, RenewalOutcome, ResumptionOutcome, ResyncOutcome, StoreFault,
    SubscriptionState,
};

/// The names the configuration gives to labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Accounts.
    pub accounts: BTreeSet<String>,
    /// Services, by short name.
    pub services: BTreeSet<String>,
    /// Sinks.
    pub sinks: BTreeSet<String>,
}

impl Names {
    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            accounts: &self.accounts - &other.accounts,
            services: &self.services - &other.services,
            sinks: &self.sinks - &other.sinks,
        }
    }
}

/// One label: what its values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Names of the configured accounts.
    Account,
    /// Short names of the services in use.
    Service,
    /// Names of the configured sinks.
    Sink,
    /// [`AccountState`]
    AccountState,
    /// [`SubscriptionState`]
    SubscriptionState,
    /// [`RenewalOutcome`]
    RenewalOutcome,
    /// [`ResyncOutcome`]
    ResyncOutcome,
    /// [`ResumptionOutcome`]
    ResumptionOutcome,
    /// [`ProbeOutcome`]
    ProbeOutcome,
    /// [`ConnectOutcome`]
    ConnectOutcome,
    /// [`DisconnectReason`]
    DisconnectReason,
    /// [`EventType`]
    EventType,
    /// [`RejectReason`]
    RejectReason,
    /// [`DeliveryOutcome`]
    DeliveryOutcome,
    /// [`DropReason`]
    DropReason,
    /// [`QueueAction`]
    QueueAction,
    /// [`StoreFault`]
    StoreFault,
    /// [`GapReason`]
    GapReason,
    /// [`EndReason`]
    EndReason,
    /// [`ReloadOutcome`]
    ReloadOutcome,
    /// [`ActorKind`]
    ActorKind,
    /// The version of the build.
    Version,
    /// The commit of the build.
    Commit,
}

impl Label {
    /// The name it is exported under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Service => "service",
            Self::Sink => "sink",
            Self::AccountState | Self::SubscriptionState => "state",
            Self::RenewalOutcome
            | Self::ResyncOutcome
            | Self::ProbeOutcome
            | Self::ConnectOutcome
            | Self::ResumptionOutcome
            | Self::DeliveryOutcome
            | Self::ReloadOutcome => "outcome",
            Self::DisconnectReason | Self::RejectReason | Self::DropReason | Self::GapReason | Self::EndReason => {
                "reason"
            }
            Self::EventType => "type",
            Self::QueueAction => "action",
            Self::StoreFault => "kind",
            Self::ActorKind => "actor",
            Self::Version => "version",
            Self::Commit => "commit",
        }
    }

    /// Whether the configuration decides its values.
    pub fn is_configured(self) -> bool {
        matches!(self, Self::Account | Self::Service | Self::Sink)
    }

    /// Every value known in advance; those of the build are not known here.
    pub fn values(self, names: &Names) -> Vec<&str> {
        match self {
            Self::Account => names.accounts.iter().map(String::as_str).collect(),
            Self::Service => names.services.iter().map(String::as_str).collect(),
            Self::Sink => names.sinks.iter().map(String::as_str).collect(),
            Self::Version | Self::Commit => Vec::new(),
            Self::AccountState => texts(AccountState::ALL, AccountState::as_str),
            Self::SubscriptionState => texts(SubscriptionState::ALL, SubscriptionState::as_str),
            Self::RenewalOutcome => texts(RenewalOutcome::ALL, RenewalOutcome::as_str),
            Self::ResyncOutcome => texts(ResyncOutcome::ALL, ResyncOutcome::as_str),
            Self::ProbeOutcome => texts(ProbeOutcome::ALL, ProbeOutcome::as_str),
            Self::ConnectOutcome => texts(ConnectOutcome::ALL, ConnectOutcome::as_str),
            Self::ResumptionOutcome => texts(ResumptionOutcome::ALL, ResumptionOutcome::as_str),
            Self::DisconnectReason => texts(DisconnectReason::ALL, DisconnectReason::as_str),
            Self::EventType => texts(&EventType::ALL, EventType::as_str),
            Self::RejectReason => texts(RejectReason::ALL, RejectReason::as_str),
            Self::DeliveryOutcome => texts(DeliveryOutcome::ALL, DeliveryOutcome::as_str),
            Self::DropReason => texts(DropReason::ALL, DropReason::as_str),
            Self::QueueAction => texts(QueueAction::ALL, QueueAction::as_str),
            Self::StoreFault => texts(StoreFault::ALL, StoreFault::as_str),
            Self::GapReason => texts(GapReason::ALL, GapReason::as_str),
            Self::EndReason => texts(&EndReason::ALL, EndReason::as_str),
            Self::ReloadOutcome => texts(ReloadOutcome::ALL, ReloadOutcome::as_str),
            Self::ActorKind => texts(ActorKind::ALL, ActorKind::as_str),
        }
    }
}

fn texts<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(text).collect()
}
