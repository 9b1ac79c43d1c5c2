//! Steps as spans, in batches to a collector.
//!
//! What waits is bounded: where the collector is away, or too slow, spans are left out and the log says how many. Must
//! not hold anybody up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use reqwest::{Client, redirect};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{StartError, Step, StepKind};
use crate::domain::identity::Token;
use crate::tls;

/// Spans that may wait.
const WAITING: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// A batch waits this long for more.
const GATHERING: Duration = Duration::from_secs(1);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last one may take; the whole daemon has ten seconds to stop.
const FAREWELL: Duration = Duration::from_secs(1);

const SERVICE: &str = "onsip-router";

pub(super) struct Exporter {
    scope: InstrumentationScope,
    /// None once it is stopped.
    under_way: Mutex<Option<UnderWay>>,
}

struct UnderWay {
    outbox: mpsc::Sender<SpanData>,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(super) fn start(endpoint: &str, instance: &str) -> Result<Self, StartError> {
        let why = |fault: &dyn std::fmt::Display| StartError(fault.to_string());
        let trust = tls::client(None, None).map_err(|fault| why(&fault))?;
        let client = Client::builder()
            .tls_backend_preconfigured(trust)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("onsip-router/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .build()
            .map_err(|fault| why(&fault))?;
        let mut collector = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()
            .map_err(|fault| why(&fault))?;
        let who = [("service.instance.id", instance), ("service.version", env!("CARGO_PKG_VERSION"))];
        let who = who.map(|(name, value)| KeyValue::new(name, value.to_owned()));
        collector.set_resource(&Resource::builder().with_service_name(SERVICE).with_attributes(who).build());
        let (outbox, inbox) = mpsc::channel(WAITING);
        let task = tokio::spawn(hand_over(inbox, collector));
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { scope, under_way: Mutex::new(Some(UnderWay { outbox, task })) })
    }

    pub(super) fn export(&self, step: &Step<'_>) {
        let Some(span) = self.span(step) else { return };
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.as_ref().is_some_and(|under_way| under_way.outbox.try_send(span).is_err()) {
            tracing::warn!(events = 1, "more is traced than the collector takes: spans are left out");
        }
    }

    pub(super) async fn stop(&self) {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(UnderWay { outbox, task }) = under_way {
            drop(outbox);
            let _ = timeout(FAREWELL, task).await; // what is not told by then is lost
        }
    }

    fn span(&self, step: &Step<'_>) -> Option<SpanData> {
        let trace = TraceId::from_hex(step.event.as_str()).ok()?;
        let receive = receive(step.event)?;
        let other = || SpanId::from(rand::random::<u64>());
        let (name, own, parent, kind) = match step.kind {
            StepKind::Receive => ("receive", receive, SpanId::INVALID, SpanKind::Consumer),
            StepKind::Commit => ("commit", other(), receive, SpanKind::Internal),
            StepKind::Deliver => ("deliver", other(), receive, SpanKind::Producer),
        };
        let id = KeyValue::new("cloudevents.event_id", step.event.to_string());
        let details = step.details.iter().map(|(name, value)| KeyValue::new(*name, value.clone()));
        Some(SpanData {
            span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: SystemTime::from(step.from),
            end_time: SystemTime::from(step.to.max(step.from)),
            attributes: std::iter::once(id).chain(details).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: step.fault.clone().map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        })
    }
}

/// The span all others of the event belong to: whoever knows the event's id knows it.
fn receive(event: &Token) -> Option<SpanId> {
    SpanId::from_hex(event.as_str().get(16..)?).ok()
}

/// Exports batch after batch until nobody can tell anything any more.
async fn hand_over(mut inbox: mpsc::Receiver<SpanData>, collector: opentelemetry_otlp::SpanExporter) {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        let gathering = async {
            while let room @ 1.. = BATCH - batch.len()
                && inbox.recv_many(&mut batch, room).await > 0
            {}
        };
        let _ = timeout(GATHERING, gathering).await;
        let spans = batch.len();
        if let Err(fault) = collector.export(std::mem::take(&mut batch)).await {
            tracing::warn!(why = %fault, spans, "the collector does not take traces");
        }
    }
}
