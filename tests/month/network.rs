//! The connection between router and service: log-ins with a permit each, one stream per account, order kept.

use std::collections::VecDeque;

use onsip_router::protocol::link::{Failure, Loss};

use super::Time;

/// Silence until the link is probed, and until the probe is given up.
pub const NOTICED: (Time, Time) = (30_000_000, 50_000_000);

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Reset,
    Silence,
    Conflict,
    Elsewhere,
    Throttled,
    Shutdown,
}

impl Cut {
    pub fn loss(self) -> Loss {
        match self {
            Self::Reset => Loss::Network("connection reset".to_owned()),
            Self::Silence => Loss::Timeout,
            Self::Conflict => Loss::Conflict,
            Self::Elsewhere => Loss::Redirected("other.test".to_owned()),
            Self::Throttled => Loss::Throttled("policy-violation".to_owned()),
            Self::Shutdown => Loss::StreamError("system-shutdown".to_owned()),
        }
    }
}

/// How a log-in ends; what a bind meets is seen only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    Binds,
    TimesOut,
    IsRefused,
}

/// Why no session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    Password,
    Network,
    Timeout,
    Throttled,
    Elsewhere,
}

impl Miss {
    pub fn failure(self) -> Failure {
        match self {
            Self::Password => Failure::Refused("not-authorized".to_owned()),
            Self::Network => Failure::Network("connection refused".to_owned()),
            Self::Timeout => Failure::Timeout,
            Self::Throttled => Failure::Throttled("temporary-auth-failure".to_owned()),
            Self::Elsewhere => Failure::Redirected("other.test".to_owned()),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "log-in: password refused",
            Self::Network => "log-in: connection refused",
            Self::Timeout => "log-in: no answer",
            Self::Throttled => "log-in: throttled",
            Self::Elsewhere => "log-in: another host",
        }
    }
}

/// The stream of one account.
#[derive(Default)]
pub struct Link {
    /// Counts log-ins: what belongs to an older one is lost.
    pub epoch: u32,
    pub up: bool,
    /// Since when nothing has come through, while it is up.
    pub dead_since: Option<Time>,
    /// Since when it has not been up.
    pub off_since: Time,
    /// When the last stanza of each direction arrives: later ones come later.
    upstream: Time,
    downstream: Time,
    /// Messages for nobody, kept by the server.
    pub kept: Vec<(usize, &'static str)>,
}

impl Link {
    /// Whether the session of this log-in is still up.
    pub fn carries(&self, epoch: u32) -> bool {
        self.up && self.epoch == epoch && self.dead_since.is_none()
    }

    /// Since when nothing has come through.
    pub fn dark_since(&self) -> Option<Time> {
        if self.up { self.dead_since } else { Some(self.off_since) }
    }

    pub fn come_up(&mut self) {
        self.up = true;
        self.dead_since = None;
    }

    pub fn go_down(&mut self, now: Time) {
        self.off_since = self.dead_since.take().unwrap_or(now);
        self.up = false;
    }

    pub fn arrives_at_service(&mut self, at: Time) -> Time {
        self.upstream = self.upstream.max(at);
        self.upstream
    }

    pub fn arrives_at_router(&mut self, at: Time) -> Time {
        self.downstream = self.downstream.max(at);
        self.downstream
    }
}

/// The permits for log-ins, over all accounts; first come, first served.
pub struct Gate {
    free: usize,
    waiting: VecDeque<(usize, u32)>,
}

impl Gate {
    pub fn new(permits: usize) -> Self {
        Self { free: permits, waiting: VecDeque::new() }
    }

    pub fn queue(&mut self, account: usize, epoch: u32) {
        self.waiting.push_back((account, epoch));
    }

    /// Who may log in now.
    pub fn admit(&mut self) -> Option<(usize, u32)> {
        let next = (self.free > 0).then(|| self.waiting.pop_front()).flatten();
        self.free -= usize::from(next.is_some());
        next
    }

    pub fn leave(&mut self) {
        self.free += 1;
    }

    pub fn under_way(&self, permits: usize) -> usize {
        permits - self.free
    }
}
