//! When the server was heard last, which others than the session want to know: until then its events could arrive.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::moment::Moment;

/// The last sign of life of one session.
#[derive(Debug)]
pub struct Pulse(Mutex<Signs>);

#[derive(Clone, Copy, Debug)]
struct Signs {
    heard: Moment,
    doubted: Option<Moment>,
}

impl Pulse {
    /// Begins with a first sign.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self(Mutex::new(Signs { heard: now, doubted: None }))
    }

    /// Something was heard at `now`.
    pub fn hear(&self, now: Moment) {
        self.signs().heard = now;
    }

    /// Since `doubted` the server may deliver nothing, though it answers pings; none: it does.
    pub fn doubt(&self, doubted: Option<Moment>) {
        self.signs().doubted = doubted;
    }

    /// Returns when anything was heard last.
    #[must_use]
    pub fn heard(&self) -> Moment {
        self.signs().heard
    }

    /// Returns the last moment at which the server is known to have delivered.
    #[must_use]
    pub fn delivered(&self) -> Moment {
        let Signs { heard, doubted } = *self.signs();
        doubted.map_or(heard, |doubted| doubted.min(heard))
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(second), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn f1_a_server_that_answers_nothing_but_pings_is_not_known_to_deliver() {
        let pulse = Pulse::new(at(1));
        pulse.hear(at(5));
        assert_eq!((pulse.heard(), pulse.delivered()), (at(5), at(5)));
        pulse.doubt(Some(at(3)));
        pulse.hear(at(9));
        assert_eq!((pulse.heard(), pulse.delivered()), (at(9), at(3)));
        pulse.doubt(None);
        assert_eq!(pulse.delivered(), at(9));
    }
}
