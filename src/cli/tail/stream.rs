//! Server-sent events, as the daemon sends them: `id:`, `data:`, and comments of which one counts what was lost.
//!
//! Must not know what an event says.

use crate::domain::limits::DAEMON_EVENT;

/// What the daemon said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// An event.
    Event { id: Option<String>, data: String },
    /// So many events were too fast for us.
    Lost(u64),
}

/// A stream as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Stream {
    rest: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
    /// Whether the line that is read now, and the event that it is part of, are longer than any event of ours.
    long_line: bool,
    long_event: bool,
}

impl Stream {
    /// Reads on; says what is whole now.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.long_line |= self.rest.len() + part.len() > DAEMON_EVENT;
            if self.long_line {
                self.rest = Vec::new();
            } else {
                self.rest.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                if std::mem::take(&mut self.long_line) {
                    self.long_event = true;
                } else {
                    said.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
                }
            }
        }
        said
    }

    fn line(&mut self, line: &str) -> Option<Said> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let (id, data, long) = (self.id.take(), self.data.take(), std::mem::take(&mut self.long_event));
                return data.filter(|_| !long).map(|data| Said::Event { id, data });
            }
            "" => return value.strip_prefix("lost ").and_then(|n| n.parse().ok()).map(Said::Lost),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) if data.len() + value.len() >= DAEMON_EVENT => {
                    data.clear();
                    self.long_event = true;
                }
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": connected\nretry: 3000\n\nid: 1\ndata: {\"a\":\"é\"}\n\n:\n\n: lost 7\n\nid: 2\r\ndata: x\r\n\r\n";

    fn expected() -> Vec<Said> {
        let event = |id: &str, data: &str| Said::Event { id: Some(id.to_owned()), data: data.to_owned() };
        vec![event("1", "{\"a\":\"é\"}"), Said::Lost(7), event("2", "x")]
    }

    #[test]
    fn events_and_losses_are_read_and_nothing_else() {
        assert_eq!(Stream::default().read(STREAM.as_bytes()), expected());
    }

    #[test]
    fn it_does_not_matter_where_a_packet_ends() {
        for size in 1..STREAM.len() {
            let mut stream = Stream::default();
            let said: Vec<_> = STREAM.as_bytes().chunks(size).flat_map(|chunk| stream.read(chunk)).collect();
            assert_eq!(said, expected(), "{size}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_room_without_end() {
        let mut stream = Stream::default();
        let chunk = vec![b'x'; 100_000];
        for _ in 0..100 {
            assert_eq!(stream.read(&chunk), []);
        }
        assert!(stream.rest.len() <= DAEMON_EVENT);
    }

    #[test]
    fn an_event_that_is_too_long_is_passed_over_whole_and_takes_no_room_without_end() {
        let long = "x".repeat(DAEMON_EVENT / 2);
        for part in [format!("data: {long}{long}{long}\ndata: y\n"), format!("data: {long}\n").repeat(9)] {
            let mut stream = Stream::default();
            assert_eq!(stream.read(part.as_bytes()), []);
            assert!(stream.rest.capacity() + stream.data.as_ref().map_or(0, String::capacity) <= 2 * DAEMON_EVENT);
            let next = Said::Event { id: None, data: "z".to_owned() };
            assert_eq!(stream.read(b"\ndata: z\n\n"), [next]);
        }
    }
}
