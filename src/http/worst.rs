//! What an operator should look at first: the order of everything that is shown worst first.
//!
//! Must not know how it is shown.

use crate::board::{AccountStatus, SinkStatus, SubscriptionStatus};
use crate::domain::status::{AccountState, SinkState, SubscriptionState};

/// The rank of an account, 0 the worst. Refused before waiting: it does not pass by itself.
pub fn account(status: &AccountStatus) -> u8 {
    match (status.state, status.blind.is_some()) {
        (AccountState::Refused, _) => 0,
        (AccountState::Waiting, _) => 1,
        (AccountState::Online, true) => 2,
        (AccountState::Connecting | AccountState::Authorizing, _) => 3,
        (AccountState::Online, false) if status.not_granted.is_some() => 4,
        (AccountState::Online, false) => 5,
        (AccountState::Disabled, _) => 6,
    }
}

/// The rank of a subscription, 0 the worst. Denied before lost: it does not pass by itself.
pub fn subscription(status: &SubscriptionStatus) -> u8 {
    match status.state {
        SubscriptionState::Denied => 0,
        SubscriptionState::Lost => 1,
        SubscriptionState::Listing | SubscriptionState::Subscribing | SubscriptionState::Pending => 2,
        SubscriptionState::Active | SubscriptionState::Renewing => 3,
    }
}

/// The rank of a sink, 0 the worst.
pub fn sink(status: &SinkStatus) -> u8 {
    match status.state {
        _ if status.blocking => 0,
        SinkState::Down | SinkState::Resting => 1,
        SinkState::NotConfigured => 2,
        SinkState::Up => 3,
    }
}
