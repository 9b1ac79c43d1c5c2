//! Where the head of a request ends in what a caller sends: at its first empty line.
//!
//! Must not know what a head says.

/// Finds the end of each head, however its bytes are split. An empty line elsewhere, in a body or before a head, is taken
/// for one too: then less is handed over at once, and never more than one head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heads {
    /// Nothing but `\r` has come since the last line break.
    at_line_start: bool,
}

impl Heads {
    /// Reads on; returns how many bytes reach to the end of a head, or all of them and `false` where none ends.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, byte) in bytes.iter().enumerate() {
            match (byte, self.at_line_start) {
                (b'\n', true) => {
                    self.at_line_start = false;
                    return (index + 1, true);
                }
                (b'\n', false) => self.at_line_start = true,
                (b'\r', _) => {}
                _ => self.at_line_start = false,
            }
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(sent: &str, size: usize) -> Vec<String> {
        let (mut heads, mut pieces, mut piece) = (Heads::default(), Vec::new(), String::new());
        for mut chunk in sent.as_bytes().chunks(size) {
            while !chunk.is_empty() {
                let (len, ended) = heads.read(chunk);
                piece.push_str(str::from_utf8(&chunk[..len]).unwrap());
                chunk = &chunk[len..];
                if ended {
                    pieces.push(std::mem::take(&mut piece));
                }
            }
        }
        pieces.push(piece);
        pieces
    }

    #[test]
    fn c7_no_piece_holds_more_than_one_head_however_lines_end_and_bytes_are_split() {
        let sent = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /b HTTP/1.1\nHost: b\n\n",
            "GET /c HTTP/1.1\r\nHost: c\r\n\n",
            "\r\nGET /d HTTP/1.1\nHost: d\n\r\n",
            "GET /e HTTP/1.1\r\n",
        ];
        for size in 1..60 {
            assert_eq!(pieces(&sent.concat(), size), sent, "{size}");
        }
    }
}
