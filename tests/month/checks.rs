//! The promises, held all the time: what is seen of one account, and what must never be.

use std::collections::{BTreeMap, VecDeque};

use super::{MINUTES, SECONDS, Time};

/// While link and service are well, nobody takes a node for active, nor counts the account as covered, that does not
/// deliver for longer than this. No list shows that an authorization ended, or how long a lease is: that waits for the
/// next authorization (70 % of an hour at the latest) and a renewal.
pub const BLIND_WHEN_WELL: Time = 43 * MINUTES;
/// What a list does show is seen by the next look: so much later than the interval of looks, if two are not answered.
pub const LOOK: Time = MINUTES;
/// Nor for longer than this in any case: a lease is believed until its end, where the service answers with errors.
pub const BLIND_EVER: Time = 2 * 60 * MINUTES;
/// A gap begins at most so long after the silence that a list or the link shows, while all is well: an end that a message
/// tells of is believed once a list shows it.
pub const UNTOLD: Time = SECONDS;
/// Requests of one account in a minute while all is well: one authorization, the time, and of each of two nodes a
/// renewal, a list and a look.
pub const REQUESTS_WHEN_WELL: u32 = 8;
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

/// That a node delivers: since when it is said, and since when it is not so.
#[derive(Clone, Default)]
struct Claim {
    made: Option<Time>,
    /// For any reason.
    wrong: Option<Time>,
    /// For one that a list or the link shows.
    evidently_wrong: Option<Time>,
}

impl Claim {
    fn hold(&mut self, made: bool, view: &View, now: Time) {
        if !made {
            *self = Self::default();
            return;
        }
        let made = *self.made.get_or_insert(now);
        let since = |known: Option<Time>, dark: Option<Time>| dark.map(|dark| known.unwrap_or(dark.max(made)));
        self.wrong = since(self.wrong, view.dark_since);
        self.evidently_wrong = since(self.evidently_wrong, view.gone_since);
    }
}

/// The longest time that a claim was wrong.
#[derive(Clone, Copy, Default)]
pub struct Longest {
    pub ever: Time,
    pub when_well: Time,
    /// Where a list or the link would have shown it.
    pub evidently_when_well: Time,
}

#[derive(Clone, Default)]
struct Seen {
    believed: Claim,
    covered: Claim,
}

/// Sums over all accounts of a world.
#[derive(Default)]
pub struct Tally {
    pub requests: BTreeMap<&'static str, u64>,
    pub logins: u64,
    pub sessions: u64,
    /// Sessions that the router ended because they answered nothing.
    pub dropped: u64,
    pub most_requests_when_well: u32,
    pub most_requests: u32,
    pub most_logins: u32,
    /// Taken for active and silent.
    pub believed: Longest,
    /// Counted as covered and silent.
    pub covered: Longest,
    /// The latest beginning of a gap after the silence, while all was well.
    pub untold: Time,
    /// By fault: how often, and the longest time from its end until all was well, where it came alone.
    pub faults: BTreeMap<&'static str, (u64, Time)>,
}

/// What is seen of one account.
pub struct Watch {
    nodes: Vec<Seen>,
    /// How often a subscription is looked up.
    probe: Time,
    notes: VecDeque<Note>,
    sick: u32,
    well_since: Time,
    excused_until: Time,
    last_fault: &'static str,
    last_fault_at: Time,
    /// Whether all was well before it.
    alone: bool,
    broken_since: Option<Time>,
    requests: Pace,
    logins: Pace,
}

/// What an account is like at this moment.
pub struct View {
    pub believes: bool,
    /// Whether the account counts as covered, and the node is not known to be denied.
    pub covered: bool,
    /// Where the newest gap begins.
    pub gap_from: Option<Time>,
    /// Since when it does not deliver, for any reason.
    pub dark_since: Option<Time>,
    /// The same for a reason that a list or the link shows.
    pub gone_since: Option<Time>,
    pub own_entries: usize,
}

impl Watch {
    pub fn new(nodes: usize, probe: Time, excused_until: Time) -> Self {
        Self {
            probe,
            nodes: vec![Seen::default(); nodes],
            notes: VecDeque::with_capacity(REMEMBERED),
            sick: 0,
            well_since: 0,
            excused_until,
            last_fault: "start",
            last_fault_at: 0,
            alone: true,
            broken_since: Some(0),
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
        let silent_and_covered = seen.covered.evidently_wrong.filter(|since| *since >= self.well_since);
        seen.believed.hold(view.believes, view, now);
        seen.covered.hold(view.covered, view, now);
        let seen = &self.nodes[node];
        self.judge("is taken for active", node, &seen.believed, now, &mut tally.believed)?;
        self.judge("counts as covered", node, &seen.covered, now, &mut tally.covered)?;
        if let (Some(since), Some(from), false, 0) = (silent_and_covered, view.gap_from, view.covered, self.sick) {
            tally.untold = tally.untold.max(from.saturating_sub(since));
            if from > since + UNTOLD {
                let late = (from - since) / SECONDS;
                return Err(format!("the gap of node {node} begins {late} s after its silence"));
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

    fn judge(&self, what: &str, node: usize, claim: &Claim, now: Time, longest: &mut Longest) -> Result<(), String> {
        if claim.wrong.or(claim.evidently_wrong).is_none() {
            return Ok(());
        }
        let well_since = self.well_since;
        let when_well = |since: Option<Time>| since.filter(|_| self.sick == 0).map(|since| since.max(well_since));
        let evidently = self.probe + LOOK;
        for (since, longest, most, when) in [
            (claim.wrong, &mut longest.ever, BLIND_EVER, "ever"),
            (when_well(claim.wrong), &mut longest.when_well, BLIND_WHEN_WELL, "while all is well"),
            (when_well(claim.evidently_wrong), &mut longest.evidently_when_well, evidently, "while a look shows it"),
        ] {
            let long = since.map_or(0, |since| now.saturating_sub(since));
            *longest = (*longest).max(long);
            if long > most {
                return Err(format!("node {node} {what} and has not delivered for {} s, {when}", long / SECONDS));
            }
        }
        Ok(())
    }

    /// What is to be seen of the account as a whole: whether all nodes are fine.
    pub fn conclude(&mut self, fine: bool, now: Time, tally: &mut Tally) {
        if !fine {
            self.broken_since.get_or_insert(now);
        } else if let Some(since) = self.broken_since.take().filter(|_| self.sick == 0 && self.alone) {
            let fault = tally.faults.entry(self.last_fault).or_default();
            fault.1 = fault.1.max(now - since.max(self.last_fault_at));
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
