//! `type = "tcp"`: each event as a line over TCP. The peer answers each with a line: `ok`, or what is wrong with it.

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::{Batch, Failure, Sink};
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

/// Where the peer is. The sink keeps nothing else: it connects for each batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(String);

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Sends each event as a line over TCP.";
    /// The keys of the sink.
    pub const KEYS: &'static [Key] =
        &[Key { name: "peer", kind: Kind::Text(Text::ANY), absent: Absent::Refused, help: "HOST:PORT of the peer." }];

    /// Reads the settings of the sink at `path`; what single keys look like is checked already.
    pub fn read(section: &Section<'_>, _path: &Path, _problems: &mut Problems) -> Option<Self> {
        section.get("peer").map(Self)
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Self {
        self.clone()
    }

    async fn say(&self, batch: &Batch) -> io::Result<()> {
        let mut peer = BufStream::new(TcpStream::connect(&self.0).await?);
        for (place, parcel) in batch.one_by_one() {
            peer.write_all(format!("{}\n", parcel.body).as_bytes()).await?;
            peer.flush().await?;
            let mut answer = String::new();
            peer.read_line(&mut answer).await?;
            let answer = match answer.trim_end() {
                "ok" => Ok(()),
                "" => return Err(io::ErrorKind::UnexpectedEof.into()),
                reason => Err(Failure::Reject { reason: reason.to_owned() }),
            };
            batch.answer(place, answer);
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Options {
    async fn hand_over(&mut self, batch: &Batch) {
        if let Err(fault) = self.say(batch).await {
            // All that has no answer is tried again, in order: nothing may overtake it.
            batch.fail(Failure::Retry { reason: fault.to_string(), after: None });
        }
    }
}
