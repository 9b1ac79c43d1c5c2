//! `/api/v1/events`: every event from now on, as server-sent events.
//!
//! Each `data:` is one event, its `id:` the event's. All else is said in comments, so that no reader takes it for an
//! event: that the stream stands, that it still does, and how many events a slow reader lost. Only the newest are kept
//! for who was away: not to lose any is what sinks are for. Must not know who commits events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::feed::{Feed, Told};
use crate::metrics::Metrics;
use choice::Choice;

mod choice;

/// One in so many connections may watch: who does keeps no scraper out.
const WATCHING: usize = 4;
/// A comment so often: below the patience of usual proxies, and what is written finds out that a client has left.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a stop waits until every stream has its end.
const FAREWELL: Duration = Duration::from_millis(250);
/// The first words: a browser that loses the stream comes again after 3 s.
const GREETING: &str = ": connected\nretry: 3000\n\n";

/// The feed as clients watch it.
#[derive(Debug)]
pub struct Live {
    feed: Feed,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    clients: u32,
    ended: watch::Sender<bool>,
    mask_numbers: bool,
}

impl Live {
    /// Shows this feed, with numbers masked or not, to a part of `connections` at once.
    pub fn new(feed: Feed, metrics: Arc<Metrics>, mask_numbers: bool, connections: usize) -> Self {
        let clients = u32::try_from(connections / WATCHING).unwrap_or(u32::MAX).max(1);
        let places = Arc::new(Semaphore::new(clients as usize));
        Self { feed, metrics, places, clients, ended: watch::Sender::default(), mask_numbers }
    }

    /// Ends every stream, and returns once all have their end or were too slow to take it.
    pub async fn end(&self) {
        self.ended.send_replace(true);
        let _ = timeout(FAREWELL, self.places.acquire_many(self.clients)).await;
    }

    /// A place for one more client, if there is one.
    fn admit(&self, choice: Choice, last_seen: Option<&str>) -> Option<Watcher> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.metrics.feed_opened();
        let mut beat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (kept, told) = self.feed.watch_and_recall();
        Some(Watcher {
            kept: choice.begin(kept, last_seen),
            told,
            ended: self.ended.subscribe(),
            metrics: Arc::clone(&self.metrics),
            choice,
            beat,
            mask_numbers: self.mask_numbers,
            _place: place,
        })
    }
}

/// The events that fit the query, until the client leaves or the daemon stops.
pub async fn show(live: web::Data<Live>, request: HttpRequest) -> HttpResponse {
    let choice = match Choice::read(request.query_string()) {
        Ok(choice) => choice,
        Err(fault) => return HttpResponse::BadRequest().body(format!("{fault}\n")),
    };
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream").insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        return response.finish();
    }
    let last_seen = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let Some(watcher) = live.admit(choice, last_seen) else {
        live.metrics.feed_refused();
        return HttpResponse::ServiceUnavailable()
            .insert_header((header::RETRY_AFTER, "10"))
            .body(format!("{} clients watch already, and no more may\n", live.clients));
    };
    let greeting = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(GREETING.as_bytes())) });
    let events = stream::unfold(watcher, |mut watcher| async {
        let text = watcher.next().await?;
        Some((Ok(Bytes::from(text)), watcher))
    });
    response.streaming(futures::StreamExt::chain(greeting, events))
}

/// One client.
struct Watcher {
    /// What it begins with.
    kept: VecDeque<Arc<Told>>,
    told: Receiver<Arc<Told>>,
    ended: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    choice: Choice,
    beat: Interval,
    mask_numbers: bool,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// What it is to read next; nothing at the end.
    async fn next(&mut self) -> Option<String> {
        if let Some(told) = self.kept.pop_front() {
            return Some(event(&told, self.mask_numbers));
        }
        loop {
            tokio::select! {
                biased; // what was told before the end is still shown
                told = self.told.recv() => match told {
                    Ok(told) if self.choice.admits(&told) => return Some(event(&told, self.mask_numbers)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(n)) => {
                        self.metrics.feed_lost(n);
                        return Some(format!(": lost {n}\n\n"));
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.ended.wait_for(|ended| *ended) => return None,
                _ = self.beat.tick() => return Some(":\n\n".to_owned()),
            }
        }
    }
}

/// JSON has no line breaks of its own, so one `data:` holds it.
fn event(told: &Told, mask_numbers: bool) -> String {
    let body = if mask_numbers { told.masked() } else { &told.body };
    format!("id: {}\ndata: {body}\n\n", told.id)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.metrics.feed_closed();
    }
}
