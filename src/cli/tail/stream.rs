//! Server-sent events, as the daemon sends them: `id:`, `data:`, and comments of which one counts what was lost.
//!
//! Must not know what an event says.

/// A line that is longer is no event of ours; it is passed over.
const LONGEST: usize = 4 << 20;

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
}

impl Stream {
    /// Reads on; says what is whole now.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.rest.len() + part.len() <= LONGEST {
                self.rest.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
                said.extend(self.line(line.trim_end_matches(['\r', '\n'])));
            }
        }
        said
    }

    fn line(&mut self, line: &str) -> Option<Said> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let (id, data) = (self.id.take(), self.data.take());
                return data.map(|data| Said::Event { id, data });
            }
            "" => return value.strip_prefix("lost ").and_then(|n| n.parse().ok()).map(Said::Lost),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => *data = format!("{data}\n{value}"),
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
        assert!(stream.rest.len() <= LONGEST);
    }
}
