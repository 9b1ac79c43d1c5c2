//! Reads an answer as it comes in, byte by byte, beside the client library: whether its status line says 2xx.
//!
//! The library gives up on an answer with anything odd in it: an odd `Content-Length`, a header that none can be, an end too
//! early. But a peer that says 2xx has taken the event, whatever is wrong with the rest; one that is posted again is
//! delivered twice, and again as often as the peer answers so. So the status line is read here, and what the library makes
//! of the rest matters only for what is told about a refusal.
//!
//! Heads that tell of progress only (1xx) are left out of what the library gets: it takes its time with each of them, and a
//! peer may send them without end.
//!
//! Must not know what is posted.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sinks::relay::Stream;
use crate::sinks::throttle::Credit;

/// Bytes of a status line within which the status is told.
const STATUS_LINE: usize = 64;
/// Bytes that are read with one step.
const STEP: usize = 16 * 1024;

/// How far the answer to one request has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Its head is whole, or there was no request yet.
    Over,
    /// The status line; what has come of it.
    Status(Vec<u8>),
    /// The header fields.
    Fields {
        /// Whether the line is empty so far.
        blank: bool,
        /// Whether another status line follows: the answer was about the progress only (1xx).
        more: bool,
    },
}

/// The answers on one connection, one after the other.
#[derive(Debug)]
struct Answers {
    part: Part,
    success: bool,
}

impl Answers {
    const NONE: Self = Self { part: Part::Over, success: false };

    /// Follows what the peer sends, and adds to `passed` what of it the library is to get.
    fn hear(&mut self, bytes: &[u8], passed: &mut Vec<u8>) {
        for (place, byte) in bytes.iter().enumerate() {
            match (&mut self.part, byte) {
                (Part::Over, _) => return passed.extend_from_slice(&bytes[place..]),
                (Part::Status(line), b'\r' | b'\n') if line.is_empty() => {} // some begin with empty lines
                (Part::Status(line), byte) => {
                    line.push(*byte);
                    if byte.is_ascii_digit() && line.len() < STATUS_LINE {
                        continue; // the status may have more of them
                    }
                    let status = status(line);
                    // 101 is an answer: nothing follows it that we would understand.
                    let more = matches!(status, Some(100 | 102..=199));
                    if more || status.is_some() || *byte == b'\n' || line.len() == STATUS_LINE {
                        self.success = matches!(status, Some(200..=299));
                        if !more {
                            passed.append(line);
                        }
                        self.part = Part::Fields { blank: *byte == b'\n', more };
                    }
                }
                (Part::Fields { blank: true, more: true }, b'\n') => self.part = Part::Status(Vec::new()),
                (Part::Fields { blank: true, more: false }, b'\n') => {
                    passed.push(*byte);
                    self.part = Part::Over;
                }
                (Part::Fields { blank, more }, byte) => {
                    *blank = *byte == b'\n' || (*blank && *byte == b'\r');
                    if !*more {
                        passed.push(*byte);
                    }
                }
            }
        }
    }

    /// Returns what was held back of a head that has not come to its status, as nothing more will come.
    fn end(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.part, Part::Over) {
            Part::Status(line) => line,
            Part::Over | Part::Fields { .. } => Vec::new(),
        }
    }

    /// Notes that something is sent to the peer. If the last answer is over, that begins another request.
    fn ask(&mut self) {
        if self.part == Part::Over {
            *self = Self { part: Part::Status(Vec::new()), success: false };
        }
    }
}

/// The status in a line that begins with one, up to the first byte behind it.
fn status(line: &[u8]) -> Option<u16> {
    let line = line.strip_prefix(b"HTTP/")?;
    let version = line.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').filter(|length| *length > 0)?;
    let blanks = line[version..].iter().position(|byte| *byte != b' ').filter(|length| *length > 0)?;
    match line[version + blanks..] {
        [a, b, c, behind, ..] if [a, b, c].iter().all(u8::is_ascii_digit) && !behind.is_ascii_digit() => {
            Some([a, b, c].iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0')))
        }
        _ => None,
    }
}

/// One connection, as seen from outside of the library.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// None where the answers do not come as lines: HTTP/2.
    answers: Option<Arc<Mutex<Answers>>>,
    credit: Credit,
}

