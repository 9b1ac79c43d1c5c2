//! The one who commits: whatever waits goes into one group of the log, and everyone is answered once it is on the disk.
//!
//! It has a thread of its own, since a sync blocks. While the disk syncs one group the next one gathers; nobody waits for
//! others to come. Must not know who asks, or how the log lies on the disk.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::changes::{Changes, NewConsumer};
use super::consumers::{self, Consumers};
use super::error::StoreError;
use super::presence::Presence;
use super::remembered::Remembered;
use super::time::Time;
use super::{Commit, CommitEvent};
use crate::domain::identity::Token;
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::log::{Appender, ConsumerNumber, Entry, Group, Log, LogError, Offset};
use crate::metrics::Metrics;

/// Operations that may wait; further callers wait for a place.
pub(super) const WAITING: usize = 1024;
/// Operations in one group.
const GROUP: usize = 256;
/// Bytes of JSON in one group, unless one operation alone has more.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Events of all consumers together whose ends go into one group.
const PROGRESS: usize = 50_000;

/// What there is to do.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Commit),
    /// Append events that were appended before, each for its sinks alone.
    Retry(Vec<CommitEvent>),
    /// Write down what consumers are through with.
    Flush,
    /// Give up the events before this one.
    Retain(Offset),
    /// Finish what waits, then end.
    Close,
    /// From now on every group fails like this, or goes as it may.
    #[cfg(test)]
    Fail(Option<StoreError>),
    /// From now on every group is refused that holds an event with this text.
    #[cfg(test)]
    Refuse(&'static str),
    #[cfg(test)]
    Panic,
}

/// One caller's wish. The answer says of each event of a commit whether it is new.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Vec<bool>, StoreError>>,
}

/// What the committer shares with those who read.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) remembered: Remembered,
    pub(super) consumers: Consumers,
    pub(super) time: Time,
    pub(super) presence: Presence,
    /// What the committer ended with, if nobody asked it to.
    pub(super) fault: OnceLock<StoreError>,
    /// Where it is measured how groups are written.
    pub(super) metrics: OnceLock<Arc<Metrics>>,
}

/// The committer.
pub(super) struct Committer {
    appender: Appender,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Operation>,
    numbers: HashMap<SinkName, ConsumerNumber>,
    #[cfg(test)]
    fault: Option<StoreError>,
    #[cfg(test)]
    refuses: Option<&'static str>,
}

/// A group that is being put together.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    changes: Changes,
    /// Of each operation: which of its events are new.
    new: Vec<Vec<bool>>,
    ids: HashSet<Token>,
    /// The newest event of each call.
    newest: HashMap<Token, Offset>,
}

impl Committer {
    pub(super) fn new(appender: Appender, shared: Arc<Shared>, inbox: mpsc::Receiver<Operation>) -> Self {
        let numbers = shared.consumers.all().iter().map(|line| (line.name.clone(), line.number)).collect();
        Self {
            appender,
            shared,
            inbox,
            numbers,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            refuses: None,
        }
    }

