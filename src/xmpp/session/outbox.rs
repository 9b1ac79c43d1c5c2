//! What waits to be sent: bounded by its bytes.
//!
//! A peer that does not read what it is sent must cost little, and be found out: more than [`OUTBOX_BYTES`] end the
//! session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minidom::Element;
use tokio::sync::mpsc::error::{SendError, TryRecvError, TrySendError};
use tokio::sync::{Notify, mpsc};

use crate::domain::limits::OUTBOX_BYTES;
use crate::protocol::stanza;

/// Stanzas that wait at most. A channel of tokio takes memory only for those that do.
const STANZAS: usize = 8192;

/// The end that takes stanzas. Dropping it ends the session in good order.
#[derive(Debug)]
pub struct Outbox {
    stanzas: mpsc::Sender<Outgoing>,
    load: Arc<Load>,
}

/// The end the session sends from.
#[derive(Debug)]
pub(super) struct Outgoings {
    stanzas: mpsc::Receiver<Outgoing>,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Outgoing {
    stanza: Box<Element>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    full: Notify,
}

pub(super) fn outbox() -> (Outbox, Outgoings) {
    let (sender, receiver) = mpsc::channel(STANZAS);
    let load = Arc::new(Load::default());
    (Outbox { stanzas: sender, load: Arc::clone(&load) }, Outgoings { stanzas: receiver, load })
}

impl Outbox {
    /// Hands over a stanza.
    ///
    /// # Errors
    /// With the stanza, if the session is over, or too much waits to be sent; then the session ends.
    pub fn try_send(&self, stanza: Box<Element>) -> Result<(), TrySendError<Box<Element>>> {
        let bytes = stanza::size(&stanza);
        if self.load.bytes.load(Ordering::Relaxed).saturating_add(bytes) > OUTBOX_BYTES && !self.stanzas.is_closed() {
            self.load.full.notify_one();
            return Err(TrySendError::Full(stanza));
        }
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stanzas.try_send(Outgoing { stanza, bytes }).map_err(|refused| {
            self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                TrySendError::Full(outgoing) => {
                    self.load.full.notify_one();
                    TrySendError::Full(outgoing.stanza)
                }
                TrySendError::Closed(outgoing) => TrySendError::Closed(outgoing.stanza),
            }
        })
    }

    /// Hands over a stanza once there is room for it.
    ///
    /// # Errors
    /// With the stanza, if the session is over.
    pub async fn send(&self, stanza: Box<Element>) -> Result<(), SendError<Box<Element>>> {
        let bytes = stanza::size(&stanza);
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stanzas.send(Outgoing { stanza, bytes }).await.map_err(|SendError(outgoing)| SendError(outgoing.stanza))
    }
}

/// Tells that more was to be sent than may wait.
#[derive(Debug)]
pub(super) struct Overflow(Arc<Load>);

impl Overflow {
    /// Returns once that has happened.
    pub(super) async fn happens(&self) {
        self.0.full.notified().await;
    }
}

impl Outgoings {
    pub(super) async fn recv(&mut self) -> Option<Box<Element>> {
        let outgoing = self.stanzas.recv().await?;
        self.discount(&outgoing);
        Some(outgoing.stanza)
    }

    pub(super) fn try_recv(&mut self) -> Result<Box<Element>, TryRecvError> {
        let outgoing = self.stanzas.try_recv()?;
        self.discount(&outgoing);
        Ok(outgoing.stanza)
    }

    pub(super) fn close(&mut self) {
        self.stanzas.close();
    }

    pub(super) fn overflow(&self) -> Overflow {
        Overflow(Arc::clone(&self.load))
    }

    fn discount(&self, outgoing: &Outgoing) {
        self.load.bytes.fetch_sub(outgoing.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(outbox: &Outbox, bytes: usize) -> Result<(), TrySendError<Box<Element>>> {
        let stanza = Element::builder("iq", "jabber:client").append("x".repeat(bytes)).build();
        outbox.try_send(Box::new(stanza))
    }

    #[tokio::test]
    async fn b12_bytes_are_counted_and_not_stanzas() {
        let (outbox, mut outgoings) = outbox();
        for _ in 0..7 {
            offer(&outbox, OUTBOX_BYTES / 8).unwrap();
        }
        assert!(matches!(offer(&outbox, OUTBOX_BYTES / 8), Err(TrySendError::Full(_))));
        outgoings.overflow().happens().await;
        outgoings.recv().await.unwrap();
        offer(&outbox, OUTBOX_BYTES / 8).unwrap();
        while outgoings.try_recv().is_ok() {}
        for _ in 0..2000 {
            offer(&outbox, 100).unwrap();
        }
        outgoings.close();
        assert!(matches!(offer(&outbox, OUTBOX_BYTES), Err(TrySendError::Closed(_))));
    }
}
