//! The promises, held all the time: what is seen of one account, and what must never be.

use std::collections::{BTreeMap, VecDeque};

use super::{MINUTES, SECONDS, Time};

/// While link and service are well, nobody takes a node for active that does not deliver for longer than this. What only
/// a list shows waits for the next authorisation (70 % of an hour at the latest), a renewal and that list.
pub const BLIND_WHEN_WELL: Time = 45 * MINUTES;
/// Nor for longer than this in any case: a lease is believed until its end.
pub const BLIND_EVER: Time = 2 * 60 * MINUTES + 2 * MINUTES;
/// Requests of one account in a minute while all is well: one authorisation, a renewal and a list of each of two nodes,
/// and one to spare.
pub const REQUESTS_WHEN_WELL: u32 = 6;
/// The same at the worst of times.
pub const REQUESTS_EVER: u32 = 50;
/// Log-ins of one account in a minute at the worst of times.
pub const LOGINS_EVER: u32 = 20;
/// What is remembered for the report of a failure.
const REMEMBERED: usize = 40;

/// Something that happened to an account.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub at: Time,
    pub what: &'static str,
    /// The node, or whatever number belongs to it.
    pub number: u64,
}

/// Counts what happens in a minute.
#[derive(Default)]
struct Pace {
    minute: Time,
    count: u32,
    well: bool,
}

impl Pace {
    fn count(&mut self, now: Time, well: bool) -> (u32, bool) {
        let minute = now / MINUTES;
        if self.minute != minute {
            *self = Self { minute, count: 0, well: true };
        }
        self.count += 1;
        self.well &= well;
        (self.count, self.well)
    }
}

#[derive(Clone, Default)]
struct Seen {
    believed_since: Option<Time>,
    blind_since: Option<Time>,
}

/// Sums over all accounts of a world.
#[derive(Default)]
pub struct Tally {
    pub requests: BTreeMap<&'static str, u64>,
    pub logins: u64,
    pub sessions: u64,
    pub most_requests_when_well: u32,
    pub most_requests: u32,
    pub most_logins: u32,
    pub blind_when_well: Time,
    pub blind: Time,
    /// Longest time that an account counted as covered and a node of it was silent.
    pub covered_and_silent: Time,
    /// By fault: how often, and the longest time from its end until all was well, where it came alone.
    pub faults: BTreeMap<&'static str, (u64, Time)>,
}

/// What is seen of one account.
pub struct Watch {
    nodes: Vec<Seen>,
    notes: VecDeque<Note>,
    sick: u32,
    well_since: Time,
    excused_until: Time,
    last_fault: &'static str,
    last_fault_at: Time,
    /// Whether all was well before it.
    alone: bool,
    broken_since: Option<Time>,
    covered_since: Option<Time>,
    requests: Pace,
    logins: Pace,
}

/// What an account is like at this moment.
pub struct View {
    pub believes: bool,
    pub dark_since: Option<Time>,
    pub own_entries: usize,
}

impl Watch {
    pub fn new(nodes: usize, excused_until: Time) -> Self {
        Self {
            nodes: vec![Seen::default(); nodes],
            notes: VecDeque::with_capacity(REMEMBERED),
            sick: 0,
            well_since: 0,
            excused_until,
            last_fault: "start",
            last_fault_at: 0,
            alone: true,
            broken_since: Some(0),
            covered_since: None,
            requests: Pace::default(),
            logins: Pace::default(),
        }
    }

