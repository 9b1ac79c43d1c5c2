//! What a call event says of its leg as a whole: what it is for, and why it is over.

use schemars::JsonSchema;
use serde::Serialize;

/// Why a leg is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// The service retracted the item.
    Retracted,
    /// The service purged or deleted the node.
    Purged,
    /// The end fell into a window in which nothing could be received.
    Gap,
    /// No end was seen for longer than a call can last.
    Stale,
}

impl EndReason {
    /// Every reason, in the order of the interface page.
    pub const ALL: [Self; 4] = [Self::Retracted, Self::Purged, Self::Gap, Self::Stale];

    /// As published.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retracted => "retracted",
            Self::Purged => "purged",
            Self::Gap => "gap",
            Self::Stale => "stale",
        }
    }

    /// Whether the end was seen when it happened, so that it can be measured.
    #[must_use]
    pub fn is_seen(self) -> bool {
        match self {
            Self::Retracted | Self::Purged => true,
            Self::Gap | Self::Stale => false,
        }
    }
}

/// What a leg is for (protocol sheet sections 8.2 and 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// People talk, or are to.
    Call,
    /// A click-to-call rings the phones of the person who clicked; the call itself is another leg.
    Setup,
    /// Music on hold.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reason_is_written_as_it_is_named() {
        for reason in EndReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
