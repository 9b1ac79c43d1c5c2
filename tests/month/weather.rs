//! How faults come over the world and go again.

use jiff::SignedDuration;

use super::faults::{Ailment, Blow, Fault, RECONNECT, Storm, unlisted};
use super::network::{Cut, NOTICED};
use super::world::{Deed, World};
use super::{HOURS, MINUTES, SECONDS, Time, scaled};

/// No new fault begins later.
pub const LAST_FAULT: Time = 28 * 24 * HOURS;
/// Time between two faults of one account, and between two of all, at most; half of it on average.
const STRIKES: Time = 20 * HOURS;
const STORMS: Time = 30 * HOURS;

impl World {
    /// Lets faults begin.
    pub fn let_loose(&mut self) {
        for account in 0..self.lives.len() {
            let wait = self.span(10 * MINUTES, STRIKES);
            self.later(wait, account, Deed::Strike);
        }
        let wait = self.span(10 * MINUTES, STORMS);
        self.later(wait, 0, Deed::Storm);
    }

    pub(super) fn strike(&mut self, account: usize) {
        let wait = self.span(0, STRIKES);
        if self.now + wait < LAST_FAULT {
            self.later(wait, account, Deed::Strike);
        }
        match Fault::random(&mut self.dice) {
            Fault::Ailment(ailment) => {
                let span = ailment.span(&mut self.dice);
                self.fall_ill(account, ailment, span);
            }
            Fault::Blow(blow) => self.hit(account, blow),
        }
    }

    pub(super) fn storm(&mut self) {
        let wait = self.span(0, STORMS);
        if self.now + wait < LAST_FAULT {
            self.later(wait, 0, Deed::Storm);
        }
        let storm = Storm::random(&mut self.dice);
        let step = self.span(0, 180 * SECONDS).cast_signed() - 90_000_000;
        if storm == Storm::ClockStep {
            let skew = (self.skew + step).clamp(-120_000_000, 120_000_000);
            let by = SignedDuration::from_micros(skew - self.skew);
            self.skew = skew;
            for life in &mut self.lives {
                life.router.clock_stepped(by);
                life.windows.clock_stepped(by);
            }
            self.tally.faults.entry("clock step").or_default().0 += 1;
            return;
        }
        let span = match storm {
            Storm::Ailment(ailment) => ailment.span(&mut self.dice),
            Storm::RouterRestart { .. } => Ailment::Stopped.span(&mut self.dice),
            Storm::Resets | Storm::ServiceRestart { .. } | Storm::ClockStep => {
                scaled(5 * SECONDS, 20 * MINUTES, &mut self.dice)
            }
        };
        for account in 0..self.lives.len() {
            self.look(account);
            match storm {
                Storm::Ailment(ailment) => self.fall_ill(account, ailment, span),
                Storm::Resets => self.hit(account, Blow::Reset),
                Storm::ServiceRestart { forgets, unauthorizes } => {
                    self.lives[account].watch.note(self.now, "service restart", 0);
                    self.fall_ill(account, Ailment::Closed, span);
                    self.forget(account, forgets, unauthorizes);
                }
                Storm::RouterRestart { ledger, reload } => self.stop(account, ledger, reload, span),
                Storm::ClockStep => {}
            }
            self.after(account);
        }
    }

    fn forget(&mut self, account: usize, forgets: bool, unauthorizes: bool) {
        let now = self.now;
        let service = &mut self.lives[account].service;
        for board in &mut service.shelves {
            board.change(now, |entries| entries.retain(|entry| entry.approved && !(forgets && entry.own)));
            board.tampered = Some(now);
        }
        if unauthorizes {
            service.authorized_until = service.authorized_until.min(now);
        }
    }

    fn stop(&mut self, account: usize, ledger: bool, reload: bool, span: Time) {
        let now = self.now;
        if self.lives[account].has(Ailment::Stopped) {
            return;
        }
        self.rebuild(account, ledger, reload);
        let link = &mut self.lives[account].link;
        if link.up {
            link.go_down(now);
        }
        self.fall_ill(account, Ailment::Stopped, span);
    }

    fn fall_ill(&mut self, account: usize, ailment: Ailment, span: Time) {
        let now = self.now;
        self.tally.faults.entry(ailment.name()).or_default().0 += 1;
        let life = &mut self.lives[account];
        life.ailments[ailment as usize] += 1;
        life.watch.fell_ill(now);
        life.watch.note(now, ailment.name(), span / SECONDS);
        let epoch = life.link.epoch;
        if ailment == Ailment::Password {
            life.refused_since.get_or_insert(now);
        }
        match ailment {
            Ailment::BlackHole => self.half_kill(account),
            Ailment::Closed => {
                let wait = self.span(0, 2 * SECONDS);
                self.later(wait, account, Deed::Cut { epoch, cut: Cut::Shutdown });
            }
            Ailment::Flapping => self.flap(account),
            Ailment::Denied | Ailment::Ignored | Ailment::Full => self.end(account, ailment == Ailment::Full),
            Ailment::AuthSilent
            | Ailment::AuthBroken
            | Ailment::PubsubSilent
            | Ailment::PubsubBroken
            | Ailment::Slow
            | Ailment::Lossy
            | Ailment::Password
            | Ailment::Throttled
            | Ailment::Elsewhere
            | Ailment::Stopped => {}
        }
        self.later(span, account, Deed::Heal { ailment, since: now });
    }

