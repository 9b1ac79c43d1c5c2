//! A model of the state in memory: what each operation means, without a disk; and it fails as a test says.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    Answer, Checkpoint, Clock, Command, ConsumerState, Coverage, DeadBounds, DeadCount, DeadLetter, LedgerEntry, Loaded,
    NewDead, Repaired, Room, State, StateError,
};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::name::{AccountName, NodeName};

/// The model. What it returns is what every implementation must return.
#[derive(Debug, Default)]
pub struct Model {
    content: Mutex<Content>,
    /// What every call fails with.
    fault: watch::Sender<Option<StateError>>,
}

#[derive(Debug, Default)]
struct Content {
    store: u128,
    clock: Clock,
    offset: u64,
    legs: BTreeMap<Token, Leg>,
    calls: BTreeMap<Token, Call>,
    coverage: BTreeMap<AccountName, Coverage>,
    heard: BTreeMap<AccountName, Timestamp>,
    consumers: BTreeMap<u32, ConsumerState>,
    generations: Vec<u64>,
    dead: BTreeMap<(u32, u64), DeadLetter>,
    ledger: BTreeMap<(AccountName, String, NodeName, String), LedgerEntry>,
    commands: BTreeMap<u64, Asked>,
    newest_command: u64,
}

#[derive(Debug)]
struct Asked {
    at: Timestamp,
    body: String,
    taken: bool,
    result: Option<(Timestamp, String)>,
}

impl Model {
    /// A new state, with this number of its store.
    pub(crate) fn of(store: u128) -> State {
        let model = Self::default();
        *model.content() = Content { store, offset: 1, ..Content::default() };
        State::Model(Arc::new(model))
    }

    /// From now on every call fails like this, or goes as it may.
    pub(crate) fn fail_with(&self, fault: Option<StateError>) {
        self.fault.send_replace(fault);
    }

    /// Another owner has it: what the one before took and did not finish waits again.
    pub(crate) fn opened_again(&self) {
        self.content().commands.values_mut().for_each(|asked| asked.taken = false);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Content>, StateError> {
        self.fault.borrow().clone().map_or_else(|| Ok(self.content()), Err)
    }

    pub(super) async fn load(&self) -> Result<Loaded, StateError> {
        let content = self.open()?;
        let mut coverage: Vec<_> = content.coverage.values().cloned().collect();
        coverage.iter_mut().for_each(|line| line.hear(&content.heard));
        let mut dead: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        content.dead.keys().for_each(|(consumer, offset)| dead.entry(*consumer).or_default().push(*offset));
        Ok(Loaded {
            store: content.store,
            clock: content.clock,
            offset: content.offset,
            legs: content.legs.values().cloned().collect(),
            calls: content.calls.values().cloned().collect(),
            coverage,
            heard: content.heard.clone(),
            consumers: content.consumers.values().cloned().collect(),
            generations: content.generations.clone(),
            dead,
            damaged: Vec::new(),
        })
    }

    pub(super) async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        let mut content = self.open()?;
        if checkpoint.offset < content.offset {
            return Err(StateError::unfit("a checkpoint", &"before the one before"));
        }
        (content.offset, content.clock) = (checkpoint.offset, checkpoint.clock);
        checkpoint.ended_legs.iter().for_each(|leg| drop(content.legs.remove(leg)));
        checkpoint.ended_calls.iter().for_each(|call| drop(content.calls.remove(call)));
        content.legs.extend(checkpoint.legs.iter().map(|leg| (leg.token.clone(), Leg::clone(leg))));
        content.calls.extend(checkpoint.calls.into_iter().map(|call| (call.partition.clone(), call)));
        for line in checkpoint.coverage {
            if !line.open {
                content.heard.remove(&line.account);
            }
            content.coverage.insert(line.account.clone(), line);
        }
        for number in checkpoint.removed {
            content.consumers.remove(&number);
            content.dead.retain(|(consumer, _), _| *consumer != number);
        }
        content.consumers.extend(checkpoint.consumers.into_iter().map(|consumer| (consumer.number, consumer)));
        content.generations = checkpoint.generations;
        Ok(())
    }

