//! `/`: the status page, one document that needs nothing from elsewhere; its script lives on the API.
//!
//! Where there is no script, the worst of everything stands in the page itself. Where a token is needed, a browser gets
//! the same page without any content: it asks for the token, keeps it in its tab, and shows it with every request. Must
//! not know anything beyond what the API tells.

use std::sync::LazyLock;

use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::api::{self, Sink};
use crate::board::{Board, View};
use crate::domain::moment::Moment;
use crate::metrics::Metrics;
use crate::metrics::history::LastMinute;

mod accounts;
mod markup;
mod sinks;
mod subscriptions;
mod summary;

#[cfg(test)]
mod tests;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = concat!(
    include_str!("page/script/element.js"),
    include_str!("page/script/time.js"),
    include_str!("page/script/api.js"),
    include_str!("page/script/summary.js"),
    include_str!("page/script/chart.js"),
    include_str!("page/script/list.js"),
    include_str!("page/script/feed.js"),
    include_str!("page/script/main.js"),
);

/// Rows of each table where there is no script: the page stays small, and the API has them all.
const ROWS: usize = 25;

/// The status page as of now.
pub async fn show(board: web::Data<Board>, metrics: web::Data<Metrics>) -> HttpResponse {
    let (view, last_minute) = (board.view().clone(), metrics.history().last_minute());
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page(&view, &metrics, last_minute, Moment::now()))
}

/// The content security policy under which the page works: its own style and script, and requests to this daemon.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        )
    });
    &POLICY
}

/// The page without any content, for a browser that has shown no token yet.
pub fn locked() -> String {
    let plain = "<p>This page needs script, or the header Authorization: Bearer TOKEN.</p>\n";
    with(plain).replacen("<html lang=\"en\">", "<html lang=\"en\" data-locked>", 1)
}

/// The page that shows `view` and `metrics` at `now`, made of what the API tells.
pub fn page(view: &View, metrics: &Metrics, last_minute: LastMinute, now: Moment) -> String {
    let (whole, utc) = (api::summary::summary(view, metrics, last_minute, now), now.utc());
    let plain = [
        summary::summary(&whole),
        accounts::table(view, utc),
        subscriptions::table(view, utc),
        sinks::table(&Sink::all(view, metrics), utc),
    ];
    with(&plain.concat())
}

/// The page with what is shown where there is no script.
fn with(plain: &str) -> String {
    static PARTS: LazyLock<[String; 2]> = LazyLock::new(|| {
        let (before, after) = PAGE.split_once("{plain}").unwrap_or((PAGE, ""));
        [before.replacen("{style}", STYLE, 1), after.replacen("{script}", SCRIPT, 1)]
    });
    [PARTS[0].as_str(), plain, &PARTS[1]].concat()
}
