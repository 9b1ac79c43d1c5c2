//! Traffic and faults on the running service: the tasks that let them happen in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Simulator;
use super::connection::Shared;
use super::faults::{Fate, Faults};
use super::traffic::{Exchange, Traffic};
use crate::domain::moment::Moment;

/// Calls and trouble that nobody scripted.
impl Simulator {
    /// Makes calls until the simulator stops, or until they are ended.
    pub fn run_traffic(&self, traffic: Traffic) -> Ongoing {
        let (end, ended) = oneshot::channel();
        self.attend(calls(self.shared.clone(), self.calls.clone(), Exchange::new(traffic, Moment::now()), ended));
        Ongoing { end }
    }

    /// Makes trouble until the simulator stops, or until it is ended; shares and rules stay.
    pub fn run_faults(&self, faults: &Faults) -> Ongoing {
        let (end, ended) = oneshot::channel();
        self.shared.act(|board, _| faults.rules(board));
        self.attend(trouble(self.shared.clone(), Fate::new(faults, &self.address.to_string(), Moment::now()), ended));
        Ongoing { end }
    }
}

/// Traffic or trouble that is running. Letting go of it does not end it.
#[derive(Debug)]
pub struct Ongoing {
    end: oneshot::Sender<()>,
}

impl Ongoing {
    /// Starts no more calls and hangs up all there are; strikes no more, and what was left deaf, which nobody could find
    /// out, delivers again.
    pub fn end(self) {
        let _ = self.end.send(());
    }
}

async fn calls(shared: Arc<Shared>, numbers: Arc<AtomicU64>, mut exchange: Exchange, ended: oneshot::Receiver<()>) {
    let ended = until_ended(ended);
    tokio::pin!(ended);
    while let Some(due) = exchange.due() {
        let happened = tokio::select! {
            () = sleep_until(due) => {
                exchange.advance(Moment::now(), || numbers.fetch_add(1, Ordering::Relaxed) + 1)
            }
            () = &mut ended => exchange.hang_up(),
        };
        shared.act(|board, now| {
            for publication in &happened {
                board.publish(publication, now);
            }
        });
    }
}

async fn until_ended(ended: oneshot::Receiver<()>) {
    if ended.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn trouble(shared: Arc<Shared>, mut fate: Fate, ended: oneshot::Receiver<()>) {
    let ended = until_ended(ended);
    tokio::pin!(ended);
    while let Some(due) = fate.due() {
        tokio::select! {
            () = sleep_until(due) => {}
            () = &mut ended => return shared.act(|board, _| board.end_deafness()),
        }
        if let Some(down_for) = shared.act(|board, now| fate.strike(board, now)) {
            shared.restart(down_for).await;
        }
    }
}

async fn sleep_until(due: Moment) {
    let wait: Duration = Moment::now().until(due);
    tokio::time::sleep(wait).await;
}
