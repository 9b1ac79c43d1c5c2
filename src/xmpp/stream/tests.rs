//! A stream against a peer that speaks byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::protocol::stanza;

const PATIENCE: Patience = Patience { quiet: Duration::from_secs(30), response: Duration::from_secs(20) };
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1'>";

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(ours, listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// A stream whose peer has sent its header.
async fn stream(patience: Patience) -> (Stream, TcpStream) {
    let (ours, mut theirs) = pair().await;
    let stream = Stream::begin(Transport::Plain(ours), "acme.test", patience).await.unwrap();
    let mut header = String::new();
    while header.matches('>').count() < 2 {
        header += &heard(&mut theirs, 1).await;
    }
    assert!(
        header.starts_with("<?xml ") && header.contains("to=\"acme.test\"") || header.contains("to='acme.test'"),
        "{header}"
    );
    theirs.write_all(HEADER.as_bytes()).await.unwrap();
    (stream, theirs)
}

async fn heard(peer: &mut TcpStream, least: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < least {
        assert!(peer.read_buf(&mut bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// All that comes at once, at most `most` of it.
async fn frames(stream: &mut Stream, most: usize) -> (usize, Result<(), ReadError>) {
    let mut count = 0;
    let end = stream
        .read(&Hearing::nobody(), |_| {
            count += 1;
            count < most
        })
        .await;
    (count, end)
}

#[tokio::test]
async fn what_is_written_has_the_namespaces_of_the_header() {
    let (mut stream, mut peer) = stream(PATIENCE).await;
    stream.send(&stanza::presence()).await.unwrap();
    let expected = "<presence><priority>1</priority></presence>";
    let text = heard(&mut peer, expected.len()).await;
    assert!(text.ends_with(expected), "{text}");
    stream.feed(&stanza::ask()).await.unwrap();
    stream.feed(&stanza::goodbye()).await.unwrap();
    stream.flush().await.unwrap();
    let expected = "<r xmlns='urn:xmpp:sm:3'></r><presence type='unavailable'></presence>";
    assert_eq!(heard(&mut peer, expected.len()).await.replace('"', "'"), expected);
    assert_eq!(stream.unsent.capacity(), 0, "an idle stream keeps no buffer");
    stream.shutdown().await.unwrap();
    assert_eq!(heard(&mut peer, 1).await, "</stream:stream>");
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_came_at_once_is_handed_over_as_far_as_it_is_wanted() {
    let (mut stream, mut peer) = stream(PATIENCE).await;
    peer.write_all("<iq/>".repeat(10).as_bytes()).await.unwrap();
    peer.write_all(b"<iq>").await.unwrap();
    let mut all = 0;
    while all < 4 {
        let (count, end) = frames(&mut stream, 4 - all).await;
        all += count;
        assert!(end.is_ok());
    }
    peer.write_all(b"</iq></stream:stream>").await.unwrap();
    while all < 11 {
        all += frames(&mut stream, 64).await.0;
    }
    assert!(matches!(stream.next().await, Err(ReadError::Closed)));
    assert_eq!((all, stream.unread.capacity()), (11, 0));
}

#[tokio::test]
async fn no_more_is_kept_unread_than_there_was_appetite_for() {
    struct Small;
    impl Take for Small {
        fn appetite(&self) -> usize {
            8
        }

        fn take(&mut self, _: Frame) -> bool {
            false
        }
    }
    let (mut stream, mut peer) = stream(PATIENCE).await;
    peer.write_all("<iq/>".repeat(10).as_bytes()).await.unwrap();
    for _ in 0..10 {
        stream.read(&Hearing::nobody(), Small).await.unwrap();
        assert!(stream.unread.len() < 8);
    }
}

#[tokio::test]
async fn each_end_has_its_name() {
    for (last, expected) in [
        ("</stream:stream>", "Err(Closed)"),
        ("<iq/></stream:stream>", "Err(Closed)"),
        ("<iq>", "Err(CutOff)"),
        ("", "Err(CutOff)"),
        ("<iq/>x", "Err(NotXmpp)"),
        ("<iq></x>", "Err(NotXmpp)"),
    ] {
        let (mut stream, mut peer) = stream(PATIENCE).await;
        peer.write_all(last.as_bytes()).await.unwrap();
        drop(peer);
        let end = loop {
            let (_, end) = frames(&mut stream, 64).await;
            if end.is_err() {
                break end;
            }
        };
        assert_eq!(format!("{end:?}"), expected, "{last}");
    }
}

#[tokio::test]
async fn silence_is_told_once_and_then_the_link_is_dead_unless_something_is_heard() {
    let short = Patience { quiet: Duration::from_millis(60), response: Duration::from_millis(120) };
    let (mut stream, mut peer) = stream(short).await;
    assert!(matches!(stream.next().await, Err(ReadError::Silence)));
    peer.write_all(b" ").await.unwrap();
    assert!(matches!(stream.next().await, Err(ReadError::Silence)), "white space is a sign of life");
    assert!(matches!(stream.next().await, Err(ReadError::TimedOut)));
}

#[tokio::test]
async fn a_stream_begins_anew_only_where_nothing_is_left_of_the_old_one() {
    let (mut first, mut peer) = stream(PATIENCE).await;
    peer.write_all(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await.unwrap();
    assert!(matches!(first.next().await, Ok(Frame::Element(_))));
    let mut second = first.restart("acme.test").await.unwrap();
    peer.write_all(HEADER.as_bytes()).await.unwrap();
    peer.write_all(b"<stream:features/>").await.unwrap();
    assert!(matches!(second.next().await, Ok(Frame::Element(_))));

    for left in ["<iq/>", "<iq", " <iq/>"] {
        let (mut stream, mut peer) = stream(PATIENCE).await;
        peer.write_all(format!("<proceed/>{left}").as_bytes()).await.unwrap();
        assert!(matches!(stream.next().await, Ok(Frame::Element(_))));
        let fault = stream.into_transport().unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::InvalidData, "{left}");
    }
}

#[tokio::test]
async fn d9_white_space_between_the_elements_of_a_log_in_is_harmless() {
    let (mut first, mut peer) = stream(PATIENCE).await;
    peer.write_all(b"\n<stream:features/> \r\n\t<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/> \r\n\t")
        .await
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(first.next().await, Ok(Frame::Element(_))));
    }
    let mut second = first.restart("acme.test").await.unwrap();
    peer.write_all(format!(" \n{HEADER}\n<stream:features/>\n").as_bytes()).await.unwrap();
    assert!(matches!(second.next().await, Ok(Frame::Element(_))));
    assert!(second.into_transport().is_ok());
}