    pub(super) async fn hear(&self, heard: Vec<(AccountName, Timestamp)>, now: Timestamp) -> Result<(), StateError> {
        let mut content = self.open()?;
        for (account, until) in heard {
            let known = content.heard.entry(account).or_insert(until);
            if *known < until || *known > now {
                *known = until;
            }
        }
        let ahead = content.coverage.values_mut().filter(|line| line.open && line.until > now);
        ahead.for_each(|line| line.until = now);
        Ok(())
    }

    pub(super) async fn ledger(&self, account: Option<&AccountName>) -> Result<Vec<LedgerEntry>, StateError> {
        let content = self.open()?;
        let lines = content.ledger.values().filter(|line| account.is_none_or(|account| line.account == *account));
        Ok(lines.cloned().collect())
    }

    pub(super) async fn write_ledger(&self, entry: LedgerEntry) -> Result<(), StateError> {
        let key = (entry.account.clone(), entry.service.clone(), entry.node.clone(), entry.jid.clone());
        self.open()?.ledger.insert(key, entry);
        Ok(())
    }

    pub(super) async fn forget_ledger(
        &self,
        account: AccountName,
        service: String,
        node: NodeName,
        jid: String,
    ) -> Result<(), StateError> {
        self.open()?.ledger.remove(&(account, service, node, jid));
        Ok(())
    }

    pub(super) async fn bury(&self, consumer: u32, letters: Vec<NewDead>) -> Result<u64, StateError> {
        let mut content = self.open()?;
        let before = content.dead.len();
        for letter in letters {
            let NewDead { offset, attempts, received, died, reason, id, partition, body } = letter;
            let letter =
                DeadLetter { offset, attempts, received, died, reason, id, partition, body, intact: true };
            content.dead.entry((consumer, offset)).or_insert(letter);
        }
        Ok((content.dead.len() - before) as u64)
    }

    pub(super) async fn dead(&self, consumer: u32, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let content = self.open()?;
        let letters = content.dead.range((consumer, after + 1)..=(consumer, u64::MAX));
        Ok(letters.take(limit).map(|(_, letter)| letter.clone()).collect())
    }

    pub(super) async fn latest_dead(&self, consumer: u32, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let content = self.open()?;
        let letters = content.dead.range((consumer, 0)..=(consumer, u64::MAX)).rev();
        Ok(letters.take(limit).map(|(_, letter)| letter.clone()).collect())
    }

    pub(super) async fn dead_at(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        let letters = self.dead(consumer, 0, usize::MAX).await?;
        Ok(letters.into_iter().filter(|letter| offsets.contains(&letter.offset)).collect())
    }

    pub(super) async fn dead_count(&self, consumer: u32) -> Result<DeadCount, StateError> {
        Ok(self.dead_counts().await?.remove(&consumer).unwrap_or_default())
    }

    pub(super) async fn dead_counts(&self) -> Result<BTreeMap<u32, DeadCount>, StateError> {
        let mut counts: BTreeMap<u32, DeadCount> = BTreeMap::new();
        for ((consumer, _), letter) in &self.open()?.dead {
            let count = counts.entry(*consumer).or_default();
            count.letters += 1;
            count.bytes += letter.body.len() as u64;
        }
        Ok(counts)
    }

    pub(super) async fn take_dead(&self, consumer: u32, offsets: &[u64]) -> Result<Vec<DeadLetter>, StateError> {
        let letters = self.dead_at(consumer, offsets).await?;
        self.remove_dead(consumer, offsets).await?;
        Ok(letters)
    }

    pub(super) async fn remove_dead(&self, consumer: u32, offsets: &[u64]) -> Result<u64, StateError> {
        let mut content = self.open()?;
        let before = content.dead.len();
        content.dead.retain(|(of, offset), _| *of != consumer || !offsets.contains(offset));
        Ok((before - content.dead.len()) as u64)
    }

