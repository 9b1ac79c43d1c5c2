//! The whole way of a call, from the service to a receiver.

use std::sync::atomic::{AtomicUsize, Ordering};

use cloudevents::event::{AttributesReader, Event};
use standardwebhooks::Webhook;

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Answer, Receiver, status};
use crate::support::stage::*;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn a_call_comes_out_signed_and_in_order_past_a_failure_and_no_secret_is_told() {
    let tries = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Answer { body: format!("{KEY} key=q1w2e3"), ..status(503) },
        _ => status(202),
    });
    let (onsip, anna) = service_with_anna().await;
    let section = format!(
        "type = 'webhook'\nurl = 'http://{}/hooks?key=q1w2e3'\nsecret = '{KEY}'\n\
         when = 'type.startsWith(\"com.onsip.call.\")'",
        receiver.address()
    );
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &section);
    // A proxy of the environment is not used: nobody listens there.
    let nobody = "http://127.0.0.1:9";
    let proxies = [("HTTP_PROXY", nobody), ("http_proxy", nobody), ("ALL_PROXY", nobody), ("all_proxy", nobody)];
    let daemon = Daemon::start(&setup.toml(), &proxies).await;
    daemon.until_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "delivered")], 2).await;
    daemon.until_count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")], 1).await;

    let posts = receiver.received();
    let taken: Vec<Event> = posts[1..].iter().map(|post| serde_json::from_slice(&post.body).unwrap()).collect();
    assert_eq!(taken.iter().map(Event::ty).collect::<Vec<_>>(), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    assert_eq!(posts[0].header("webhook-id"), posts[1].header("webhook-id"), "the same event once more");
    for (post, event) in posts[1..].iter().zip(&taken) {
        assert_eq!(post.header("webhook-id"), event.id());
        Webhook::new(KEY).unwrap().verify(&post.body, &post.headers).unwrap();
    }
    let log = daemon.until_logged("503 Service Unavailable", SOON).await;
    for told in [log, daemon.json("/api/v1/sinks").await.to_string(), daemon.get("/", &[]).await.body] {
        assert!(!told.contains("MfKQ9r8G") && !told.contains("q1w2e3"), "{told}");
    }
}
