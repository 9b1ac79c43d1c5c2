//! `/livez` and `/readyz`: whether the process works, and whether it does its work.
//!
//! Must not know anything beyond the board.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::board::Board;

/// 200 while the process works.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// 200 while ready, else 503 with the reasons, one per line, or as JSON where `Accept` asks for it.
pub async fn ready(board: web::Data<Board>, request: HttpRequest) -> HttpResponse {
    let reasons = board.view().not_ready();
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
