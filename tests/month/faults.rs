//! What goes wrong, how long, and how long afterwards all must be well again.

use onsip_router::protocol::backoff::Dice;

use super::{HOURS, MINUTES, SECONDS, Time};

/// After a fault of network or service: back-off up to a minute, the queue of log-ins, authorization, list, renewal,
/// pauses of up to 90 s, an approval.
pub const RECONNECT: Time = 5 * MINUTES;
/// What no list shows ends with the next authorization and renewal.
const UNSEEN: Time = super::checks::BLIND_WHEN_WELL + RECONNECT;
/// The longest pause after a denied subscription, and what follows.
const DENIED: Time = 15 * MINUTES + RECONNECT;
/// The longest pause after a conflict.
const CONFLICT: Time = 15 * MINUTES + RECONNECT;
/// The longest pause that a throttling server gets.
const THROTTLED: Time = 23 * MINUTES + RECONNECT;
/// The longest pause after rejected credentials.
const REFUSED: Time = 6 * HOURS + RECONNECT;

/// What a list shows, and nobody tells of, is seen at the next look.
pub fn unlisted(probe: Time) -> Time {
    probe + super::checks::LOOK + RECONNECT
}

/// Something that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// Packets vanish.
    BlackHole,
    /// The server does not listen.
    Closed,
    /// The authorizing component is silent, or broken.
    AuthSilent,
    AuthBroken,
    /// The same of PubSub.
    PubsubSilent,
    PubsubBroken,
    /// Answers take up to 50 s.
    Slow,
    /// A quarter of all stanzas is lost.
    Lossy,
    /// The portal has another password.
    Password,
    /// Log-ins are throttled.
    Throttled,
    /// The owner ended the subscription and denies a new one.
    Denied,
    /// The owner ended the subscription and does not react.
    Ignored,
    /// Other resources took all places.
    Full,
    /// Sessions end all the time.
    Flapping,
    /// Half of all log-ins are sent to another host.
    Elsewhere,
    /// The router does not run.
    Stopped,
}

pub const AILMENTS: usize = Ailment::Stopped as usize + 1;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Reset,
    Shutdown,
    Conflict,
    ThrottledStream,
    SentElsewhere,
    HalfDead,
    /// The subscription ends, with a message.
    Ended,
    /// The same without a message.
    Forgotten,
    /// The authorization ends without a word.
    Unauthorized,
    /// The service goes back to an older lease.
    Shortened,
    /// A second subscription of ours appears.
    Doubled,
}

/// Something of all accounts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    Ailment(Ailment),
    Resets,
    /// The service starts again, and may have forgotten subscriptions or authorizations.
    ServiceRestart {
        forgets: bool,
        unauthorizes: bool,
    },
    /// The router starts again, with its ledger or without; or all accounts do by a reload, and may have been disabled meanwhile.
    RouterRestart {
        ledger: bool,
        reload: bool,
    },
    /// The router's clock is set.
    ClockStep,
}

/// A fault of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Ailment(Ailment),
    Blow(Blow),
}

fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[super::below(dice, from.len())]
}

impl Fault {
    pub fn random(dice: &mut Dice) -> Self {
        use Ailment as A;
        use Blow as B;
        const AILMENTS: [Ailment; 15] = [
            A::BlackHole,
            A::Closed,
            A::AuthSilent,
            A::AuthBroken,
            A::PubsubSilent,
            A::PubsubBroken,
            A::Slow,
            A::Lossy,
            A::Password,
            A::Throttled,
            A::Denied,
            A::Ignored,
            A::Full,
            A::Flapping,
            A::Elsewhere,
        ];
        const BLOWS: [Blow; 11] = [
            B::Reset,
            B::Shutdown,
            B::Conflict,
            B::ThrottledStream,
            B::SentElsewhere,
            B::HalfDead,
            B::Ended,
            B::Forgotten,
            B::Unauthorized,
            B::Shortened,
            B::Doubled,
        ];
        if dice.roll() < 0.5 { Self::Ailment(pick(dice, &AILMENTS)) } else { Self::Blow(pick(dice, &BLOWS)) }
    }
}

