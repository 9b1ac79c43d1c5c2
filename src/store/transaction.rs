//! One transaction of the writer.
//!
//! In the usual one events come and go in their order: the window has decided everything, and the database is given two
//! commands, whatever their number; each command is a hop to its thread and back. Anything else takes the packs apart and
//! works on rows. Must not know who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::error::StoreError;
use super::lock::Lock;
use super::memory::{Added, Memory, Slice};
use super::presence::Presence;
use super::time::{self, Time};
use super::window::{Debtor, Plan, Window};
use super::writer::{Operation, Work, Written};
use super::{Commit, coverage, dead, journal, ledger, packing, pruning, queue, settling, shedding};

/// Says also whether another process has written since.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE; PRAGMA data_version";
pub(super) const PACK: &str = "INSERT INTO packs (first, last, debtors, body) VALUES (?, ?, ?, ?);";
pub(super) const FREE: &str = "DELETE FROM packs WHERE last <= ?;";
pub(super) const SINK: &str = "UPDATE sinks SET done = ?, newest = ?, owed = ?, bytes = ? WHERE number = ?;";
pub(super) const JOURNAL: &str = "INSERT INTO journal (number, checksum, body) VALUES (?, ?, ?);";

/// The connection that writes, and what is known of the database without asking it.
pub(super) struct Scribe {
    pub(super) connection: SqliteConnection,
    pub(super) memory: Arc<Memory>,
    pub(super) window: Arc<Window>,
    pub(super) lock: Lock,
    pub(super) time: Arc<Time>,
    /// Whether what is written now is there later.
    pub(super) presence: Arc<Presence>,
    version: i64,
    /// What tests have the next transactions fail with.
    #[cfg(test)]
    pub(super) fault: Option<StoreError>,
    #[cfg(test)]
    pub(super) refuses: Option<&'static str>,
}

/// What a commit among the operations turned out to be.
#[derive(Default)]
struct Numbered {
    first: i64,
    fresh: Vec<bool>,
}

impl Scribe {
    /// Takes over a database; if it is ours, events that were left in packs become rows.
    pub(super) async fn new(mut connection: SqliteConnection, lock: Lock, memory: Memory) -> Result<Self, StoreError> {
        let (mut version, window) = (0, Window::default());
        let time = Time::of(&mut connection, lock.is_ours()).await?;
        if lock.is_ours() {
            version = sqlx::query_scalar(BEGIN).fetch_one(&mut connection).await?;
            packing::unpack_all(&mut connection).await?;
            let (sinks, rows_upto, next) = queue::standing(&mut connection).await?;
            sqlx::query("COMMIT").execute(&mut connection).await?;
            window.reset(sinks, rows_upto, next.max(memory.newest_number() + 1));
        }
        Ok(Self {
            connection,
            memory: memory.into(),
            window: window.into(),
            lock,
            time: time.into(),
            presence: Arc::default(),
            version,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            refuses: None,
        })
    }

    /// The same, which writes nothing once these files are gone.
    pub(super) fn watching(self, presence: Presence) -> Self {
        Self { presence: presence.into(), ..self }
    }

    /// Does what a test has asked for.
    #[cfg(test)]
    #[expect(clippy::panic, reason = "a test asked for it")]
    pub(super) fn inject(&mut self, work: &Work) {
        match work {
            Work::Fail(fault) => self.fault.clone_from(fault),
            Work::Refuse(text) => self.refuses = Some(text),
            Work::Panic => panic!("asked to"),
            _ => {}
        }
    }

    /// Makes rows of the oldest events in packs, while there are too many.
    pub(super) async fn spill(&mut self) -> Result<(), StoreError> {
        while let Some(upto) = self.window.surplus() {
            let version: i64 = sqlx::query_scalar(BEGIN).fetch_one(&mut self.connection).await?;
            let spilled = async {
                if version == self.version {
                    packing::unpack_upto(&mut self.connection, upto).await?;
                }
                sqlx::query("COMMIT").execute(&mut self.connection).await.map_err(StoreError::from)
            };
            if let Err(fault) = spilled.await {
                let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
                return Err(fault);
            }
            if version != self.version {
                return Ok(()); // the next transaction sees what has changed
            }
            self.window.spilled(upto);
        }
        Ok(())
    }

