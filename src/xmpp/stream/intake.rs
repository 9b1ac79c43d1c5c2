//! From bytes, as they arrive, to frames. Keeps the piece of an element whose rest has not arrived, and nothing else.

use std::borrow::Cow;

use super::frame::Frame;
use super::namespaces::Declared;
use super::splitter::{Piece, Splitter};
use super::{NotXmpp, header};
use crate::protocol::hearing::Hearing;

/// What arrives on one stream.
#[derive(Debug)]
pub(super) struct Intake {
    splitter: Splitter,
    /// What arrived of the piece at hand.
    begun: Vec<u8>,
    /// What the header of the stream declared, once it is here.
    declared: Declared,
    /// Of an element that is being thrown away: what is to be told of it.
    oversize: Option<Frame>,
    closed: bool,
}

impl Intake {
    /// At the beginning of a stream.
    pub(super) fn new() -> Self {
        let (splitter, declared) = (Splitter::new(), Declared::default());
        Self { splitter, begun: Vec::new(), declared, oversize: None, closed: false }
    }

    /// Whether the peer ended its stream.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing of an element is here.
    pub(super) fn is_empty(&self) -> bool {
        !self.splitter.is_inside()
    }

    /// Takes bytes, and gives a frame if one is complete. Returns how many bytes were taken; without a frame that is all
    /// of them, or all up to the end of the stream.
    pub(super) fn take(&mut self, bytes: &[u8], hearing: &Hearing) -> Result<(usize, Option<Frame>), NotXmpp> {
        let mut at = 0;
        while !self.closed {
            at += self.splitter.blank(&bytes[at..]);
            let rest = &bytes[at..];
            if rest.is_empty() {
                break;
            }
            let (length, piece) = self.splitter.find(rest)?;
            at += length;
            let Some(piece) = piece else {
                if self.oversize.is_none() {
                    self.begun.extend_from_slice(rest);
                }
                break;
            };
            if let Some(frame) = self.piece(piece, &rest[..length], hearing)? {
                return Ok((at, Some(frame)));
            }
        }
        self.splitter.rest();
        Ok((at, None))
    }

    /// The piece at hand ends with these bytes.
    fn piece(&mut self, piece: Piece, end: &[u8], hearing: &Hearing) -> Result<Option<Frame>, NotXmpp> {
        if piece == Piece::Remains {
            return Ok(self.oversize.take());
        }
        let mut begun = std::mem::take(&mut self.begun);
        let whole = if begun.is_empty() {
            Cow::Borrowed(end)
        } else {
            begun.extend_from_slice(end);
            Cow::Owned(begun)
        };
        match piece {
            Piece::Declaration => header::declaration(&whole)?,
            Piece::Header => self.declared = header::read(&whole)?,
            Piece::Element => return Frame::read(&whole, &self.declared, hearing).map(Some),
            Piece::TooLarge => self.oversize = Some(Frame::oversize(&whole, &self.declared)?),
            Piece::Footer => {
                header::footer(&whole, &self.declared)?;
                self.closed = true;
            }
            Piece::Remains => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
