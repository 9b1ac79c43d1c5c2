//! Where the top-level elements of a stream begin and end.
//!
//! Bytes go in, in pieces of any size; nothing is kept of them here. Knows tags, quotes, CDATA and depth, and refuses
//! what RFC 6120 section 11.1 forbids. What else is not well-formed is seen when an element is read; but a tag that
//! closes what is not open must be seen at once, or all that follows would be taken for a part of the element.

use super::NotXmpp;
use crate::domain::limits::{STANZA_BYTES, STANZA_DEPTH};

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
        let room = if self.skips { bytes.len() } else { STANZA_BYTES - self.length };
        let kept = &bytes[..bytes.len().min(room)];
        let mut at = 0;
        loop {
            at += self.pass(&kept[at..]);
            let Some(&byte) = kept.get(at) else { break };
            at += 1;
            let state = self.step(byte)?;
            let before = std::mem::replace(&mut self.state, state);
            if before == State::Tag {
                self.name = if state == State::Name { u64::from(byte) } else { 0 };
            }
            if state == State::Text
                && let Some(piece) = self.ended(before)?
            {
                return Ok((at, Some(piece)));
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

    /// How many bytes at the front change nothing: nearly all are inside of text, of a value or of a name.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let length = match self.state {
            State::Text if self.depth > 0 => bytes.iter().position(|&byte| byte == b'<'),
            State::Start(Some(quote), _) => bytes.iter().position(|&byte| byte == quote || byte == b'<'),
            State::Name | State::End => {
                let mut name = self.name;
                let length = bytes.iter().position(|&byte| {
                    let ends = matches!(byte, b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n');
                    name = if ends { name } else { name.rotate_left(7) ^ u64::from(byte) };
                    ends
                });
                self.name = name;
                length
            }
            State::Text
            | State::Tag
            | State::Start(None, _)
            | State::CdataStart(_)
            | State::Cdata(_)
            | State::Declaration(_) => Some(0),
        };
        length.unwrap_or(bytes.len())
    }

    /// Where a byte leads that does change something.
    fn step(&self, byte: u8) -> Result<State, NotXmpp> {
        Ok(match (self.state, byte) {
            (State::Text, b'<') => State::Tag,
            (State::Start(None, _) | State::Name | State::End | State::Cdata(2) | State::Declaration(true), b'>') => {
                State::Text
            }
            (State::Start(None, _), quote @ (b'"' | b'\'')) => State::Start(Some(quote), false),
            (State::Start(None, _) | State::Name, _) => State::Start(None, byte == b'/'),
            (State::Start(Some(quote), _), _) if byte == quote => State::Start(None, false),
            (State::Tag, b'/') | (State::End, _) => State::End,
            (State::Tag, b'!') if self.depth > 0 => State::CdataStart(2),
            (State::Tag, b'?') if !self.open => State::Declaration(false),
            (State::CdataStart(right), _) if byte == CDATA[usize::from(right)] => {
                if usize::from(right) + 1 == CDATA.len() { State::Cdata(0) } else { State::CdataStart(right + 1) }
            }
            (State::Text | State::Start(Some(_), _) | State::CdataStart(_), _)
            | (State::Tag, b'!' | b'?' | b'>' | b'<') => return Err(NotXmpp),
            (State::Tag, _) => State::Name,
            (State::Cdata(brackets), b']') => State::Cdata((brackets + 1).min(2)),
            (State::Cdata(_), _) => State::Cdata(0),
            (State::Declaration(_), _) => State::Declaration(byte == b'?'),
        })
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

    /// Something ended that is no text: what ended with it.
    fn ended(&mut self, before: State) -> Result<Option<Piece>, NotXmpp> {
        match before {
            State::Start(..) | State::Name => self.start_tag(before),
            State::End => self.end_tag(),
            State::Declaration(_) => Ok(Some(self.ends(Piece::Declaration))),
            State::Text | State::Tag | State::CdataStart(_) | State::Cdata(_) => Ok(None),
        }
    }

    fn start_tag(&mut self, before: State) -> Result<Option<Piece>, NotXmpp> {
        let empty = before == State::Start(None, true);
        if !self.open {
            self.open = true;
            return if empty { Err(NotXmpp) } else { Ok(Some(self.ends(Piece::Header))) };
        }
        if empty && self.depth == 0 {
            return Ok(Some(self.ends(Piece::Element)));
        }
        let too_deep = self.depth >= STANZA_DEPTH;
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
        if self.depth <= STANZA_DEPTH && self.names.pop() != Some(self.name) {
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
