//! One XML stream (RFC 6120 section 4): bytes in and out, frames and elements to whoever runs it.
//!
//! Made for thousands of streams that are idle nearly always: while nothing is on its way a stream owns its connection
//! and a timer, and no buffer at all. Reads with a buffer that all streams of a thread share, finds the elements in it
//! ([`splitter`]), and reads each where it lies ([`reader`]). Must not know what follows from an element.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use minidom::Element;
use tokio::time::{Sleep, sleep};

use crate::domain::limits::UNSENT_BYTES;
use crate::protocol::hearing::Hearing;
use crate::protocol::notification::Notification;
pub(super) use frame::Frame;
use intake::Intake;
pub(super) use silence::Patience;
use silence::{Length, Silence};
pub(super) use transport::Transport;

mod frame;
mod header;
mod intake;
mod namespaces;
mod reader;
mod silence;
mod splitter;
mod text;
mod transport;
mod writer;

/// The peer sent what XMPP does not allow: bad XML, or XML of the kind RFC 6120 section 11 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotXmpp;

/// The messages in the bytes of a stream, from its header on, as a session reads them; for measurements. None if that is
/// not XMPP.
#[must_use]
pub fn messages(bytes: &[u8], hearing: &Hearing) -> Option<Vec<Notification>> {
    let (mut intake, mut notes, mut at) = (Intake::new(), Vec::new(), 0);
    loop {
        let (taken, frame) = intake.take(&bytes[at..], hearing).ok()?;
        at += taken;
        match frame {
            Some(Frame::Note(note)) => notes.push(note),
            Some(Frame::Management(_) | Frame::Element(_) | Frame::Oversize { .. }) => {}
            None => return Some(notes),
        }
    }
}

/// Who reads a stream.
pub(super) trait Take {
    /// How many bytes may be read at once. What is read and not taken is kept by the stream.
    fn appetite(&self) -> usize {
        usize::MAX
    }

    /// Takes a frame; whether there should be more.
    fn take(&mut self, frame: Frame) -> bool;
}

impl<F: FnMut(Frame) -> bool> Take for F {
    fn take(&mut self, frame: Frame) -> bool {
        self(frame)
    }
}

/// Why nothing could be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The peer has been silent for long, and should be made to say something.
    Silence,
    /// It was, and did not.
    TimedOut,
    /// It ended its stream.
    Closed,
    /// It closed the connection without that.
    CutOff,
    /// It sent what is not XMPP.
    NotXmpp,
    /// The transport failed.
    Io(io::ErrorKind),
}

impl From<NotXmpp> for ReadError {
    fn from(NotXmpp: NotXmpp) -> Self {
        Self::NotXmpp
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    transport: Transport,
    intake: Intake,
    /// What was read and not looked at, because whoever reads had enough.
    unread: Vec<u8>,
    unsent: Vec<u8>,
    /// How much longer the peer may take nothing, while it does.
    stalled: Option<Pin<Box<Sleep>>>,
    silence: Silence,
}

impl Stream {
    /// Begins a stream to `domain`: sends the header. That of the peer comes before the first frame.
    pub(super) async fn begin(transport: Transport, domain: &str, patience: Patience) -> io::Result<Self> {
        let (intake, silence) = (Intake::new(), Silence::new(patience));
        let mut this = Self { transport, intake, unread: Vec::new(), unsent: Vec::new(), stalled: None, silence };
        this.send_header(domain).await?;
        Ok(this)
    }

    /// Begins anew on the same connection (RFC 6120 section 4.3.3).
    ///
    /// # Errors
    /// Of the transport, or if the peer sent anything it could not send before our header.
    pub(super) async fn restart(self, domain: &str) -> io::Result<Self> {
        let mut this = Self { intake: Intake::new(), ..self.clean()? };
        this.send_header(domain).await?;
        Ok(this)
    }

    /// The connection, for something else to be spoken on it: with TLS, nothing that came before it may count as if it
    /// came by it.
    ///
    /// # Errors
    /// If the peer sent anything already.
    pub(super) fn into_transport(self) -> io::Result<Transport> {
        self.clean().map(|this| this.transport)
    }

