//! `/api/v1/*`: the board as JSON, one array of flat objects per kind, in the order of their names.
//!
//! Must not know anything beyond the board.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::board::{AccountStatus, Board, SinkStatus, SubscriptionStatus};
use crate::domain::name::{AccountName, NodeName, SinkName};

#[derive(Serialize)]
struct Account<'a> {
    name: &'a AccountName,
    #[serde(flatten)]
    status: &'a AccountStatus,
}

#[derive(Serialize)]
struct Subscription<'a> {
    account: &'a AccountName,
    service: &'a str,
    node: &'a NodeName,
    #[serde(flatten)]
    status: &'a SubscriptionStatus,
}

#[derive(Serialize)]
struct Sink<'a> {
    name: &'a SinkName,
    #[serde(flatten)]
    status: &'a SinkStatus,
}

/// Every configured account.
pub async fn accounts(board: web::Data<Board>) -> HttpResponse {
    let accounts = board.view().accounts.clone();
    array(accounts.iter().map(|(name, status)| Account { name, status }))
}

/// Every subscription there is or should be.
pub async fn subscriptions(board: web::Data<Board>) -> HttpResponse {
    let subscriptions = board.view().subscriptions.clone();
    let rows = subscriptions.iter();
    array(rows.map(|((account, service, node), status)| Subscription { account, service, node, status }))
}

/// Every configured sink.
pub async fn sinks(board: web::Data<Board>) -> HttpResponse {
    let sinks = board.view().sinks.clone();
    array(sinks.iter().map(|(name, status)| Sink { name, status }))
}

fn array(rows: impl Iterator<Item: Serialize>) -> HttpResponse {
    HttpResponse::Ok().json(rows.collect::<Vec<_>>())
}
