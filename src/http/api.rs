//! `/api/v1/*`: the board, the counts and the last hour as JSON.
//!
//! `openapi.json` describes it, `/api/v1/events` included. Must not know anything beyond board and metrics.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::worst;
use crate::board::{AccountStatus, Board, SinkStatus, SubscriptionStatus, View};
use crate::domain::name::{AccountName, NodeName, SinkName};
use crate::domain::status::{AccountState, SubscriptionState};
use crate::metrics::Metrics;
use crate::metrics::totals::Dropped;
use listing::{Facts, Misunderstood, Wish};

mod listing;
pub mod openapi;
pub mod summary;

/// An account.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Account {
    /// Its name in the configuration.
    #[schemars(with = "String")]
    pub name: AccountName,
    /// How it is.
    #[serde(flatten)]
    pub status: AccountStatus,
}

/// A subscription.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Subscription {
    /// The account's name.
    #[schemars(with = "String")]
    pub account: AccountName,
    /// Short name of the service.
    pub service: String,
    /// The subscribed node.
    #[schemars(with = "String")]
    pub node: NodeName,
    /// How it is.
    #[serde(flatten)]
    pub status: SubscriptionStatus,
}

/// A sink.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sink {
    /// Its name in the configuration.
    #[schemars(with = "String")]
    pub name: SinkName,
    /// Its `type` in the configuration; empty where it is not configured.
    pub r#type: &'static str,
    /// Whether the configuration has it: a `state` other than `not configured`.
    pub configured: bool,
    /// False from a failed delivery until the next that succeeds, and where it is not configured: whether `state` is `up`.
    pub up: bool,
    /// When anything that failed is tried next, while anything waits for that.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_try: Option<Timestamp>,
    /// Events that were dropped for it since the start.
    pub dropped: Dropped,
    /// How it is.
    #[serde(flatten)]
    pub status: SinkStatus,
}

impl Sink {
    /// Returns the rows of all sinks, by name: what the API, `status` and the page tell of them is this.
    pub fn all(view: &View, metrics: &Metrics) -> Vec<Self> {
        let row = |(name, status): (&SinkName, &SinkStatus)| Self {
            name: name.clone(),
            r#type: status.kind,
            configured: status.is_configured(),
            up: status.is_up(),
            next_try: status.next_try(),
            // One that is not configured has no series.
            dropped: if status.is_configured() { metrics.dropped_for(name.as_str()) } else { Dropped::default() },
            status: status.clone(),
        };
        view.sinks.iter().map(row).collect()
    }
}

/// The configured accounts: all, or those asked for.
pub async fn accounts(board: web::Data<Board>, request: HttpRequest) -> HttpResponse {
    let wish = match Wish::read(request.query_string(), AccountState::named) {
        Ok(wish) => wish,
        Err(fault) => return misunderstood(&fault),
    };
    let view = board.view();
    let wanted = |(name, status): &(&AccountName, &AccountStatus)| {
        let why = view.why(name, status);
        let texts = [status.jid.as_deref(), why.as_deref(), None];
        wish.admits(&Facts { account: name.as_str(), state: status.state, blind: status.blind.is_some(), texts })
    };
    let page = wish.page(view.accounts.iter().filter(wanted).collect(), |(_, status)| worst::account(status));
    let page = page.map(|(name, status)| Account {
        name: name.clone(),
        status: AccountStatus { why: view.why(name, status), ..status.clone() },
    });
    drop(view); // nobody waits for the text to be written
    page.answer()
}

/// The subscriptions there are or should be: all, or those asked for.
pub async fn subscriptions(board: web::Data<Board>, request: HttpRequest) -> HttpResponse {
    let wish = match Wish::read(request.query_string(), SubscriptionState::named) {
        Ok(wish) => wish,
        Err(fault) => return misunderstood(&fault),
    };
    let view = board.view();
    let wanted = |((account, service, node), status): &(&(AccountName, String, NodeName), &SubscriptionStatus)| {
        let texts = [Some(service.as_str()), Some(node.as_str()), status.why.as_deref()];
        let blind = !matches!(status.state, SubscriptionState::Active | SubscriptionState::Renewing);
        wish.admits(&Facts { account: account.as_str(), state: status.state, blind, texts })
    };
    let page = wish.page(view.subscriptions.iter().filter(wanted).collect(), |(_, status)| worst::subscription(status));
    let page = page.map(|((account, service, node), status)| Subscription {
        account: account.clone(),
        service: service.clone(),
        node: node.clone(),
        status: status.clone(),
    });
    drop(view);
    page.answer()
}

/// Every configured sink, and those that are not configured any more and are owed something yet.
pub async fn sinks(board: web::Data<Board>, metrics: web::Data<Metrics>) -> HttpResponse {
    let sinks = Sink::all(&board.view(), &metrics);
    HttpResponse::Ok().json(sinks)
}

/// The last hour.
pub async fn history(metrics: web::Data<Metrics>) -> HttpResponse {
    let hour = metrics.history().hour();
    HttpResponse::Ok().json(hour)
}

fn misunderstood(fault: &Misunderstood) -> HttpResponse {
    HttpResponse::BadRequest().body(format!("{fault}\n"))
}