    /// Commits until it is told to close, nobody can ask any more, or the log is dead.
    pub(super) fn run(mut self) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut farewells = Vec::new();
        while self.inbox.blocking_recv_many(&mut waiting, GROUP) > 0 {
            let mut group = Vec::new();
            let mut bytes = 0;
            for operation in waiting.drain(..) {
                match operation.work {
                    Work::Close => {
                        self.inbox.close();
                        farewells.push(operation);
                    }
                    #[cfg(test)]
                    Work::Fail(_) | Work::Refuse(_) | Work::Panic => self.inject(operation),
                    Work::Commit(_) | Work::Retry(_) | Work::Flush | Work::Retain(_) => {
                        bytes += operation.bytes();
                        if bytes > GROUP_BYTES && !group.is_empty() {
                            self.carry_out(std::mem::take(&mut group));
                            bytes = operation.bytes();
                        }
                        group.push(operation);
                    }
                }
            }
            self.carry_out(group);
            if self.shared.fault.get().is_some() {
                // Nobody knows what of all that is on the disk: only the next start can tell.
                return;
            }
        }
        let closed = self.shared.presence.look().and_then(|()| self.flush_all());
        for farewell in farewells {
            let _ = farewell.answer.send(closed.clone().map(|()| Vec::new()));
        }
    }

    #[cfg(test)]
    #[expect(clippy::panic, reason = "a test asked for it")]
    fn inject(&mut self, operation: Operation) {
        match operation.work {
            Work::Fail(fault) => self.fault = fault,
            Work::Refuse(text) => self.refuses = Some(text),
            Work::Panic => panic!("asked to"),
            Work::Commit(_) | Work::Retry(_) | Work::Flush | Work::Retain(_) | Work::Close => {}
        }
        let _ = operation.answer.send(Ok(Vec::new()));
    }

    /// Writes down all that consumers are through with.
    fn flush_all(&mut self) -> Result<(), StoreError> {
        while self.shared.consumers.have_progress() {
            self.together(&[])?;
        }
        Ok(())
    }

    /// Does what is asked, and answers.
    fn carry_out(&mut self, group: Vec<Operation>) {
        if group.is_empty() {
            return;
        }
        let answers = self.answers(&group);
        for (operation, answer) in group.into_iter().zip(answers) {
            // A caller who has gone away needs no answer.
            let _ = operation.answer.send(answer);
        }
    }

    /// One answer for each operation. A group that is refused for what is in it is tried one by one.
    fn answers(&mut self, group: &[Operation]) -> Vec<Result<Vec<bool>, StoreError>> {
        match self.together(group) {
            Ok(new) => new.into_iter().map(Ok).collect(),
            Err(fault) if fault.is_its_own() && group.len() > 1 => group
                .iter()
                .map(|one| Ok(self.together(std::slice::from_ref(one))?.pop().unwrap_or_default()))
                .collect(),
            Err(fault) => vec![Err(fault); group.len()],
        }
    }

    /// All of `group`, or none, in one record.
    fn together(&mut self, group: &[Operation]) -> Result<Vec<Vec<bool>>, StoreError> {
        if let Some(fault) = self.shared.fault.get() {
            return Err(fault.clone());
        }
        #[cfg(test)]
        self.planted(group)?;
        let retained = group.iter().filter_map(|one| if let Work::Retain(kept) = one.work { Some(kept) } else { None });
        let retained = retained.max();
        self.shared.presence.look()?;
        let mut draft = Draft::default();
        for operation in group {
            let new = match &operation.work {
                Work::Commit(commit) => self.add(&mut draft, commit)?,
                Work::Retry(events) => {
                    for event in events {
                        self.append_to(&mut draft, &Commit::default(), event);
                    }
                    Vec::new()
                }
                _ => Vec::new(),
            };
            draft.new.push(new);
        }
        let Draft { entries, mut changes, new, .. } = draft;
        let now = self.shared.time.now();
        changes.clock = self.shared.time.due();
        changes.progress = self.shared.consumers.take_progress(PROGRESS);
        let appended = self.append(entries, &changes, now);
        if let Err(fault) = appended {
            self.shared.consumers.put_back(changes.progress);
            return Err(self.note(fault));
        }
        if let Some(kept) = retained {
            self.appender.retain(kept, now).map_err(|fault| self.note(fault))?;
        }
        Ok(new)
    }

    /// Appends a group, and takes it into all that is known.
    fn append(&mut self, entries: Vec<Entry>, changes: &Changes, now: i64) -> Result<(), LogError> {
        let body = changes.encode();
        if entries.is_empty() && body.is_empty() {
            return Ok(());
        }
        let (events, begun) = (entries.len(), Moment::now());
        let shared = &self.shared;
        self.appender.append(Group { changes: body, entries }, now, |first, group| {
            let end = Offset(first.0 + events as u64);
            shared.remembered.apply(first, now, &group.entries, changes);
            shared.consumers.add(&changes.consumers);
            shared.consumers.owe(&consumers::shares(&group.entries), end);
        })?;
        if let Some(metrics) = shared.metrics.get() {
            metrics.log_appended(Moment::now().since(begun), events);
        }
        self.numbers.extend(changes.consumers.iter().map(|new| (new.name.clone(), new.number)));
        if let Some(clock) = changes.clock {
            shared.time.written(clock);
        }
        Ok(())
    }

    /// Remembers what is final.
    fn note(&self, fault: LogError) -> StoreError {
        let fault = StoreError::from(fault);
        if fault.is_final() {
            let _ = self.shared.fault.set(fault.clone());
        }
        fault
    }

    /// Adds a commit to a group. Says of each of its events whether it is new.
    fn add(&self, draft: &mut Draft, commit: &Commit) -> Result<Vec<bool>, StoreError> {
        let mut new = Vec::with_capacity(commit.events.len());
        for event in &commit.events {
            if event.body.is_empty() {
                return Err(StoreError::Refused("an event without a body".into()));
            }
            let is_new = !draft.ids.contains(&event.id) && self.shared.remembered.is_new(&event.id)?;
            new.push(is_new);
            if is_new {
                self.append_to(draft, commit, event);
            }
        }
        draft.changes.legs.extend(commit.legs.iter().cloned());
        for call in &commit.calls {
            let mut call = call.clone();
            call.newest = draft.newest.get(&call.partition).map_or(call.newest, |newest| newest.0);
            draft.changes.calls.push(call);
        }
        draft.changes.coverage.extend(commit.coverage.iter().cloned());
        Ok(new)
    }

    /// Adds an event of a commit.
    fn append_to(&self, draft: &mut Draft, commit: &Commit, event: &CommitEvent) {
        let offset = Offset(self.shared.log.next().0 + draft.entries.len() as u64);
        let entry = self.entry(draft, commit, event, offset);
        draft.ids.insert(entry.id.clone());
        draft.newest.insert(entry.partition.clone(), offset);
        draft.entries.push(entry);
    }

    fn entry(&self, draft: &mut Draft, commit: &Commit, event: &CommitEvent, offset: Offset) -> Entry {
        let partition = Token::from(event.partition.as_str());
        let before = || {
            let call = commit.calls.iter().find(|call| call.partition == partition)?;
            (call.newest > 0).then_some(Offset(call.newest))
        };
        let known = || self.shared.remembered.newest_of(&partition);
        let previous = draft.newest.get(&partition).copied().or_else(before).or_else(known);
        let consumers = event.owed.iter().map(|sink| self.number(draft, sink, offset)).collect();
        let received = event.received.as_microsecond();
        Entry { id: event.id.clone(), partition, previous, received, consumers, body: Arc::clone(&event.body) }
    }

    /// Returns the number of the consumer of a sink, which is a new one where it never was owed anything.
    fn number(&self, draft: &mut Draft, sink: &SinkName, begin: Offset) -> ConsumerNumber {
        let new = &mut draft.changes.consumers;
        let added = || new.iter().find(|new| new.name == *sink).map(|new| new.number);
        if let Some(number) = self.numbers.get(sink).copied().or_else(added) {
            return number;
        }
        let number =
            ConsumerNumber(self.shared.consumers.next_number().0 + u32::try_from(new.len()).unwrap_or(u32::MAX));
        new.push(NewConsumer { number, name: sink.clone(), begin });
        number
    }

    /// Fails as a test has asked for.
    #[cfg(test)]
    fn planted(&self, group: &[Operation]) -> Result<(), StoreError> {
        if let Some(fault) = &self.fault {
            if fault.is_final() {
                let _ = self.shared.fault.set(fault.clone());
            }
            return Err(fault.clone());
        }
        let refuses = |text: &str| {
            let refused = |one: &Operation| matches!(&one.work, Work::Commit(commit) if commit.events.iter().any(|event| event.body.contains(text)));
            group.iter().any(refused)
        };
        match self.refuses {
            Some(text) if refuses(text) => Err(StoreError::Refused(text.into())),
            Some(_) | None => Ok(()),
        }
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Commit(Commit { events, .. }) | Work::Retry(events) => {
                events.iter().map(|event| event.body.len()).sum()
            }
            _ => 0,
        }
    }
}
