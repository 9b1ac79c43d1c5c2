//! Question and answer on a stream that is not in use yet: what encryption and log-in are made of.

use minidom::Element;

use super::failure;
use super::stream::{Frame, ReadError, Stream};
use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, Features};

/// Sends an element.
pub(super) async fn send(stream: &mut Stream, element: &Element) -> Result<(), Failure> {
    stream.send(element).await.map_err(|fault| failure::of_io(&fault))
}

/// The next frame; the end of the stream is a failure. A silence is not: the log-in as a whole has its time.
pub(super) async fn receive(stream: &mut Stream) -> Result<Frame, Failure> {
    loop {
        match stream.next().await {
            Ok(Frame::Element(element)) => {
                return match stanza::stream_error(&element) {
                    Some(error) => Err(failure::of_stream(error)),
                    None => Ok(Frame::Element(element)),
                };
            }
            Ok(frame @ (Frame::Note(_) | Frame::Management(_) | Frame::Oversize { .. })) => return Ok(frame),
            Err(ReadError::Silence) => {}
            Err(fault) => return Err(failure::of_read(&fault)),
        }
    }
}

/// What the server offers, with which every stream of a server begins.
pub(super) async fn features(stream: &mut Stream) -> Result<Features, Failure> {
    match receive(stream).await? {
        Frame::Element(element) => Features::read(&element).ok_or_else(failure::not_xmpp),
        Frame::Note(_) | Frame::Management(_) | Frame::Oversize { .. } => Err(failure::not_xmpp()),
    }
}
