//! What a receiver gets to see: CloudEvents, signed by Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloudevents::Data;
use cloudevents::event::{AttributesReader, Event, ExtensionValue};
use ed25519_dalek::{Signature, SigningKey, Verifier};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::{event, sink};
use crate::support::receiver::{Received, Receiver, status};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_KEY: &str = "whsec_b3BlbiBzZXNhbWUsIHNhaWQgdGhlIHRoaWVm";

/// Posts what `section` says and returns all that came.
async fn posted(section: &str, count: usize) -> (Receiver, Vec<Received>) {
    let receiver = Receiver::start(|_| status(200));
    let mut sink = sink(&format!("url = 'http://{}/hooks?key=q1w2'\n{section}", receiver.address()));
    let events: Vec<_> = (0..count).map(|number| event(1, number)).collect();
    assert_eq!(sink.deliver(&events).await, vec![Ok(()); count]);
    let posts = receiver.received();
    (receiver, posts)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Undoes the percent-encoding of a header value.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_event_is_one_structured_cloudevent_with_its_id() {
    let (_receiver, received) = posted("", 1).await;
    let [post] = &received[..] else { panic!("{received:?}") };
    assert_eq!(post.target, "/hooks?key=q1w2");
    assert_eq!(post.header("content-type"), "application/cloudevents+json");
    assert_eq!(post.header("webhook-id"), event(1, 0).id.as_ref());
    assert_eq!(post.header("webhook-signature"), "");
    assert_eq!(post.header("authorization"), "");
    assert!(post.header("user-agent").starts_with("onsip-router/"));
    let parsed: Event = serde_json::from_slice(&post.body).unwrap();
    let sent = json_of(&event(1, 0).body);
    assert_eq!(parsed.id(), event(1, 0).id.as_ref());
    assert_eq!(parsed.ty(), "com.onsip.call.requested");
    assert_eq!(parsed.source(), sent["source"].as_str().unwrap());
    assert_eq!(parsed.subject(), Some("leg-1"));
    assert_eq!(parsed.extension("partitionkey"), Some(&ExtensionValue::String("call-1".to_owned())));
    assert_eq!(parsed.data(), Some(&Data::Json(sent["data"].clone())));
}

#[tokio::test]
async fn in_binary_mode_the_attributes_are_headers_and_the_data_is_the_body() {
    let (_receiver, received) = posted("mode = 'binary'", 1).await;
    let [post] = &received[..] else { panic!("{received:?}") };
    assert_eq!(post.header("content-type"), "application/json");
    let attributes = post.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("ce-")?;
        Some((name.to_owned(), Value::from(decoded(value.to_str().unwrap()))))
    });
    let mut whole: serde_json::Map<_, _> = attributes.collect();
    whole.insert("datacontenttype".to_owned(), json!(post.header("content-type")));
    whole.insert("data".to_owned(), serde_json::from_slice(&post.body).unwrap());
    let whole = Value::Object(whole);
    assert_eq!(whole, json_of(&event(1, 0).body), "nothing is lost on the way");
    let parsed: Event = serde_json::from_value(whole).unwrap();
    assert_eq!(parsed.id(), event(1, 0).id.as_ref());
}

#[tokio::test]
async fn attributes_beyond_ascii_are_percent_encoded() {
    let receiver = Receiver::start(|_| status(200));
    let mut sink = sink(&format!("url = 'http://{}/'\nmode = 'binary'", receiver.address()));
    let mut parcel = event(1, 0);
    parcel.body = parcel.body.replace("/acme.test/ann", "/acme.test/Jürgen 100%\\\"").into();
    assert_eq!(sink.deliver(&[parcel]).await, [Ok(())]);
    let source = receiver.received()[0].header("ce-source").to_owned();
    assert_eq!(source, "xmpp:pubsub.active-calls.xmpp.onsip.com?;node=/acme.test/J%C3%BCrgen%20100%25%22");
}

#[tokio::test]
async fn a_batch_is_one_array_in_order_and_posts_are_no_larger_than_asked() {
    let (_receiver, received) = posted("batch = 4\nsecret = 'open sesame'", 10).await;
    let sizes: Vec<_> = received.iter().map(|post| json_array(&post.body).len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let all: Vec<Event> = received.iter().flat_map(|post| json_array(&post.body)).collect();
    let ids: Vec<_> = all.iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(ids, (0..10).map(|number| event(1, number).id.to_string()).collect::<Vec<_>>());
    for post in &received {
        assert_eq!(post.header("content-type"), "application/cloudevents-batch+json");
        let verifier = Webhook::from_bytes(b"open sesame".to_vec()).unwrap();
        verifier.verify(&post.body, &post.headers).unwrap();
    }
}

fn json_array(body: &[u8]) -> Vec<Event> {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn every_key_signs_and_the_reference_implementation_agrees() {
    let pair = SigningKey::from_bytes(&[7; 32]);
    let private = format!("whsk_{}", STANDARD.encode(pair.to_keypair_bytes()));
    for mode in ["structured", "binary"] {
        let section = format!("mode = '{mode}'\nsecret = ['{KEY}', '{OLD_KEY}', '{private}']");
        let (_receiver, received) = posted(&section, 1).await;
        let post = &received[0];
        for key in [KEY, OLD_KEY] {
            Webhook::new(key).unwrap().verify(&post.body, &post.headers).unwrap();
        }
        assert!(Webhook::new("whsec_aHVudGVyMg==").unwrap().verify(&post.body, &post.headers).is_err());
        let signatures: Vec<_> = post.header("webhook-signature").split(' ').collect();
        let [_, _, v1a] = &signatures[..] else { panic!("{signatures:?}") };
        let signature = STANDARD.decode(v1a.strip_prefix("v1a,").unwrap()).unwrap();
        let head = format!("{}.{}.", post.header("webhook-id"), post.header("webhook-timestamp"));
        let signed = [head.as_bytes(), &post.body].concat();
        pair.verifying_key().verify(&signed, &Signature::from_slice(&signature).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_token_is_sent_as_bearer() {
    let (_receiver, received) = posted("token = 'open sesame'", 1).await;
    assert_eq!(received[0].header("authorization"), "Bearer open sesame");
}

#[tokio::test]
async fn the_connection_is_kept() {
    let receiver = Receiver::start(|_| status(200));
    let mut sink = sink(&format!("url = 'http://{}/'", receiver.address()));
    for number in 0..5 {
        assert_eq!(sink.deliver(&[event(1, number)]).await, [Ok(())]);
    }
    let mut ends: Vec<_> = receiver.received().iter().map(|post| post.from).collect();
    ends.dedup();
    assert_eq!(ends.len(), 1);
}
