//! How long a stream is silent: long enough to ask whether anybody is there, or too long.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// What a silence is borne with.
#[derive(Clone, Copy, Debug)]
pub(in crate::xmpp) struct Patience {
    /// Until the peer is asked.
    pub(in crate::xmpp) quiet: Duration,
    /// From there until the link counts as dead.
    pub(in crate::xmpp) response: Duration,
}

/// The silence of one stream.
#[derive(Debug)]
pub(super) struct Silence {
    patience: Patience,
    asked: bool,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Long,
    TooLong,
}

impl Silence {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, asked: false, heard: Instant::now(), timer: Box::pin(sleep(patience.quiet)) }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Something was heard. The timer learns of it when it ends.
    pub(super) fn broken(&mut self) {
        self.heard = Instant::now();
        if self.asked {
            self.asked = false;
            self.timer.as_mut().reset(self.heard + self.patience.quiet);
        }
    }

    /// Ready where somebody must do something about it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Length> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.asked {
                self.timer.as_mut().reset(Instant::now() + self.patience.response);
                return Poll::Ready(Length::TooLong);
            }
            let due = self.heard + self.patience.quiet;
            if due <= Instant::now() {
                self.asked = true;
                self.timer.as_mut().reset(Instant::now() + self.patience.response);
                return Poll::Ready(Length::Long);
            }
            self.timer.as_mut().reset(due);
        }
    }
}