    /// All of `operations`, or none; with some of the journal, if there is a `slice` of it.
    pub(super) async fn transact(
        &mut self,
        operations: &[Operation],
        slice: Option<&Slice>,
    ) -> Result<Vec<Written>, StoreError> {
        #[cfg(test)]
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        #[cfg(test)]
        if let Some(text) = self.refuses {
            for operation in operations {
                if let Work::Commit(commit) = &operation.work
                    && commit.events.iter().any(|event| event.body.contains(text))
                {
                    return Err(StoreError::Refused(text.into()));
                }
            }
        }
        self.presence.look()?;
        let outcome = self.attempt(operations, slice).await;
        if outcome.is_err() {
            // SQLite may have rolled back by itself; then there is nothing to undo and this fails, as it should.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        }
        outcome
    }

    async fn attempt(&mut self, operations: &[Operation], slice: Option<&Slice>) -> Result<Vec<Written>, StoreError> {
        let version: i64 = sqlx::query_scalar(BEGIN).fetch_one(&mut self.connection).await?;
        let row = self.memory.next();
        if !self.lock.is_ours() {
            let (sinks, rows_upto, next) = queue::standing(&mut self.connection).await?;
            self.window.reset(sinks, rows_upto, next);
        }
        let mut beside = BTreeMap::new();
        if self.lock.is_ours() && version != self.version {
            let (sinks, ..) = queue::standing(&mut self.connection).await?;
            beside = self.window.done_beside(&sinks);
        }
        let (numbered, mut added) = self.number(operations).await?;
        let known = self.lock.is_ours() && version == self.version;
        let plan = if known { self.plan(operations, &numbered) } else { None };
        if plan.is_none() {
            packing::unpack_all(&mut self.connection).await?;
        }
        let now = self.time.now();
        let mut written = Vec::with_capacity(operations.len());
        let mut commits = numbered.into_iter();
        for operation in operations {
            let commit = if matches!(operation.work, Work::Commit(_)) { commits.next() } else { None };
            let (commit, planned) = (commit.unwrap_or_default(), plan.is_some());
            written.push(carry_out(&mut self.connection, &operation.work, (commit, planned), now, &mut added).await?);
        }
        if let Some(slice) = slice {
            journal::post(&mut self.connection, slice).await?;
            for (one, _) in written.iter_mut().zip(operations).filter(|(_, one)| matches!(one.work, Work::Post)) {
                one.more = slice.more;
            }
        }
        let standing = match &plan {
            Some(_) => None,
            None => Some(queue::standing(&mut self.connection).await?),
        };
        self.lock.touch();
        let clock = self.time.due().filter(|_| self.lock.is_ours());
        write(&mut self.connection, plan.as_ref(), (row, &added), clock).await?;
        if let Some(clock) = clock {
            self.time.written(clock);
        }
        self.version = version;
        self.window.keep_beside(beside);
        if let Some(slice) = slice {
            self.memory.posted(slice);
        }
        let next = added.ids.last().map_or(0, |(number, ..)| number + 1);
        self.memory.keep(row, added);
        match (plan, standing) {
            (Some(plan), _) => self.window.apply(plan),
            (None, Some((sinks, rows_upto, after))) => self.window.reset(sinks, rows_upto, after.max(next)),
            (None, None) => {}
        }
        Ok(written)
    }

    /// Which events are new, and at which positions they are.
    async fn number(&mut self, operations: &[Operation]) -> Result<(Vec<Numbered>, Added), StoreError> {
        let (mut numbered, mut added, mut next) = (Vec::new(), Added::default(), self.window.next());
        for operation in operations {
            let Work::Commit(commit) = &operation.work else { continue };
            let fresh = queue::fresh(&mut self.connection, &self.memory, &commit.events, &added.ids).await?;
            let new = (next..).zip(&commit.events).zip(&fresh).filter(|(_, fresh)| **fresh);
            added
                .ids
                .extend(new.map(|((number, event), _)| (number, event.id.clone(), event.received.as_microsecond())));
            numbered.push(Numbered { first: next, fresh });
            next += i64::try_from(commit.events.len()).unwrap_or(i64::MAX - next);
        }
        Ok((numbered, added))
    }

    /// What `operations` do to the queue, if they do it in the usual way.
    fn plan(&self, operations: &[Operation], numbered: &[Numbered]) -> Option<Plan> {
        let mut plan = self.window.plan();
        let mut numbered = numbered.iter();
        for operation in operations {
            match &operation.work {
                Work::Commit(commit) => plan.commit(&commit.events, &numbered.next()?.fresh)?,
                Work::Settle(sink, settlements) => self.window.settle(&mut plan, sink, settlements)?,
                Work::Unpack | Work::Revive(..) | Work::Discard(..) | Work::Shed(..) => return None,
                Work::WriteLedger(_)
                | Work::ForgetLedger(_)
                | Work::ExtendCoverage(..)
                | Work::Post
                | Work::Prune(_)
                | Work::Shrink
                | Work::Fold
                | Work::Close => {}
                #[cfg(test)]
                Work::MaxPages(_) | Work::Fail(_) | Work::Refuse(_) | Work::Panic => {}
            }
        }
        self.window.complete(&mut plan);
        Some(plan)
    }
}

/// Writes what was planned and added, and commits all of it.
async fn write(
    connection: &mut SqliteConnection,
    plan: Option<&Plan>,
    (row, added): (i64, &Added),
    clock: Option<(i64, i64)>,
) -> Result<(), StoreError> {
    let events = plan.map_or(&[][..], Plan::events);
    let freed = plan.and_then(|plan| plan.freed);
    let sinks: Vec<&Debtor> = plan.into_iter().flat_map(Plan::changed).collect();
    let mut statement = String::new();
    statement.push_str(if events.is_empty() { "" } else { PACK });
    statement.push_str(if freed.is_some() { FREE } else { "" });
    statement.push_str(&SINK.repeat(sinks.len()));
    statement.push_str(if added.is_empty() { "" } else { JOURNAL });
    statement.push_str(if clock.is_some() { time::WRITE } else { "" });
    statement.push_str("COMMIT");
    let mut query = sqlx::query(AssertSqlSafe(statement));
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        let debtors = events.iter().fold(0, |all, event| all | event.debtors);
        query = query.bind(first.position).bind(last.position).bind(debtors).bind(packing::pack(events).into_bytes());
    }
    if let Some(freed) = freed {
        query = query.bind(freed);
    }
    for sink in sinks {
        query = query.bind(sink.done).bind(sink.newest).bind(sink.owed).bind(sink.bytes).bind(sink.number);
    }
    if !added.is_empty() {
        let (checksum, body) = journal::row(row, added)?;
        query = query.bind(row).bind(checksum).bind(body);
    }
    if let Some((behind, newest)) = clock {
        query = query.bind(behind).bind(newest);
    }
    query.execute(connection).await?;
    Ok(())
}

