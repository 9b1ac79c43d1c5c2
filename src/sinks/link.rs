//! A connection that is kept from one delivery to the next, as long as nothing on it is in doubt.
//!
//! Must not know any protocol.

use super::{Batch, Failure, Parcel, chains};

/// A connection to a peer that acknowledges each event on its own.
pub(super) trait Link: Sized {
    /// What it is made from.
    type Options;

    /// Connects and logs in.
    ///
    /// # Errors
    /// Why not, free of secrets.
    async fn open(options: &Self::Options) -> Result<Self, String>;

    /// Whether it still stands, as far as is known, and all that was on it was answered.
    fn is_sound(&self) -> bool;

    /// Hands `parcel` over and waits until the peer has it.
    async fn hand_over(&self, parcel: &Parcel, options: &Self::Options) -> Result<(), Failure>;

    /// Says what the peer said when it ended the connection because a message was too large: it does not say which.
    fn too_large(&self) -> Option<String> {
        None
    }
}

/// What a sink keeps from one delivery to the next.
#[derive(Debug)]
pub(super) struct Kept<L> {
    link: Option<L>,
    /// Whether the peer ended the last connection because a message was too large: only one at a time shows which.
    careful: bool,
}

impl<L> Default for Kept<L> {
    fn default() -> Self {
        Self { link: None, careful: false }
    }
}

impl<L: Link> Kept<L> {
    /// The link of the last delivery, or a new one.
    async fn take(&mut self, options: &L::Options) -> Result<L, Failure> {
        // Given back only when nothing went wrong: what is in doubt is on a connection that is gone.
        match self.link.take().filter(L::is_sound) {
            Some(link) => Ok(link),
            None => L::open(options).await.map_err(|reason| Failure::Retry { reason, after: None }),
        }
    }

    fn give_back(&mut self, link: L) {
        self.link = Some(link).filter(L::is_sound);
    }

    async fn one_by_one(&mut self, batch: &Batch, options: &L::Options) {
        for (place, parcel) in batch.one_by_one() {
            batch.answer(place, self.one(parcel, options).await);
        }
    }

    async fn one(&mut self, parcel: &Parcel, options: &L::Options) -> Result<(), Failure> {
        let link = self.take(options).await?;
        let answer = link.hand_over(parcel, options).await;
        let answer = answer.map_err(|failure| match link.too_large() {
            Some(reason) => Failure::Reject { reason },
            None => failure,
        });
        self.give_back(link);
        answer
    }
}

/// Why an event was not acknowledged, where nothing else can be said by the protocol.
pub(super) enum Fault {
    /// The peer, or the library before it, says no for good.
    Rejected(String),
    /// It may be taken later.
    Refused(String),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Rejected(reason) => Self::Reject { reason },
            Fault::Refused(reason) => Self::Retry { reason, after: None },
        }
    }
}

/// Delivers `batch` over the link of the last delivery, or over a new one.
pub(super) async fn deliver<L: Link>(kept: &mut Kept<L>, options: &L::Options, batch: &Batch) {
    if batch.parcels().is_empty() {
        return;
    }
    let link = match kept.take(options).await {
        Ok(link) => link,
        Err(failure) => return batch.fail(failure),
    };
    if std::mem::take(&mut kept.careful) {
        kept.give_back(link);
        return kept.one_by_one(batch, options).await;
    }
    chains::deliver(batch, |parcel| link.hand_over(parcel, options)).await;
    kept.careful = link.too_large().is_some();
    kept.give_back(link);
}
