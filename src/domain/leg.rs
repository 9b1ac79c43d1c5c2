//! What is remembered of a leg and of a call, between their events and across restarts.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{CallFields, Direction};
use super::fingerprint::{Fingerprint, ShortFingerprint};
use super::identity::Token;
use super::name::{AccountName, ItemId, JidDomain, NodeName};

/// One published item over its life: for `active-calls` the leg of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Service, node and item as one token; the `subject` of its events.
    pub token: Token,
    /// Short name of the service.
    pub service: String,
    /// The leaf node.
    pub node: NodeName,
    /// The item id.
    pub item: ItemId,
    /// The `partitionkey` of all its events, fixed by the first.
    pub partition: Token,
    /// The id of its first event; names this life of the item.
    pub first_event: Token,
    /// What was last published of it.
    pub call: Arc<CallFields>,
    /// Seen from the node's user.
    pub direction: Direction,
    /// Publish-time (or receipt) of the first event.
    #[serde(with = "jiff::fmt::serde::timestamp::microsecond::required")]
    pub began: Timestamp,
    /// Publish-time (or receipt) of the answer.
    #[serde(with = "jiff::fmt::serde::timestamp::microsecond::optional")]
    pub answered: Option<Timestamp>,
    /// Receipt of the end. An ended leg is remembered for a while, so that late copies are known.
    #[serde(with = "jiff::fmt::serde::timestamp::microsecond::optional")]
    pub ended: Option<Timestamp>,
    /// Receipt of the newest sign of life.
    #[serde(with = "jiff::fmt::serde::timestamp::microsecond::required")]
    pub touched: Timestamp,
    /// The account that told of it last.
    #[serde(default)]
    pub account: Option<AccountName>,
    /// The collection it was told through last (XEP-0248).
    #[serde(default)]
    pub collection: Option<NodeName>,
    /// The domains of the accounts that told of it: only these may end it. None is known of a leg from before they were
    /// written down.
    #[serde(default)]
    pub told_by: Vec<JidDomain>,
}

/// What the legs of one call share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The `partitionkey`.
    pub partition: Token,
    /// Position of its newest event, counted from 1.
    pub sequence: u64,
    /// The first leg that was answered.
    pub answered_by: Option<Fingerprint>,
    /// Where the store has its newest event; 0 while it has none.
    pub newest: u64,
}

/// What is remembered of a leg that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedLeg {
    /// When it ended.
    pub ended: Timestamp,
    /// Its `partitionkey`.
    pub call: ShortFingerprint,
    /// Whether all that was ever seen of it is its end.
    pub never_seen: bool,
    /// Whether it was answered.
    pub answered: bool,
    /// Seen from the node's user.
    pub direction: Direction,
}

impl EndedLeg {
    /// Keeps of a leg that `ended` then what is needed of it.
    #[must_use]
    pub fn of(leg: &Leg, ended: Timestamp) -> Self {
        Self {
            ended,
            call: ShortFingerprint::from(&leg.partition),
            never_seen: leg.partition == leg.token,
            answered: leg.answered.is_some(),
            direction: leg.direction,
        }
    }
}
