//! `/`: the status page, plain HTML that needs no script and nothing from elsewhere.
//!
//! Shows the worst first. Must not know anything beyond the board.

use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::board::{Board, View};
use crate::domain::moment::Moment;

mod accounts;
mod markup;
mod sinks;
mod subscriptions;
mod summary;

#[cfg(test)]
mod tests;

const STYLE: &str = include_str!("page/style.css");

/// A browser shows more rows only slowly, and nobody reads them; the API has them all.
const ROWS: usize = 500;

/// The status page as of now.
pub async fn show(board: web::Data<Board>) -> HttpResponse {
    let view = board.view().clone();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page(&view, Moment::now().utc()))
}

/// The content security policy under which the page works: its own style sheet and nothing else.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// The page that shows `view` at `now`.
pub fn page(view: &View, now: Timestamp) -> String {
    let head = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"refresh\" content=\"5\">\n<title>onsip-router</title>\n<style>{STYLE}</style>\n</head>\n"
    );
    [
        &head,
        "<body>\n",
        &summary::summary(view, now),
        "<main>\n",
        &accounts::table(view, now),
        &subscriptions::table(view, now),
        &sinks::table(view, now),
        "</main>\n</body>\n</html>\n",
    ]
    .concat()
}