    fn clean(self) -> io::Result<Self> {
        let clean = self.unread.is_empty() && self.intake.is_empty() && self.unsent.is_empty();
        if clean { Ok(self) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    async fn send_header(&mut self, domain: &str) -> io::Result<()> {
        self.unsent.extend_from_slice(writer::header(domain).as_bytes());
        self.flush().await
    }

    /// Reads until `who` has got at least one frame, and on as long as it wants more and there are more. With an error it
    /// may have got some too. Can be dropped at any time without loss.
    pub(super) async fn read(&mut self, hearing: &Hearing, mut who: impl Take) -> Result<(), ReadError> {
        poll_fn(|cx| self.poll_frames(cx, hearing, &mut who)).await
    }

    /// The next frame, read as by somebody who listens to nobody.
    pub(super) async fn next(&mut self) -> Result<Frame, ReadError> {
        let mut next = None;
        let hearing = Hearing::nobody();
        self.read(&hearing, |frame| {
            next = Some(frame);
            false
        })
        .await?;
        next.ok_or(ReadError::CutOff)
    }

    fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        hearing: &Hearing,
        who: &mut impl Take,
    ) -> Poll<Result<(), ReadError>> {
        let mut taken = Taken::default();
        if !self.unread.is_empty() {
            let bytes = std::mem::take(&mut self.unread);
            self.unread = taken.from(&mut self.intake, &bytes, hearing, who)?.to_vec();
        }
        loop {
            if !taken.wants_more {
                return Poll::Ready(Ok(()));
            }
            if self.intake.is_closed() {
                return Poll::Ready(Err(ReadError::Closed));
            }
            let intake = &mut self.intake;
            let read = self.transport.poll_read(cx, who.appetite(), |bytes| match bytes {
                [] => Err(ReadError::CutOff),
                bytes => taken.from(intake, bytes, hearing, who).map(<[u8]>::to_vec).map_err(ReadError::from),
            });
            match read {
                Poll::Ready(Ok(unread)) => {
                    self.unread = unread?;
                    self.silence.broken();
                }
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(ReadError::Io(fault.kind()))),
                Poll::Pending if taken.some => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    return Poll::Ready(Err(match ready!(self.silence.poll(cx)) {
                        Length::Long => ReadError::Silence,
                        Length::TooLong => ReadError::TimedOut,
                    }));
                }
            }
        }
    }

    /// Adds an element to what is to be sent. Waits while the peer takes nothing and much is waiting.
    pub(super) async fn feed(&mut self, element: &Element) -> io::Result<()> {
        if self.unsent.len() >= UNSENT_BYTES {
            self.flush().await?;
        }
        writer::element(element, &mut self.unsent)
    }

    /// Sends what there is to send. A peer that takes nothing of it for as long as it may leave a question open is an
    /// error of the kind `TimedOut`.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends an element.
    pub(super) async fn send(&mut self, element: &Element) -> io::Result<()> {
        self.feed(element).await?;
        self.flush().await
    }

    /// Ends our side of the stream and of the connection.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.unsent.extend_from_slice(writer::FOOTER);
        self.flush().await?;
        poll_fn(|cx| self.transport.poll_shutdown(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let end = loop {
            match self.unsent.get(sent..) {
                None | Some([]) => break self.transport.poll_flush(cx),
                Some(rest) => match self.transport.poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(length)) => sent += length,
                    Poll::Ready(Err(fault)) => break Poll::Ready(Err(fault)),
                    Poll::Pending => break Poll::Pending,
                },
            }
        };
        let end = if end.is_pending() { self.poll_stalled(cx, sent > 0) } else { end };
        if end.is_ready() {
            self.stalled = None;
        }
        if sent == self.unsent.len() {
            self.unsent = Vec::new(); // an idle stream keeps no buffer
        } else {
            self.unsent.drain(..sent);
        }
        end
    }
}

impl Stream {
    fn poll_stalled(&mut self, cx: &mut Context<'_>, progress: bool) -> Poll<io::Result<()>> {
        if progress {
            self.stalled = None;
        }
        let patience = self.silence.patience().response;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What came of some bytes.
struct Taken {
    some: bool,
    wants_more: bool,
}

impl Default for Taken {
    fn default() -> Self {
        Self { some: false, wants_more: true }
    }
}

impl Taken {
    /// Hands over the frames in `bytes`, as long as they are wanted; returns what was not looked at.
    fn from<'b>(
        &mut self,
        intake: &mut Intake,
        mut bytes: &'b [u8],
        hearing: &Hearing,
        who: &mut impl Take,
    ) -> Result<&'b [u8], NotXmpp> {
        while self.wants_more {
            let (used, frame) = intake.take(bytes, hearing)?;
            bytes = &bytes[used..];
            match frame {
                Some(frame) => (self.some, self.wants_more) = (true, who.take(frame)),
                None => break,
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