    pub fn note(&mut self, at: Time, what: &'static str, number: u64) {
        if self.notes.len() == REMEMBERED {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { at, what, number });
    }

    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter()
    }

    /// Whether nothing is wrong, nor has been lately.
    pub fn is_well(&self, now: Time) -> bool {
        self.sick == 0 && now > self.excused_until
    }

    pub fn excused_until(&self) -> Time {
        self.excused_until
    }

    pub fn fell_ill(&mut self, now: Time) {
        self.alone = self.is_well(now);
        self.sick += 1;
    }

    pub fn healed(&mut self, name: &'static str, now: Time, allowance: Time) {
        self.sick -= 1;
        self.excuse(name, now, allowance, false);
    }

    /// A fault that is over at once; a silent one leaves link and service well.
    pub fn struck(&mut self, name: &'static str, now: Time, allowance: Time, silent: bool) {
        self.alone = self.is_well(now);
        self.excuse(name, now, allowance, silent);
    }

    fn excuse(&mut self, name: &'static str, now: Time, allowance: Time, silent: bool) {
        self.excused_until = self.excused_until.max(now + allowance);
        if !silent {
            self.well_since = now;
        }
        self.last_fault = name;
        self.last_fault_at = now;
    }

    /// Holds what is to be seen of one node against the promises.
    pub fn see(&mut self, node: usize, view: &View, now: Time, tally: &mut Tally) -> Result<(), String> {
        let seen = &mut self.nodes[node];
        if view.believes {
            let believed = *seen.believed_since.get_or_insert(now);
            seen.blind_since = view.dark_since.map(|dark| seen.blind_since.unwrap_or(dark.max(believed)));
        } else {
            *seen = Seen::default();
        }
        if let Some(since) = seen.blind_since {
            tally.blind = tally.blind.max(now - since);
            if now - since > BLIND_EVER {
                return Err(format!(
                    "node {node} is taken for active and has not delivered for {} s",
                    (now - since) / SECONDS
                ));
            }
            let while_well = now.saturating_sub(since.max(self.well_since));
            if self.sick == 0 {
                tally.blind_when_well = tally.blind_when_well.max(while_well);
                if while_well > BLIND_WHEN_WELL {
                    let long = while_well / SECONDS;
                    return Err(format!(
                        "all is well, node {node} is taken for active and has not delivered for {long} s"
                    ));
                }
            }
        }
        let fine = view.believes && view.dark_since.is_none() && view.own_entries == 1;
        if !fine && self.is_well(now) {
            return Err(format!(
                "node {node} ought to be fine by now: taken for active: {}, silent since {:?} s, own entries: {}",
                view.believes,
                view.dark_since.map(|since| since / SECONDS),
                view.own_entries
            ));
        }
        Ok(())
    }

    /// What is to be seen of the account as a whole: whether all nodes are fine, since when one is silent.
    pub fn conclude(&mut self, fine: bool, covered: bool, dark_since: Option<Time>, now: Time, tally: &mut Tally) {
        if !fine {
            self.broken_since.get_or_insert(now);
        } else if let Some(since) = self.broken_since.take().filter(|_| self.sick == 0 && self.alone) {
            let fault = tally.faults.entry(self.last_fault).or_default();
            fault.1 = fault.1.max(now - since.max(self.last_fault_at));
        }
        self.covered_since = covered.then(|| self.covered_since.unwrap_or(now));
        if let (Some(covered), Some(dark)) = (self.covered_since, dark_since) {
            tally.covered_and_silent = tally.covered_and_silent.max(now - covered.max(dark));
        }
    }

    pub fn requested(&mut self, now: Time, tally: &mut Tally) -> Result<(), String> {
        let well = self.is_well(now.saturating_sub(2 * MINUTES));
        let (count, well) = self.requests.count(now, well);
        tally.most_requests = tally.most_requests.max(count);
        if well {
            tally.most_requests_when_well = tally.most_requests_when_well.max(count);
        }
        if count > REQUESTS_EVER || (well && count > REQUESTS_WHEN_WELL) {
            return Err(format!("{count} requests in a minute"));
        }
        Ok(())
    }

    pub fn logged_in(&mut self, now: Time, tally: &mut Tally) -> Result<(), String> {
        let (count, _) = self.logins.count(now, true);
        tally.most_logins = tally.most_logins.max(count);
        tally.logins += 1;
        if count > LOGINS_EVER { Err(format!("{count} log-ins in a minute")) } else { Ok(()) }
    }
}