    pub(super) async fn trim_dead(&self, consumer: u32, bounds: DeadBounds) -> Result<u64, StateError> {
        let mut letters = self.dead(consumer, 0, usize::MAX).await?;
        letters.sort_by_key(|letter| (letter.died, letter.offset));
        let mut bytes: u64 = letters.iter().map(|letter| letter.body.len() as u64).sum();
        let goes = letters.iter().take_while(|letter| {
            let goes = bytes > bounds.bytes || letter.died < bounds.died;
            bytes -= letter.body.len() as u64;
            goes
        });
        let offsets: Vec<_> = goes.map(|letter| letter.offset).collect();
        self.remove_dead(consumer, &offsets).await
    }

    pub(super) async fn ask_owner(&self, body: String, now: Timestamp) -> Result<u64, StateError> {
        let mut content = self.open()?;
        if serde_json::from_str::<serde_json::Value>(&body).is_err() {
            return Err(StateError::unfit("a command", &"no JSON"));
        }
        if content.commands.values().filter(|asked| asked.result.is_none()).count() >= 256 {
            return Err(StateError::unfit("a command", &"too many wait"));
        }
        content.newest_command += 1;
        let number = content.newest_command;
        content.commands.insert(number, Asked { at: now, body, taken: false, result: None });
        Ok(number)
    }

    pub(super) async fn withdraw(&self, command: u64) -> Result<bool, StateError> {
        let mut content = self.open()?;
        let waits = content.commands.get(&command).is_some_and(|asked| !asked.taken);
        if waits {
            content.commands.remove(&command);
        }
        Ok(waits)
    }

    pub(super) async fn answer_of(&self, command: u64) -> Result<Answer, StateError> {
        Ok(match self.open()?.commands.get(&command) {
            None => Answer::Gone,
            Some(Asked { result: Some((_, result)), .. }) => Answer::Done(result.clone()),
            Some(Asked { taken: true, .. }) => Answer::Taken,
            Some(_) => Answer::Waits,
        })
    }

    pub(super) async fn take_commands(&self, now: Timestamp) -> Result<Vec<Command>, StateError> {
        let mut content = self.open()?;
        content.commands.retain(|_, asked| match &asked.result {
            Some((done, _)) => *done >= now - Duration::from_hours(1),
            None => asked.taken || asked.at >= now - Duration::from_mins(5),
        });
        let waiting = content.commands.iter_mut().filter(|(_, asked)| !asked.taken && asked.result.is_none());
        let take = |(number, asked): (&u64, &mut Asked)| {
            asked.taken = true;
            Command { number: *number, body: asked.body.clone() }
        };
        Ok(waiting.take(16).map(take).collect())
    }

    pub(super) async fn finish(&self, command: u64, result: String, now: Timestamp) -> Result<(), StateError> {
        let mut content = self.open()?;
        if let Some(asked) = content.commands.get_mut(&command) {
            asked.result.get_or_insert((now, result));
        }
        Ok(())
    }

    pub(super) async fn vacuum_into(&self, _: &Path) -> Result<(), StateError> {
        self.open().map(drop)
    }

    pub(super) async fn faults(&self) -> Result<Vec<String>, StateError> {
        self.open().map(|_| Vec::new())
    }

    pub(super) async fn repair(&self) -> Result<Repaired, StateError> {
        self.open().map(|_| Repaired::default())
    }

    pub(super) fn waiting(&self) -> usize {
        0
    }

    pub(super) async fn room(&self) -> io::Result<Room> {
        Ok(Room { used: 0, free: 1, size: 1 })
    }

    pub(super) async fn look(&self) -> Result<(), StateError> {
        self.open().map(drop)
    }

    pub(super) async fn close(&self) -> Result<(), StateError> {
        self.open().map(drop)?;
        self.fail_with(Some(StateError::Closed));
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.fault.borrow() == Some(StateError::Closed)
    }

    pub(super) async fn ended(&self) -> StateError {
        let mut fault = self.fault.subscribe();
        let ends = |fault: &Option<StateError>| fault.as_ref().is_some_and(|f| f.is_final() || *f == StateError::Closed);
        match fault.wait_for(ends).await {
            Ok(fault) => fault.clone().unwrap_or(StateError::Closed),
            Err(_) => StateError::gone(),
        }
    }
}
