//! The account's idea of the server's clock: asked for beside the authorization, and used for all that ends by it.

use actix::prelude::*;

use super::{Asker, ClockStepped, Connection};
use crate::actors::chronicle;
use crate::actors::subscription::ClockSet;
use crate::domain::moment::Moment;
use crate::protocol::authorization::Authorization;
use crate::protocol::clock;
use crate::protocol::requests::Reply;
use crate::protocol::stanza::{self, Request};

impl Connection {
    /// Now, with UTC as the server has it.
    pub(super) fn now(&self) -> Moment {
        self.clock.by_server(Moment::now())
    }

    /// Asks the authorization service for the time, if it is time to; without authorization there is nobody to ask.
    pub(super) fn ask_time(&mut self) {
        let now = Moment::now();
        if self.machine.own().is_none() || self.machine.authorization().is_none() || !self.clock.tick(now) {
            return;
        }
        let to = self.access.onsip.auth.clone();
        let id = self.requests.open(to.clone(), Asker::Clock, now);
        self.send(stanza::time_request(&id, &to));
    }

    pub(super) fn time_told(&mut self, reply: &Reply, ctx: &mut Context<Self>) {
        let now = Moment::now();
        let before = self.clock.server_utc(now.utc(), now);
        if self.clock.answered(reply, now) {
            chronicle::clock(&self.house, &self.name, self.clock.ahead(now));
            let commands = self.machine.corrected(self.now());
            self.carry_out(commands, ctx);
            if clock::differ(before, self.clock.server_utc(now.utc(), now)) {
                self.tell_all(|| ClockSet, ctx);
            }
        }
    }

    /// Where the service does not tell its time, the end of what it granted may show that our clock is behind.
    pub(super) fn judge_clock(&mut self) {
        let Some(expires) = self.machine.authorization().and_then(Authorization::expires) else { return };
        let now = Moment::now();
        let known = self.clock.is_known();
        let ahead = self.clock.granted(expires, now);
        if !known && ahead.is_some() {
            chronicle::clock(&self.house, &self.name, ahead);
        }
    }

    /// The request with the end of its lease as the server's clock has it.
    pub(super) fn by_server(&self, request: Request) -> Request {
        request.with_expire(|utc| self.clock.server_utc(utc, Moment::now()))
    }
}

impl Handler<ClockStepped> for Connection {
    type Result = ();
    fn handle(&mut self, ClockStepped { by }: ClockStepped, ctx: &mut Context<Self>) {
        let change = self.coverage.stepped(by);
        self.cover(change, ctx);
        self.clock.stepped(Moment::now());
        if !self.clock.is_known() {
            let commands = self.machine.corrected(self.now());
            self.carry_out(commands, ctx);
            self.tell_all(|| ClockSet, ctx); // ours is all there is
        }
        self.ask_time();
        self.set_timer(ctx);
    }
}
