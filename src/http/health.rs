//! `/livez` and `/readyz`: whether the process works, and whether it does its work.
//!
//! Must not know anything beyond the board.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::board::{Board, View};
use crate::domain::status::{AccountState, StoreFault};

/// How many accounts are named; the rest is a number.
const NAMED: usize = 100;

/// 200 while the process works.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// 200 while ready, else 503 with the reasons, one per line, or as JSON where `Accept` asks for it.
pub async fn ready(board: web::Data<Board>, request: HttpRequest) -> HttpResponse {
    let reasons = reasons(&board.view());
    let ready = reasons.is_empty();
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if wants_json(&request) {
        response.json(Readiness { ready, reasons })
    } else if ready {
        response.body("ok\n")
    } else {
        response.body(reasons.join("\n") + "\n")
    }
}

/// The answer as JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Readiness {
    /// Whether the daemon does its work.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// Why the daemon is not ready; nothing if it is. Without the `why` texts, for nobody had to show a token.
pub fn reasons(view: &View) -> Vec<String> {
    let mut reasons = Vec::new();
    if view.draining {
        reasons.push("the daemon is stopping".to_owned());
    }
    if !view.store_open {
        reasons.push("the store is not open".to_owned());
    }
    if let Some(fault) = view.store_fault {
        reasons.push(format!("events cannot be committed: {}", explained(fault)));
    }
    let full = view.sinks.iter().filter(|(_, status)| status.blocking);
    reasons.extend(full.map(|(name, _)| format!("the queue of sink {name} is full and receiving stops for it")));
    let mut absent = view.accounts.iter().filter(|(_, status)| !settled(status.state));
    let named = absent.by_ref().take(NAMED);
    reasons.extend(named.map(|(name, status)| format!("account {name} is {}", status.state)));
    let more = absent.count();
    if more > 0 {
        reasons.push(format!("and {more} more accounts are not online"));
    }
    reasons
}

fn explained(fault: StoreFault) -> &'static str {
    match fault {
        StoreFault::Full => "no space is left for the database",
        StoreFault::Io => "the disk fails",
        StoreFault::Busy => "another process holds the database",
        StoreFault::Refused => "the database refuses them",
        StoreFault::Corrupt => "the database is damaged",
        StoreFault::Sync => "the disk could not make sure that what was written is there",
        StoreFault::Moved => "the database was removed or moved away while the router runs",
        StoreFault::Gone => "the thread that writes the database is gone",
    }
}

/// A refused account is an operator's business: it must not keep the others from being served.
fn settled(state: AccountState) -> bool {
    match state {
        AccountState::Online | AccountState::Refused | AccountState::Disabled => true,
        AccountState::Connecting | AccountState::Authorizing | AccountState::Waiting => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::board::{AccountStatus, SinkStatus};

    fn view(fleet: impl IntoIterator<Item = (String, AccountState)>) -> View {
        let why = || Some("secret place".to_owned());
        let status = |state| AccountStatus { why: why(), ..AccountStatus::new(state, Timestamp::UNIX_EPOCH) };
        let accounts = fleet.into_iter().map(|(name, state)| (name.parse().unwrap(), status(state))).collect();
        View { accounts, store_open: true, ..View::default() }
    }

    #[test]
    fn an_account_that_is_online_refused_or_disabled_holds_nothing_up() {
        for state in AccountState::ALL {
            let reasons = reasons(&view([("front".to_owned(), *state)]));
            let expected: Vec<String> = match state {
                AccountState::Online | AccountState::Refused | AccountState::Disabled => Vec::new(),
                AccountState::Connecting | AccountState::Authorizing | AccountState::Waiting => {
                    vec![format!("account front is {state}")]
                }
            };
            assert_eq!(reasons, expected);
        }
    }

    #[test]
    fn a_closed_store_and_a_stop_are_reasons_of_their_own() {
        let view = View { draining: true, ..View::default() };
        assert_eq!(reasons(&view), ["the daemon is stopping", "the store is not open"]);
    }

    #[test]
    fn a_store_that_cannot_be_written_and_a_full_queue_that_blocks_are_reasons() {
        let mut view = view([]);
        view.store_fault = Some(StoreFault::Full);
        let status = SinkStatus { blocking: true, ..SinkStatus::new("file") };
        view.sinks.insert("log".parse().unwrap(), status);
        assert_eq!(
            reasons(&view),
            [
                "events cannot be committed: no space is left for the database",
                "the queue of sink log is full and receiving stops for it"
            ]
        );
    }

    #[test]
    fn a_large_fleet_is_named_in_part() {
        let view = view((0..250).map(|n| (format!("a{n}"), AccountState::Connecting)));
        let reasons = reasons(&view);
        assert_eq!(reasons.len(), NAMED + 1);
        assert_eq!(reasons[NAMED], "and 150 more accounts are not online");
    }
}