impl Storm {
    pub fn random(dice: &mut Dice) -> Self {
        use Ailment as A;
        let ailments = [
            A::BlackHole,
            A::Closed,
            A::AuthSilent,
            A::AuthBroken,
            A::PubsubSilent,
            A::PubsubBroken,
            A::Slow,
            A::Lossy,
            A::Throttled,
        ];
        let roll = dice.roll();
        if roll < 0.5 {
            Self::Ailment(pick(dice, &ailments))
        } else if roll < 0.6 {
            Self::Resets
        } else if roll < 0.8 {
            Self::ServiceRestart { forgets: dice.roll() < 0.5, unauthorizes: dice.roll() < 0.5 }
        } else if roll < 0.9 {
            Self::RouterRestart { ledger: dice.roll() < 0.8, reload: roll < 0.85 }
        } else {
            Self::ClockStep
        }
    }
}

impl Ailment {
    pub fn name(self) -> &'static str {
        match self {
            Self::BlackHole => "black hole",
            Self::Closed => "server closed",
            Self::AuthSilent => "authorization silent",
            Self::AuthBroken => "authorization broken",
            Self::PubsubSilent => "pubsub silent",
            Self::PubsubBroken => "pubsub broken",
            Self::Slow => "slow",
            Self::Lossy => "lossy",
            Self::Password => "password changed",
            Self::Throttled => "log-ins throttled",
            Self::Denied => "owner denies",
            Self::Ignored => "owner ignores",
            Self::Full => "places taken",
            Self::Flapping => "flapping",
            Self::Elsewhere => "see-other-host",
            Self::Stopped => "router restart",
        }
    }

    /// How long it lasts: short ones are as likely as long ones.
    pub fn span(self, dice: &mut Dice) -> Time {
        let longest = match self {
            Self::Password => 12 * HOURS,
            Self::AuthSilent | Self::AuthBroken | Self::PubsubSilent | Self::PubsubBroken => 4 * HOURS,
            Self::Stopped => 10 * MINUTES,
            Self::BlackHole
            | Self::Closed
            | Self::Slow
            | Self::Lossy
            | Self::Throttled
            | Self::Denied
            | Self::Ignored
            | Self::Full
            | Self::Flapping
            | Self::Elsewhere => 2 * HOURS,
        };
        super::scaled(5 * SECONDS, longest, dice)
    }

    /// How long after its end all is well, having lasted so long.
    pub fn allowance(self, lasted: Time) -> Time {
        match self {
            Self::Password => REFUSED.min((lasted + 15 * MINUTES) * 3 / 2 + RECONNECT),
            Self::Throttled => THROTTLED,
            Self::Denied | Self::Full => DENIED,
            Self::BlackHole
            | Self::Closed
            | Self::AuthSilent
            | Self::AuthBroken
            | Self::PubsubSilent
            | Self::PubsubBroken
            | Self::Slow
            | Self::Lossy
            | Self::Ignored
            | Self::Flapping
            | Self::Elsewhere
            | Self::Stopped => RECONNECT,
        }
    }
}

impl Blow {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Shutdown => "stream error",
            Self::Conflict => "conflict",
            Self::ThrottledStream => "stream throttled",
            Self::SentElsewhere => "sent elsewhere",
            Self::HalfDead => "half-dead link",
            Self::Ended => "ended with a message",
            Self::Forgotten => "ended silently",
            Self::Unauthorized => "authorization ended silently",
            Self::Shortened => "lease shortened silently",
            Self::Doubled => "doubled",
        }
    }

    /// How long afterwards all is well, where subscriptions are looked up so often.
    pub fn allowance(self, probe: Time) -> Time {
        match self {
            Self::Reset | Self::Shutdown | Self::SentElsewhere | Self::Ended => RECONNECT,
            Self::HalfDead => MINUTES + RECONNECT,
            Self::Conflict => CONFLICT,
            Self::ThrottledStream => THROTTLED,
            Self::Forgotten | Self::Doubled => unlisted(probe),
            Self::Unauthorized | Self::Shortened => UNSEEN,
        }
    }

    /// Whether the router learns of it only by asking.
    pub fn is_silent(self) -> bool {
        match self {
            Self::Forgotten | Self::Unauthorized | Self::Shortened | Self::Doubled => true,
            Self::Reset
            | Self::Shutdown
            | Self::SentElsewhere
            | Self::Ended
            | Self::HalfDead
            | Self::Conflict
            | Self::ThrottledStream => false,
        }
    }
}