/// Carries out one operation at `now` (in the time of the store), as far as it was not `planned`. What it changes of legs and calls is `added`.
async fn carry_out(
    connection: &mut SqliteConnection,
    work: &Work,
    (numbered, planned): (Numbered, bool),
    now: i64,
    added: &mut Added,
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    match work {
        Work::Commit(commit) => {
            let Numbered { first, fresh } = numbered;
            if !planned {
                queue::write(connection, &commit.events, &fresh, first).await?;
            }
            written.new = fresh;
            let touched = touched(commit).map_or(now, Timestamp::as_microsecond);
            added.legs.extend_from_slice(&commit.legs);
            added.calls.extend(commit.calls.iter().map(|call| (call.clone(), touched)));
            coverage::write(connection, &commit.coverage).await?;
        }
        Work::Settle(..) if planned => {}
        Work::Settle(sink, settlements) => settling::settle(connection, sink, settlements, now).await?,
        Work::WriteLedger(entry) => ledger::write(connection, entry).await?,
        Work::ForgetLedger(key) => ledger::forget(connection, key).await?,
        Work::ExtendCoverage(delivered, now) => coverage::extend(connection, delivered, *now).await?,
        Work::Prune(now) => written.more = pruning::step(connection, *now).await?,
        Work::Revive(sink, positions) => written.changed = dead::revive(connection, sink, positions).await?,
        Work::Discard(sink, positions) => written.changed = dead::discard(connection, sink, positions).await?,
        Work::Shed(sink, bounds) => {
            written.shed = shedding::step(connection, sink, *bounds).await?;
            written.more = written.shed.more;
        }
        Work::Shrink => written.more = pruning::shrink(connection).await?,
        Work::Post | Work::Unpack | Work::Close | Work::Fold => {}
        #[cfg(test)]
        Work::MaxPages(_) | Work::Fail(_) | Work::Refuse(_) | Work::Panic => {}
    }
    Ok(written)
}

/// The newest receipt a commit knows of, if it knows any.
fn touched(commit: &Commit) -> Option<Timestamp> {
    let receipts = commit.events.iter().map(|event| event.received);
    receipts.chain(commit.legs.iter().map(|leg| leg.touched)).max()
}
