//! Where the top-level elements of a stream begin and end.
//!
//! Bytes go in, in pieces of any size; nothing is kept of them here. Knows tags, quotes, CDATA and depth, and refuses
//! what RFC 6120 section 11.1 forbids. What else is not well-formed is seen when an element is read; but a tag that
//! closes what is not open must be seen at once, or all that follows would be taken for a part of the element.

use super::NotXmpp;

/// Bytes of one top-level element that are kept at most.
pub const MOST_BYTES: usize = 256 * 1024;
/// Levels of nesting that are kept at most.
pub const MOST_DEPTH: usize = 64;

/// What ends at a place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The XML declaration.
    Declaration,
    /// The start tag of the stream.
    Header,
    /// A whole top-level element.
    Element,
    /// As much of one as is kept of it at most: the rest comes in vain.
    TooLarge,
    /// One that was too large, thrown away.
    Remains,
    /// The end tag of the stream.
    Footer,
}

/// Finds the pieces of a stream.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    /// Elements open below the stream.
    depth: usize,
    /// Bytes since the piece began.
    length: usize,
    open: bool,
    /// Whether the element at hand is too large.
    skips: bool,
    /// Of each open element that is not too deep, what its name comes to.
    names: Vec<u64>,
    /// What the name at hand comes to, as far as it is here.
    name: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Where a tag may begin. Between top-level elements there is white space only (RFC 6120 section 11.7).
    Text,
    /// Behind `<`.
    Tag,
    /// In the name of a start tag.
    Name,
    /// In a start tag behind its name, with the quote that is open and whether the last byte was a slash.
    Start(Option<u8>, bool),
    /// In an end tag.
    End,
    /// In the beginning of a CDATA section, of which so many bytes were right.
    CdataStart(u8),
    /// In a CDATA section, behind so many brackets that may end it.
    Cdata(u8),
    /// In the XML declaration, and whether the last byte was a question mark.
    Declaration(bool),
}

const CDATA: &[u8] = b"<![CDATA[";

impl Splitter {
    /// At the beginning of a stream.
    pub(super) fn new() -> Self {
        Self { state: State::Text, depth: 0, length: 0, open: false, skips: false, names: Vec::new(), name: 0 }
    }

    /// How many bytes at the front are white space between two pieces, and of no meaning.
    pub(super) fn blank(&self, bytes: &[u8]) -> usize {
        match self.length {
            0 => bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count(),
            _ => 0,
        }
    }

    /// Looks for the end of the piece at hand. Returns how many bytes belong to it, and what it is if it ends there.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<(usize, Option<Piece>), NotXmpp> {
        let room = if self.skips { bytes.len() } else { MOST_BYTES - self.length };
        for (at, &byte) in bytes.iter().enumerate().take(room) {
            // Nearly all bytes are inside of something.
            let (state, ended) = match (self.state, byte) {
                (State::Text, b'<') => (State::Tag, false),
                (State::Text, _) if self.depth > 0 => continue,
                (State::Start(None, _) | State::Name | State::End, b'>') => (State::Text, true),
                (State::Name, b' ' | b'\t' | b'\r' | b'\n') => (State::Start(None, false), false),
                (State::Name, b'/') => (State::Start(None, true), false),
                (State::End, b' ' | b'\t' | b'\r' | b'\n') => continue,
                (State::Name | State::End, _) => {
                    self.name = self.name.rotate_left(7) ^ u64::from(byte);
                    continue;
                }
                (State::Start(None, _), quote @ (b'"' | b'\'')) => (State::Start(Some(quote), false), false),
                (State::Start(None, slash), _) if slash == (byte == b'/') => continue,
                (State::Start(None, _), _) => (State::Start(None, byte == b'/'), false),
                (State::Start(Some(quote), _), _) if byte == quote => (State::Start(None, false), false),
                (State::Tag, b'/') => {
                    self.name = 0;
                    (State::End, false)
                }
                (State::Tag, b'!') if self.depth > 0 => (State::CdataStart(2), false),
                (State::Tag, b'?') if !self.open => (State::Declaration(false), false),
                (State::CdataStart(right), _) if byte == CDATA[usize::from(right)] => {
                    let all = usize::from(right) + 1 == CDATA.len();
                    (if all { State::Cdata(0) } else { State::CdataStart(right + 1) }, false)
                }
                (State::Text | State::CdataStart(_), _)
                | (State::Start(Some(_), _), b'<')
                | (State::Tag, b'!' | b'?' | b'>' | b'<') => return Err(NotXmpp),
                (State::Start(Some(_), _), _) => continue,
                (State::Tag, _) => {
                    self.name = u64::from(byte);
                    (State::Name, false)
                }
                (State::Cdata(brackets), b']') => (State::Cdata((brackets + 1).min(2)), false),
                (State::Cdata(2), b'>') => (State::Text, false),
                (State::Cdata(_), _) => (State::Cdata(0), false),
                (State::Declaration(true), b'>') => {
                    self.reset();
                    return Ok((at + 1, Some(Piece::Declaration)));
                }
                (State::Declaration(_), _) => (State::Declaration(byte == b'?'), false),
            };
            let before = std::mem::replace(&mut self.state, state);
            if ended && let Some(piece) = self.tag(before)? {
                return Ok((at + 1, Some(piece)));
            }
        }
        let used = bytes.len().min(room);
        self.length += used;
        if used < bytes.len() {
            self.skips = true;
            return Ok((used, Some(Piece::TooLarge)));
        }
        Ok((used, None))
    }

    /// Whether a piece has begun.
    pub(super) fn is_inside(&self) -> bool {
        self.length > 0
    }

    /// Keeps no memory while there is nothing to remember.
    pub(super) fn rest(&mut self) {
        if self.names.is_empty() {
            self.names = Vec::new();
        }
    }

    /// A tag ended: what ended with it.
    fn tag(&mut self, before: State) -> Result<Option<Piece>, NotXmpp> {
        if before == State::End {
            return self.end_tag();
        }
        let empty = before == State::Start(None, true);
        if !self.open {
            self.open = true;
            return if empty { Err(NotXmpp) } else { Ok(Some(self.ends(Piece::Header))) };
        }
        if empty && self.depth == 0 {
            return Ok(Some(self.ends(Piece::Element)));
        }
        let too_deep = self.depth >= MOST_DEPTH;
        if !empty {
            self.depth += 1;
            if !too_deep {
                self.names.push(self.name);
            }
        }
        if too_deep && !self.skips {
            self.skips = true;
            self.length = 1; // of what is skipped no length is kept, but it is inside
            return Ok(Some(Piece::TooLarge));
        }
        Ok(None)
    }

    fn end_tag(&mut self) -> Result<Option<Piece>, NotXmpp> {
        if self.depth == 0 {
            return if self.open { Ok(Some(self.ends(Piece::Footer))) } else { Err(NotXmpp) };
        }
        if self.depth <= MOST_DEPTH && self.names.pop() != Some(self.name) {
            return Err(NotXmpp);
        }
        self.depth -= 1;
        Ok((self.depth == 0).then(|| self.ends(Piece::Element)))
    }

    fn ends(&mut self, piece: Piece) -> Piece {
        let piece = if self.skips { Piece::Remains } else { piece };
        self.reset();
        piece
    }

    fn reset(&mut self) {
        (self.state, self.length, self.skips) = (State::Text, 0, false);
    }
}