    pub(super) fn heal(&mut self, account: usize, ailment: Ailment, since: Time) {
        let now = self.now;
        let life = &mut self.lives[account];
        life.ailments[ailment as usize] -= 1;
        life.watch.note(now, "healed", ailment as u64);
        if ailment == Ailment::Full {
            for board in &mut life.service.shelves {
                let mut left = 3;
                board.change(now, |entries| {
                    entries.retain(|entry| {
                        left -= i32::from(!entry.own);
                        entry.own || left >= 0
                    });
                });
            }
        }
        let first = life.refused_since.filter(|_| ailment == Ailment::Password);
        let since = since.min(first.unwrap_or(since));
        let least = life.hidden.max(RECONNECT);
        life.watch.healed(ailment.name(), now, ailment.allowance(now - since).max(least));
        if ailment == Ailment::Stopped {
            self.start(account);
        }
    }

    pub(super) fn flap(&mut self, account: usize) {
        let life = &mut self.lives[account];
        if !life.has(Ailment::Flapping) {
            return;
        }
        let epoch = life.link.epoch;
        let cut = if self.chance(0.5) { Cut::Reset } else { Cut::Shutdown };
        self.later(0, account, Deed::Cut { epoch, cut });
        let wait = self.span(3 * SECONDS, MINUTES);
        self.later(wait, account, Deed::Flap);
    }

    /// The link goes dead; the router notices by its pings.
    fn half_kill(&mut self, account: usize) {
        let wait = self.span(NOTICED.0, NOTICED.1);
        let now = self.now;
        let link = &mut self.lives[account].link;
        if link.up {
            link.dead_since.get_or_insert(now);
            let epoch = link.epoch;
            self.later(wait, account, Deed::Cut { epoch, cut: Cut::Silence });
        }
    }

    /// The subscriptions end, with a message; others may take their places.
    fn end(&mut self, account: usize, full: bool) {
        let now = self.now;
        for node in 0..self.lives[account].setting.nodes() {
            let board = &mut self.lives[account].service.shelves[node];
            board.change(now, |entries| entries.retain(|entry| !entry.own));
            board.tampered = Some(now);
            let room = if full { 10usize.saturating_sub(board.entries.len()) } else { 0 };
            for _ in 0..room {
                self.lives[account].service.enter(node, false, true, now + HOURS, now);
            }
            self.inform(account, node);
        }
    }

    /// Tells of an end; where the message cannot arrive, the end is hidden.
    fn inform(&mut self, account: usize, node: usize) {
        let hidden = unlisted(self.probe);
        let life = &mut self.lives[account];
        let reached = life.link.carries(life.link.epoch) && !life.has(Ailment::Lossy) && !life.has(Ailment::Slow);
        if !reached {
            life.hidden = life.hidden.max(hidden);
        }
        self.tell(account, node, "none");
    }

    fn hit(&mut self, account: usize, blow: Blow) {
        let now = self.now;
        self.tally.faults.entry(blow.name()).or_default().0 += 1;
        let node = super::below(&mut self.dice, self.lives[account].setting.nodes());
        let until = now + self.span(0, HOURS);
        let life = &mut self.lives[account];
        life.watch.note(now, blow.name(), node as u64);
        let (up, epoch) = (life.link.up, life.link.epoch);
        let cut = match blow {
            Blow::Reset => Some(Cut::Reset),
            Blow::Shutdown => Some(Cut::Shutdown),
            Blow::Conflict => Some(Cut::Conflict),
            Blow::ThrottledStream => Some(Cut::Throttled),
            Blow::SentElsewhere => Some(Cut::Elsewhere),
            Blow::HalfDead => {
                self.half_kill(account);
                None
            }
            Blow::Ended | Blow::Forgotten => {
                let board = &mut life.service.shelves[node];
                board.change(now, |entries| entries.retain(|entry| !entry.own));
                board.tampered = Some(now);
                None
            }
            Blow::Unauthorized => {
                life.service.authorized_until = life.service.authorized_until.min(now);
                None
            }
            Blow::Shortened => {
                let board = &mut life.service.shelves[node];
                board.change(now, |entries| {
                    entries.iter_mut().filter(|entry| entry.own).for_each(|entry| entry.until = entry.until.min(until));
                });
                None
            }
            Blow::Doubled => {
                life.service.enter(node, true, true, until, now);
                life.service.shelves[node].tampered = Some(now);
                None
            }
        };
        if let Some(cut) = cut.filter(|_| up) {
            self.later(0, account, Deed::Cut { epoch, cut });
        }
        if blow == Blow::Ended {
            self.inform(account, node);
        }
        let allowance = blow.allowance(self.probe);
        let life = &mut self.lives[account];
        if blow.is_silent() {
            life.hidden = life.hidden.max(allowance);
        }
        life.watch.struck(blow.name(), now, allowance.max(life.hidden), blow.is_silent());
    }
}