impl Wire {
    fn answers(&self) -> Option<MutexGuard<'_, Answers>> {
        Some(self.answers.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the answer that is under way says 2xx, and forgets it.
    pub(super) fn take_success(&self) -> bool {
        self.answers().is_some_and(|mut answers| std::mem::replace(&mut *answers, Answers::NONE).success)
    }

    /// Notes that the library has made something of the answer, and lets the peer send its body of at most `bytes`.
    pub(super) fn answered(&self, bytes: u64) {
        self.take_success();
        self.credit.grant(bytes);
    }
}

/// The stream of a connection.
pub(super) struct Watched {
    stream: Box<dyn Stream>,
    wire: Wire,
    /// Bytes that were read and are to be passed on, and the place of the first that is not passed on yet.
    passed: Vec<u8>,
    place: usize,
}

impl Watched {
    pub(super) fn new(stream: Box<dyn Stream>, credit: Credit, lines: bool) -> Self {
        let answers = lines.then(|| Arc::new(Mutex::new(Answers::NONE)));
        Self { stream, wire: Wire { answers, credit }, passed: Vec::new(), place: 0 }
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.wire.clone());
        if self.wire.answers.is_some() { connected } else { connected.negotiated_h2() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.answers.is_none() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        while this.place == this.passed.len() {
            (this.place, this.passed) = (0, Vec::new());
            let mut bytes = [0; STEP];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            let Some(mut answers) = this.wire.answers() else { break };
            if read.filled().is_empty() {
                this.passed = answers.end();
                if this.passed.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            answers.hear(read.filled(), &mut this.passed);
        }
        let count = buf.remaining().min(this.passed.len() - this.place);
        buf.put_slice(&this.passed[this.place..this.place + count]);
        this.place += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(mut answers) = this.wire.answers() {
            answers.ask();
        }
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text`, which comes in pieces of `size`, says 2xx.
    fn says_success(text: &[u8], size: usize) -> bool {
        let mut answers = Answers::NONE;
        answers.ask();
        text.chunks(size).for_each(|piece| drop(heard(&mut answers, piece)));
        answers.success
    }

    fn heard(answers: &mut Answers, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::new();
        answers.hear(bytes, &mut passed);
        passed
    }

    #[test]
    fn c2_heads_that_tell_of_progress_are_left_out_and_all_else_is_passed_on() {
        let long = format!("HTTP/1.1 {}200 OK\r\n\r\n", " ".repeat(100));
        for (text, expected) in [
            (
                "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok\r\n\r\n",
                "HTTP/1.1 200 OK\r\n\r\nok\r\n\r\n",
            ),
            ("HTTP/1.1 100\n\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 500\nA: b\n\nno", "HTTP/1.1 500\nA: b\n\nno"),
            ("HTTP/1.1 101 Switching\r\n\r\nwhatever", "HTTP/1.1 101 Switching\r\n\r\nwhatever"),
            ("\r\nHTTP/1.1 200", "HTTP/1.1 200"),
            ("garbage", "garbage"),
            ("garbage\r\n\r\nHTTP/1.1 103 Early\r\n\r\n", "garbage\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"),
            (&long, &long),
            ("", ""),
        ] {
            for size in [1, 2, 7, 1000] {
                let mut answers = Answers::NONE;
                answers.ask();
                let mut passed: Vec<u8> =
                    text.as_bytes().chunks(size).flat_map(|piece| heard(&mut answers, piece)).collect();
                passed.extend(answers.end());
                assert_eq!(String::from_utf8_lossy(&passed), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn d11_a_status_line_says_2xx_however_odd_it_is_and_whatever_follows() {
        let yes = [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200\r\n",
            "HTTP/1.0 204 No Content\n",
            "HTTP/2 200\r\n",
            "HTTP/1.2 299 Odd\r\n",
            "HTTP/1.1  200 OK\r\n",
            "HTTP/1.1 200 O\u{1}K\r\n",
            "HTTP/1.1 200 ",
            "\r\n\r\nHTTP/1.1 201 Made\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
            "HTTP/1.1 103 Early Hints\nLink: a\n\nHTTP/1.1 102 \r\nX: y\r\n\r\nHTTP/1.1 202 Yes\r\n",
        ];
        let no = [
            "",
            "\r\n",
            "HTTP/1.1 200",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 600 Odd\r\n",
            "HTTP/1.1 099 Odd\r\n",
            "HTTP/1.1 500 not 200 OK\r\n",
            "ICY 200 OK\r\n",
            "http/1.1 200 OK\r\n",
            " HTTP/1.1 200 OK\r\n",
            "HTTP/1.1200 OK\r\n",
            "HTTP/ 200 OK\r\n",
            "HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\n",
            "HTTP/1.1 103 Early Hints\r\nHTTP/1.1 200 OK\r\n",
            "HTTP/1.1 404 No\r\n\r\nHTTP/1.1 200 OK\r\n",
            "garbage\r\n\r\nHTTP/1.1 200 OK\r\n",
        ];
        for (texts, expected) in [(&yes[..], true), (&no[..], false)] {
            for text in texts {
                for size in [1, 2, 7, 1000] {
                    assert_eq!(says_success(text.as_bytes(), size), expected, "{text:?} by {size}");
                }
            }
        }
    }

    #[test]
    fn an_answer_counts_for_its_own_request_only() {
        let mut answers = Answers::NONE;
        heard(&mut answers, b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(!answers.success, "nothing was asked");
        answers.ask();
        heard(&mut answers, b"HTTP/1.1 200 OK\r\nContent-Length: 2");
        answers.ask(); // the rest of the request
        assert!(answers.success);
        heard(&mut answers, b"\r\n\r\nok");
        assert!(answers.success);
        answers.ask();
        assert!(!answers.success);
        heard(&mut answers, b"HTTP/1.1 500 No\r\n\r\n");
        assert!(!answers.success);
        let wire = Wire { answers: Some(Arc::new(Mutex::new(answers))), credit: Credit::default() };
        wire.answers().unwrap().ask();
        heard(&mut wire.answers().unwrap(), b"HTTP/1.1 200 OK\r\n");
        assert!(wire.take_success() && !wire.take_success());
    }
}
