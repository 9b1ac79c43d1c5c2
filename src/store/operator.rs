//! What operators do to the queue: retry and purge, by whoever owns the store.
//!
//! A command beside a running router leaves a row in the state and waits for its result; the owner looks once a second. Without
//! an owner the command opens the store as its own. Must not know how any of it is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::committer::Work;
use super::consumers::Line;
use super::error::StoreError;
use super::{Access, CommitEvent, DeadLetter, Done, Part, Store};
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;
use crate::state::{Answer, Command, State};

/// Between two looks for a result.
const LOOK: Duration = Duration::from_millis(100);
/// Dead letters that are retried or removed at once.
const STEP: usize = 256;

/// What is asked of the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    /// Make dead letters owed again: those at these positions, or all.
    Retry { sink: SinkName, positions: Option<Vec<i64>> },
    /// Take events for good.
    Purge { sink: SinkName, part: Part },
}

/// What came of it: how many events it was about, or why it could not be done.
type Outcome = Result<u64, String>;

impl Store {
    /// Makes dead letters of `sink` owed again, as if never tried: those at `positions`, or all. They come after all that is in
    /// the queue. Says how many there were.
    pub async fn retry(&self, sink: &SinkName, positions: Option<Vec<i64>>) -> Result<u64, StoreError> {
        match self.access {
            Access::Owner => self.retry_here(sink, positions.as_deref()).await,
            Access::Beside => self.ask(&Wish::Retry { sink: sink.clone(), positions }).await,
        }
    }

    /// Takes a part of what `sink` holds for good. Says how many events there were.
    pub async fn purge(&self, sink: &SinkName, part: Part) -> Result<u64, StoreError> {
        match self.access {
            Access::Owner => self.purge_here(sink, part).await,
            Access::Beside => self.ask(&Wish::Purge { sink: sink.clone(), part }).await,
        }
    }

    /// Has the owner do it, and waits for the result.
    async fn ask(&self, wish: &Wish) -> Result<u64, StoreError> {
        let body = serde_json::to_string(wish).map_err(|error| StoreError::Refused(error.to_string().into()))?;
        let number = self.state.ask(body, Moment::now().utc()).await?;
        loop {
            match self.state.answer_of(number).await? {
                Answer::Done(result) => return outcome(&result),
                Answer::Gone => return Err(StoreError::Refused("the router did not carry it out".into())),
                Answer::Waits if !State::has_owner(&self.place.database) => {
                    self.state.withdraw(number).await?;
                    return Err(StoreError::Busy("the router ended before it carried it out; try again".into()));
                }
                Answer::Waits | Answer::Taken => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Does what operators have asked for, and returns what that was.
    pub async fn serve_operators(&self) -> Result<BTreeMap<SinkName, Done>, StoreError> {
        let mut all: BTreeMap<SinkName, Done> = BTreeMap::new();
        if self.access != Access::Owner {
            return Ok(all);
        }
        for Command { number, body } in self.state.take_commands(Moment::now().utc()).await? {
            let outcome: Outcome = match serde_json::from_str(&body) {
                Ok(wish) => self.grant(wish, &mut all).await.map_err(|fault| fault.to_string()),
                Err(error) => Err(format!("this version does not know it: {error}")),
            };
            let result = serde_json::to_string(&outcome).unwrap_or_default();
            self.state.finish(number, result, Moment::now().utc()).await?;
        }
        Ok(all)
    }

    async fn grant(&self, wish: Wish, all: &mut BTreeMap<SinkName, Done>) -> Result<u64, StoreError> {
        match wish {
            Wish::Retry { sink, positions } => {
                let retried = self.retry_here(&sink, positions.as_deref()).await?;
                all.entry(sink).or_default().retried += retried;
                Ok(retried)
            }
            Wish::Purge { sink, part } => {
                let purged = self.purge_here(&sink, part).await?;
                let done = all.entry(sink).or_default();
                match part {
                    Part::Owed => done.purged += purged,
                    Part::Dead => done.purged_dead += purged,
                }
                Ok(purged)
            }
        }
    }

    async fn retry_here(&self, sink: &SinkName, positions: Option<&[i64]>) -> Result<u64, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(0) };
        let (mut retried, mut after) = (0, 0);
        let wanted: Option<Vec<u64>> =
            positions.map(|positions| positions.iter().filter_map(|one| u64::try_from(*one).ok()).collect());
        let mut chunks = wanted.as_deref().map(|wanted| wanted.chunks(STEP));
        loop {
            let letters = match &mut chunks {
                None => self.state.dead(line.number.0, after, STEP).await?,
                Some(chunks) => match chunks.next() {
                    Some(chunk) => self.state.dead_at(line.number.0, chunk).await?,
                    None => break,
                },
            };
            let Some(last) = letters.last() else { if chunks.is_none() { break } else { continue } };
            after = last.offset; // one that dies again meanwhile is not taken a second time
            // One that the log could not read any more has nothing that could be delivered.
            let is_whole = |letter: &DeadLetter| letter.intact && !letter.body.is_empty();
            let intact: Vec<_> = letters.into_iter().filter(is_whole).collect();
            let offsets: Vec<u64> = intact.iter().map(|letter| letter.offset).collect();
            // Its age and its time to be tried count from now on.
            let received = Moment::now().utc();
            let events = intact.into_iter().map(|letter| CommitEvent {
                id: letter.id,
                partition: letter.partition.as_str().to_owned(),
                received: self.shared.time.inside(received),
                body: letter.body,
                owed: vec![sink.clone()],
            });
            self.work(Work::Retry(events.collect())).await?;
            retried += self.remove_dead(&line, &offsets).await?;
        }
        Ok(retried)
    }

    async fn purge_here(&self, sink: &SinkName, part: Part) -> Result<u64, StoreError> {
        let Some(line) = self.shared.consumers.of(sink) else { return Ok(0) };
        if part == Part::Owed {
            let discarded = self.discard_all(&line).await?;
            // Nobody is told that they are gone before a kill cannot bring them back.
            self.work(Work::Flush).await?;
            return Ok(discarded);
        }
        // Whoever is dead and not written down as such would be owed again after a kill, were the letter gone.
        self.work(Work::Flush).await?;
        let mut purged = 0;
        loop {
            let letters = self.state.dead(line.number.0, 0, STEP).await?;
            let offsets: Vec<u64> = letters.iter().map(|letter| letter.offset).collect();
            let removed = if offsets.is_empty() { 0 } else { self.remove_dead(&line, &offsets).await? };
            if removed == 0 {
                return Ok(purged);
            }
            purged += removed;
        }
    }

    async fn remove_dead(&self, line: &Line, offsets: &[u64]) -> Result<u64, StoreError> {
        let removed = self.state.remove_dead(line.number.0, offsets).await?;
        line.set_dead(line.dead().saturating_sub(removed));
        Ok(removed)
    }
}

fn outcome(result: &str) -> Result<u64, StoreError> {
    let unreadable = |error: serde_json::Error| StoreError::Corrupt(format!("the result of a command: {error}").into());
    let outcome: Outcome = serde_json::from_str(result).map_err(unreadable)?;
    outcome.map_err(|why| StoreError::Refused(why.into()))
}
