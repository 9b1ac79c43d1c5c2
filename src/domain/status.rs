//! The states an operator sees: of an account, of a subscription, and why a session ended.
//!
//! These are the label values of interface section 4, one enum per label.

use schemars::JsonSchema;
use serde::Serialize;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the interface page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value with this text.
            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }

            /// The label value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

labels! {
    /// Label `state` of `accounts`.
    AccountState {
        /// A connection is being made.
        Connecting = "connecting",
        /// Bound, presence sent, authorization asked for.
        Authorizing = "authorizing",
        /// Bound, presence sent, authorized.
        Online = "online",
        /// Between two tries after a fault that may pass.
        Waiting = "waiting",
        /// The service rejected the credentials.
        Refused = "refused",
        /// `enabled = false`.
        Disabled = "disabled",
    }
}

labels! {
    /// Label `state` of `subscriptions`.
    SubscriptionState {
        /// Asking which subscriptions exist.
        Listing = "listing",
        /// Asking for a new one.
        Subscribing = "subscribing",
        /// Waiting for the node's owner.
        Pending = "pending",
        /// Delivering.
        Active = "active",
        /// Delivering, a renewal is under way.
        Renewing = "renewing",
        /// The server said no, and only time or an operator can change that.
        Denied = "denied",
        /// Was active and is not any more, or there is no connection.
        Lost = "lost",
    }
}

labels! {
    /// Label `outcome` of `subscription_renewals_total`.
    RenewalOutcome {
        /// The new lease is set.
        Renewed = "renewed",
        /// The service has no subscription options.
        Unsupported = "unsupported",
        /// Anything else.
        Failed = "failed",
    }
}

labels! {
    /// Label `outcome` of `subscription_resyncs_total`: what came of asking for the items there are.
    ResyncOutcome {
        /// They were shown.
        Shown = "shown",
        /// The service does not show them.
        Refused = "refused",
        /// No answer came in time.
        Timeout = "timeout",
    }
}

labels! {
    /// Label `outcome` of `subscription_probes_total`.
    ProbeOutcome {
        /// It is there.
        Found = "found",
        /// It is not there any more.
        Missing = "missing",
        /// The service did not answer.
        Unanswered = "unanswered",
        /// The service answered with an error.
        Failed = "failed",
    }
}

labels! {
    /// Label `outcome` of `connects_total`.
    ConnectOutcome {
        /// Logged in and bound.
        Online = "online",
        /// Credentials rejected.
        Refused = "refused",
        /// TLS fault: certificate, name, version, or none offered.
        Tls = "tls",
        /// DNS or TCP fault.
        Network = "network",
        /// No answer in time.
        Timeout = "timeout",
        /// The peer broke the protocol.
        Protocol = "protocol",
        /// The peer asked for patience.
        Throttled = "throttled",
    }
}

labels! {
    /// Label `outcome` of `resumptions_total` (XEP-0198).
    ResumptionOutcome {
        /// The lost session goes on.
        Resumed = "resumed",
        /// The server had it no more, or the time for it was over.
        Failed = "failed",
        /// The server acknowledged so little that the session could not be kept.
        GivenUp = "given_up",
    }
}

labels! {
    /// Label `reason` of `disconnects_total`.
    DisconnectReason {
        /// Asked for by us.
        Stopped = "stopped",
        /// TCP fault or plain close.
        Network = "network",
        /// Nothing came back in time.
        Timeout = "timeout",
        /// Another session bound our resource.
        Conflict = "conflict",
        /// The server named another host.
        Redirected = "redirected",
        /// Any other stream error.
        StreamError = "stream_error",
        /// Bad XML or a broken stream.
        Protocol = "protocol",
    }
}

labels! {
    /// Label `reason` of `events_rejected_total`.
    RejectReason {
        /// Sent to another resource or another bare JID.
        ForeignResource = "foreign_resource",
        /// Sent by a JID that is no service of the account.
        UnexpectedSender = "unexpected_sender",
        /// Not an event we can read.
        Malformed = "malformed",
        /// Beyond a limit of size, length, depth or number.
        Oversize = "oversize",
        /// The store can never take what comes out of it.
        Refused = "refused",
        /// An end of a leg by an account of a domain that never told of it.
        ForeignLeg = "foreign_leg",
    }
}

labels! {
    /// How a sink is, in a word.
    SinkState {
        /// Its newest delivery succeeded, or there was none yet.
        Up = "up",
        /// Its newest delivery failed.
        Down = "down",
        /// Its peer wants no more events: it is left alone for an hour.
        Resting = "resting",
        /// The configuration has it no more, and it is owed something yet or has dead letters.
        NotConfigured = "not configured",
    }
}

labels! {
    /// Label `outcome` of `sink_deliveries_total`.
    DeliveryOutcome {
        /// The sink acknowledged.
        Delivered = "delivered",
        /// Failed, to be tried again.
        Retried = "retried",
        /// Given up; kept as a dead letter.
        Dead = "dead",
    }
}

labels! {
    /// Label `reason` of `sink_dropped_total`: why a sink does not get an event it was owed.
    DropReason {
        /// Its queue was larger than `max_queue`.
        Full = "full",
        /// The event waited longer than `max_age`.
        Age = "age",
    }
}

labels! {
    /// Label `action` of `sink_operator_events_total`: what an operator did to events of a queue beside the running daemon.
    QueueAction {
        /// `queue retry`: a dead letter is owed again.
        Retried = "retried",
        /// `queue purge`: an event is owed no more.
        Purged = "purged",
        /// `queue purge`: a dead letter is gone.
        PurgedDead = "purged_dead",
    }
}

labels! {
    /// Label `kind` of `store_faults_total`: what kept the store from writing or reading.
    StoreFault {
        /// No space left.
        Full = "full",
        /// The disk failed.
        Io = "io",
        /// Another process held the database.
        Busy = "busy",
        /// The operation can never be written as it is.
        Refused = "refused",
        /// The file is damaged.
        Corrupt = "corrupt",
        /// The disk could not make sure that what was written is there.
        Sync = "sync",
        /// The files of the database are not where they were opened.
        Moved = "moved",
        /// The thread that writes the database is gone.
        Gone = "gone",
    }
}

labels! {
    /// Label `reason` of `gaps_total`: why events of an account may have been missed.
    GapReason {
        /// The connection was lost.
        Disconnect = "disconnect",
        /// The daemon was not running.
        Restart = "restart",
        /// Another session took our resource.
        Conflict = "conflict",
        /// The authorization had lapsed.
        Authorization = "authorization",
        /// A lease ran out before it was renewed.
        Lease = "lease",
        /// The service ended the subscription.
        Revoked = "revoked",
        /// They never could: the account is new here.
        Start = "start",
        /// The configuration changed: the account was disabled, removed or started anew.
        Reload = "reload",
        /// The service refuses the credentials.
        Refused = "refused",
    }
}

labels! {
    /// Label `outcome` of `config_reloads_total`.
    ReloadOutcome {
        /// The new configuration is in force.
        Applied = "applied",
        /// It has a problem; nothing changed.
        Failed = "failed",
    }
}

labels! {
    /// Label `actor` of `actor_restarts_total`.
    ActorKind {
        /// One per account.
        Connection = "connection",
        /// One per account, service and node.
        Subscription = "subscription",
        /// The one that routes and commits.
        Router = "router",
        /// One per sink.
        Sink = "sink",
    }
}
