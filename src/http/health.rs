//! `/livez` and `/readyz`: whether the process works, and whether it does its work.
//!
//! Must not know anything beyond the board.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::board::{Board, View};
use crate::domain::status::AccountState;

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

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
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
    let mut absent = view.accounts.iter().filter(|(_, status)| !settled(status.state));
    let named = absent.by_ref().take(NAMED);
    reasons.extend(named.map(|(name, status)| format!("account {name} is {}", status.state)));
    let more = absent.count();
    if more > 0 {
        reasons.push(format!("and {more} more accounts are not online"));
    }
    reasons
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
    use crate::board::AccountStatus;

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
    fn a_large_fleet_is_named_in_part() {
        let view = view((0..250).map(|n| (format!("a{n}"), AccountState::Connecting)));
        let reasons = reasons(&view);
        assert_eq!(reasons.len(), NAMED + 1);
        assert_eq!(reasons[NAMED], "and 150 more accounts are not online");
    }
}
