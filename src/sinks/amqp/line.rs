//! The socket of a connection, so that it can be cut from outside.
//!
//! The client library reads and writes in a thread of its own, and waits there for a broker that hangs: for ever, as
//! long as they have not agreed on heartbeats. Cutting the socket ends the thread. Must not know the protocol.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

/// A socket, as soon as there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Awaited,
    Open(TcpStream),
    Cut,
}

impl Line {
    /// Holds on to `socket`.
    ///
    /// # Errors
    /// If the line was cut before.
    pub(super) fn hold(&self, socket: &impl AsFd) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Cut) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *state = State::Open(socket.as_fd().try_clone_to_owned()?.into());
        Ok(())
    }

    /// Cuts it, now or as soon as there is one.
    fn cut(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(socket) = std::mem::replace(&mut *state, State::Cut) {
            let _ = socket.shutdown(Shutdown::Both); // it may be closed already
        }
    }
}

/// Cuts a line when it is dropped, unless it was told otherwise.
#[derive(Debug)]
pub(super) struct Guard {
    line: Line,
    /// Whether a drop cuts the line.
    pub(super) armed: bool,
}

impl Guard {
    pub(super) fn new(line: Line) -> Self {
        Self { line, armed: true }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.line.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_line_is_cut_with_its_guard_also_before_there_is_a_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();

        let early = Line::default();
        drop(Guard::new(early.clone()));
        assert!(early.hold(&socket).is_err());

        let line = Line::default();
        let guard = Guard::new(line.clone());
        line.hold(&socket).unwrap();
        drop(guard);
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "the end of the stream");
    }
}
