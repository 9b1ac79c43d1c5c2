//! The room for answers: how many bytes of all of them together may be under way.
//!
//! An answer takes its room before it is made, as much as the largest one of its path did, and gives back what it does not
//! need. Who finds none waits a little, while those are let go that do not read theirs. Must not know what an answer says.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::body::BodySize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, sleep};

use super::PATHS;
use super::connections::{Answering, Connections};
use crate::domain::limits::{HTTP_ANSWERS, HTTP_ROOM_WAIT};
use crate::domain::moment::Moment;
use crate::metrics::Metrics;

/// How large an answer is taken for before there was one.
const UNKNOWN: u32 = 256 << 10;

/// How often a waiting request has those let go that do not read.
const GLANCE: Duration = Duration::from_millis(250);

/// Paths that need no room: health is always told, and the live feed has places of its own.
const FREE: [&str; 3] = ["/livez", "/readyz", "/api/v1/events"];

/// There is no room.
#[derive(Debug)]
pub(super) struct Full;

/// The room for all answers.
#[derive(Debug)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    /// The largest answer so far of each path.
    largest: [AtomicU32; PATHS.len()],
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
}

/// Room that was taken for an answer to be made.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    room: &'a Room,
    path: usize,
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// Room for answers to these connections.
    pub(super) fn new(connections: Arc<Connections>, metrics: Arc<Metrics>) -> Self {
        let bytes = Arc::new(Semaphore::new(HTTP_ANSWERS as usize));
        Self { bytes, largest: std::array::from_fn(|_| AtomicU32::new(UNKNOWN)), connections, metrics }
    }

    /// Takes room for an answer of `path`; none where it needs none.
    ///
    /// # Errors
    /// If there is none for too long.
    pub(super) async fn take(&self, path: &str, answering: &Answering) -> Result<Option<Taken<'_>>, Full> {
        let known = PATHS.iter().position(|known| *known == path && !FREE.contains(known));
        let Some(path) = known else { return Ok(None) };
        let wanted = self.largest[path].load(Ordering::Relaxed);
        let permit = match Arc::clone(&self.bytes).try_acquire_many_owned(wanted) {
            Ok(permit) => permit,
            Err(_) => answering.waiting(self.wait(wanted)).await.ok_or_else(|| self.refuse())?,
        };
        Ok(Some(Taken { room: self, path, permit }))
    }

    async fn wait(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(Arc::clone(&self.bytes).acquire_many_owned(wanted));
        let mut end = pin!(sleep(HTTP_ROOM_WAIT));
        let mut glance = interval(GLANCE);
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => return permit.ok(),
                () = &mut end => return None,
                _ = glance.tick() => self.connections.press(wanted as usize, Moment::now()),
            }
        }
    }

    fn refuse(&self) -> Full {
        self.metrics.http_refused();
        Full
    }
}

impl Taken<'_> {
    /// Has the answer, of this size, hold what it needs of it.
    ///
    /// # Errors
    /// If it needs more, and there is none.
    pub(super) fn fit(self, size: BodySize, answering: &mut Answering) -> Result<(), Full> {
        let Self { room, path, mut permit } = self;
        let BodySize::Sized(size) = size else { return Ok(()) };
        // One that is larger than all room goes alone.
        let size = u32::try_from(size).unwrap_or(u32::MAX).min(HTTP_ANSWERS);
        room.largest[path].fetch_max(size, Ordering::Relaxed);
        let held = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
        if let Some(more) = size.checked_sub(held) {
            match Arc::clone(&room.bytes).try_acquire_many_owned(more) {
                Ok(more) => permit.merge(more),
                Err(_) => return Err(room.refuse()),
            }
        } else {
            drop(permit.split((held - size) as usize));
        }
        answering.hold(permit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn c7_answers_hold_what_they_need_and_one_that_finds_no_more_is_refused_and_counted() {
        let metrics = Arc::new(Metrics::new("1", "c", [""; 0], [""; 0], [""; 0]).unwrap());
        let connections = Arc::new(Connections::new(9, Duration::from_secs(75), Arc::clone(&metrics)));
        let room = Room::new(Arc::clone(&connections), Arc::clone(&metrics));
        let left = || room.bytes.available_permits();
        let mut answers = [(); 3].map(|()| connections.answering());
        let size = |bytes: u32| BodySize::Sized(bytes.into());

        let taken = room.take("/", &answers[0]).await.unwrap().unwrap();
        taken.fit(size(HTTP_ANSWERS - 2 * UNKNOWN), &mut answers[0]).unwrap();
        assert_eq!(left(), 2 * UNKNOWN as usize);
        let taken = room.take("/metrics", &answers[1]).await.unwrap().unwrap();
        taken.fit(size(1), &mut answers[1]).unwrap();
        assert_eq!(left(), 2 * UNKNOWN as usize - 1);
        let taken = room.take("/metrics", &answers[2]).await.unwrap().unwrap();
        assert!(taken.fit(size(3 * UNKNOWN), &mut answers[2]).is_err());
        assert_eq!((left(), metrics.http_answers_refused.get()), (2 * UNKNOWN as usize - 1, 1));
        for free in FREE {
            assert!(room.take(free, &answers[2]).await.unwrap().is_none());
        }
        drop(answers);
        assert_eq!(left(), HTTP_ANSWERS as usize);
        // It is known by now how much it needs, and one that is larger than all room goes alone.
        let mut answer = connections.answering();
        let taken = room.take("/metrics", &answer).await.unwrap().unwrap();
        assert_eq!(left(), (HTTP_ANSWERS - 3 * UNKNOWN) as usize);
        taken.fit(BodySize::Sized(u64::MAX), &mut answer).unwrap();
        assert_eq!(left(), 0);
    }
}
