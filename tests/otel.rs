//! Traces, taken by a collector that is this test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;

use support::condition::{SOON, until};
use support::daemon::Daemon;
use support::receiver::{Answer, Received, Receiver, status};
use support::stage::*;

/// A collector that takes everything.
fn collector() -> Receiver {
    Receiver::start(|_| Answer { headers: vec![("content-type", "application/x-protobuf".to_owned())], ..status(200) })
}

fn section(collector: &Receiver, more: &str) -> String {
    format!("[otel]\nendpoint = \"http://{}\"\n{more}", collector.address())
}

/// All spans that came, each with the attributes of who sent it.
fn spans(received: &[Received]) -> Vec<(Vec<KeyValue>, Span)> {
    let mut spans = Vec::new();
    for request in received {
        assert_eq!((request.target.as_str(), request.header("content-type")), ("/v1/traces", "application/x-protobuf"));
        let request = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        for of_resource in request.resource_spans {
            let who = of_resource.resource.unwrap().attributes;
            let all = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            spans.extend(all.map(|span| (who.clone(), span)));
        }
    }
    spans
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()?;
    match value {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The spans of one event, once there are so many of each name.
async fn trace(daemon: &Daemon, collector: &Receiver, event: &Value, count: usize) -> Vec<Span> {
    let id = event["id"].as_str().unwrap();
    let found = until("the whole trace", SOON, async || {
        let mut spans: Vec<_> = spans(&collector.received()).into_iter().map(|(_, span)| span).collect();
        spans.retain(|span| hex(&span.trace_id) == id);
        Some(spans).filter(|spans| spans.len() >= count)
    });
    found.await.unwrap_or_else(|error| daemon.fail(&error))
}

/// The id of a trace as it is written.
fn hex(id: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(id.try_into().unwrap()))
}

#[tokio::test]
async fn an_event_is_one_trace_from_the_socket_to_the_acknowledgement_of_every_sink() {
    let (onsip, anna) = service_with_anna().await;
    let collector = collector();
    let other = "type = \"file\"\npath = \"other.jsonl\"";
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("other", other);
    let daemon = setup.section(&section(&collector, "")).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let event = daemon.until_calls(1).await.remove(0);
    let spans = trace(&daemon, &collector, &event, 4).await;
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (receive, commit, deliver) = (named("receive"), named("commit"), named("deliver"));
    assert_eq!((receive.len(), commit.len(), deliver.len()), (1, 1, 2), "{spans:#?}");
    let root = receive[0];
    assert!(root.parent_span_id.is_empty(), "{root:#?}");
    let about = ["cloudevents.event_id", "cloudevents.event_type", "onsip.account", "onsip.service", "onsip.node"];
    let leaf = leaf(&anna);
    let expected = [event["id"].as_str().unwrap(), "com.onsip.call.requested", "front-desk", "active-calls", &leaf];
    assert_eq!(about.map(|name| text(&root.attributes, name).unwrap()), expected);
    for span in commit.iter().chain(&deliver) {
        assert_eq!(span.parent_span_id, root.span_id);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano, "{spans:#?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:#?}");
    }
    let mut sinks: Vec<_> = deliver.iter().map(|span| text(&span.attributes, "onsip.sink").unwrap()).collect();
    sinks.sort_unstable();
    assert_eq!(sinks, ["log", "other"]);
}

#[tokio::test]
async fn a_try_that_failed_is_a_span_that_says_why_also_after_a_restart() {
    let (onsip, anna) = service_with_anna().await;
    let collector = collector();
    let broken = "type = \"file\"\npath = \"later/events.jsonl\"";
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("broken", broken);
    let mut daemon = setup.section(&section(&collector, "")).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let event = daemon.until_calls(1).await.remove(0);
    let to_broken = |spans: Vec<Span>| -> Vec<Span> {
        spans.into_iter().filter(|span| text(&span.attributes, "onsip.sink") == Some("broken")).collect()
    };
    let failed = to_broken(trace(&daemon, &collector, &event, 4).await);
    let told = failed[0].status.as_ref().unwrap();
    assert!(told.code == 2 && !told.message.is_empty(), "{failed:#?}");

    daemon.terminate().await;
    std::fs::create_dir(daemon.folder().join("later")).unwrap();
    daemon.start_again().await;
    daemon
        .until("a delivery that worked, in the same trace", SOON, async || {
            let spans = to_broken(trace(&daemon, &collector, &event, 4).await);
            spans.into_iter().find(|span| span.status.as_ref().is_none_or(|status| status.code != 2))
        })
        .await;
}

#[tokio::test]
async fn the_collector_learns_who_sends_and_gets_the_headers_of_the_environment() {
    let (onsip, anna) = service_with_anna().await;
    let collector = collector();
    let setup = Setup::of(&onsip).account("front-desk", &anna).section(&section(&collector, ""));
    let environment = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=sesame"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab"),
    ];
    let daemon = Daemon::start(&setup.toml(), &environment).await;
    daemon.until_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let first = until("a request", SOON, async || collector.received().into_iter().next()).await.unwrap();
    assert_eq!(first.header("x-api-key"), "sesame");
    let (who, _) = spans(&[first]).remove(0);
    for (name, value) in
        [("service.name", "onsip-router"), ("service.instance.id", RESOURCE), ("deployment.environment", "lab")]
    {
        assert_eq!(text(&who, name), Some(value), "{who:#?}");
    }
    assert!(!daemon.log().contains("sesame"), "{}", daemon.log());
}

#[tokio::test]
async fn of_many_events_a_part_is_traced_whole() {
    let (onsip, anna) = service_with_anna().await;
    let collector = collector();
    let setup = Setup::of(&onsip).account("front-desk", &anna).section(&section(&collector, "one_in = 4"));
    let mut daemon = setup.start_active(1).await;
    for _ in 0..60 {
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    let events = daemon.until_calls(120).await.len();
    daemon.terminate().await;
    let spans: Vec<_> = spans(&collector.received()).into_iter().map(|(_, span)| span).collect();
    let of = |name: &str| {
        let mut ids: Vec<_> = spans.iter().filter(|span| span.name == name).map(|span| hex(&span.trace_id)).collect();
        ids.sort();
        ids
    };
    let traced = of("receive");
    assert!(traced.len() > 4 && traced.len() < events / 2, "{} of {events}", traced.len());
    assert_eq!((of("commit"), of("deliver")), (traced.clone(), traced));
}

#[tokio::test]
async fn a_collector_that_is_away_disturbs_nothing_and_is_told_of() {
    let (onsip, anna) = service_with_anna().await;
    let gone = collector().address();
    let section = format!("[otel]\nendpoint = \"http://{gone}\"");
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).section(&section).start_active(1).await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    daemon.until_logged("the collector does not take traces", SOON).await;
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
}
