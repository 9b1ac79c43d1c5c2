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
pub(super) async fn deliver<L: Link>(kept: &mut Option<L>, options: &L::Options, batch: &Batch) {
    if batch.parcels().is_empty() {
        return;
    }
    // Taken, and given back only when nothing went wrong: what is in doubt is on a connection that is gone.
    let link = match kept.take().filter(L::is_sound) {
        Some(link) => link,
        None => match L::open(options).await {
            Ok(link) => link,
            Err(reason) => return batch.fail(Failure::Retry { reason, after: None }),
        },
    };
    chains::deliver(batch, |parcel| link.hand_over(parcel, options)).await;
    *kept = Some(link).filter(L::is_sound);
}
