//! Writes log lines to standard error and never holds up who logs.
//!
//! * [`Writer::write`] does not wait for standard error: it puts the line into a buffer, or drops it where that is full.
//! * The buffer is bounded in bytes ([`LOG_BUFFER`]); one thread empties it.
//! * A line is dropped whole. Every dropped line is counted, and a line says how many they were once there is room.
//!
//! Not `tracing-appender`: it bounds lines and not bytes, and cannot say in its place in the log what it dropped.
//! Must not know what a line says.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::domain::limits::LOG_BUFFER;
use crate::metrics::Metrics;

/// Pause after which a descriptor that does not block is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// The buffer, shared by who logs and the thread that writes.
#[derive(Default)]
pub(super) struct Writer {
    buffer: Mutex<Buffer>,
    changed: Condvar,
    metrics: OnceLock<Arc<Metrics>>,
}

#[derive(Default)]
struct Buffer {
    text: String,
    /// Lines dropped since the last that said so.
    dropped: u64,
    /// Lines dropped before there were metrics.
    uncounted: u64,
    /// Whether the thread has taken lines that are not written yet.
    writing: bool,
}

impl Writer {
    /// Takes a line, which ends in a line break, or drops it.
    pub(super) fn write(&self, line: &str) {
        let mut buffer = self.buffer();
        if buffer.text.len() + line.len() <= LOG_BUFFER {
            buffer.text.push_str(line);
            self.changed.notify_all();
            return;
        }
        buffer.dropped += 1;
        match self.metrics.get() {
            Some(metrics) => metrics.log_lines_dropped(1),
            None => buffer.uncounted += 1,
        }
    }

    /// Counts dropped lines in `metrics` from now on, those of before included.
    pub(super) fn count_in(&self, metrics: Arc<Metrics>) {
        let uncounted = std::mem::take(&mut self.buffer().uncounted);
        metrics.log_lines_dropped(uncounted);
        // A second daemon in one process would count for the first.
        let _ = self.metrics.set(metrics);
    }

    /// Writes what comes, for ever. Calls `glance` at least every `pause`; `told` makes the line that says how many were
    /// dropped.
    pub(super) fn run(&self, pause: Duration, glance: impl Fn(), told: impl Fn(u64) -> String) {
        let mut out = standard_error();
        loop {
            glance();
            let text = {
                let empty = |buffer: &mut Buffer| buffer.text.is_empty();
                let waited = self.changed.wait_timeout_while(self.buffer(), pause, empty);
                let (mut buffer, _) = waited.unwrap_or_else(PoisonError::into_inner);
                let mut text = std::mem::take(&mut buffer.text);
                if buffer.dropped > 0 {
                    text.push_str(&told(std::mem::take(&mut buffer.dropped)));
                }
                buffer.writing = !text.is_empty();
                text
            };
            write_all(&mut out, text.as_bytes());
            self.buffer().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits until all is written, but not longer than `most`.
    pub(super) fn flush(&self, most: Duration) {
        let busy = |buffer: &mut Buffer| buffer.writing || !buffer.text.is_empty();
        drop(self.changed.wait_timeout_while(self.buffer(), most, busy));
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard error as a descriptor of our own: whoever else writes there does not wait for a lock that we hold.
fn standard_error() -> Box<dyn Write> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::stderr()),
    }
}

/// Where it fails there is nobody left to tell.
fn write_all(out: &mut dyn Write, mut text: &[u8]) {
    while !text.is_empty() {
        match out.write(text) {
            Ok(0) => return,
            Ok(taken) => text = &text[taken..],
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_a_full_buffer_drops_whole_lines_and_counts_them() {
        let writer = Writer::default();
        let line = format!("{}\n", "x".repeat(99_999));
        for _ in 0..20 {
            writer.write(&line);
        }
        writer.write("short\n");
        let buffer = writer.buffer();
        assert!(buffer.text.len() <= LOG_BUFFER && buffer.text.ends_with("x\nshort\n"), "{}", buffer.text.len());
        assert_eq!((buffer.dropped, buffer.uncounted), (10, 10));
        drop(buffer);
        let metrics = Arc::new(Metrics::new("1", "c", [""; 0], [""; 0], [""; 0]).unwrap());
        writer.count_in(Arc::clone(&metrics));
        writer.write(&line.repeat(20));
        assert_eq!(metrics.log_lines_dropped.get(), 11);
    }

    #[test]
    fn b11_a_flush_ends_though_nobody_writes() {
        let writer = Writer::default();
        writer.write("line\n");
        writer.flush(Duration::from_millis(10));
        assert_eq!(writer.buffer().text, "line\n");
    }
}
