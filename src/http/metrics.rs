//! `/metrics`, in the Prometheus text format 0.0.4.
//!
//! Must not know any metric.

use actix_web::{HttpResponse, web};

use crate::board::Board;
use crate::metrics::Metrics;

/// Everything, with the state gauges as the board has them now.
pub async fn show(board: web::Data<Board>, metrics: web::Data<Metrics>) -> HttpResponse {
    // A copy, so that nobody waits for the text to be written.
    let view = board.view().clone();
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.render(&view))
}
