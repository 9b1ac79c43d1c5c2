//! Who may ask for what: the token, the methods, and the headers every answer carries.
//!
//! Must not know what is asked for.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use sha2::{Digest, Sha256};

use super::page;
use crate::domain::secret::Secret;

/// What a load balancer and a scraper ask for, who have no token.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What a request must show.
#[derive(Debug)]
pub struct Access {
    token: Option<[u8; 32]>,
}

impl Access {
    /// Asks for `token`, if there is one.
    pub fn new(token: Option<&Secret>) -> Self {
        Self { token: token.map(|token| Sha256::digest(token.expose()).into()) }
    }

    fn admits(&self, path: &str, authorization: Option<&HeaderValue>) -> bool {
        let Some(token) = &self.token else { return true };
        OPEN.contains(&path) || authorization.and_then(bearer).is_some_and(|shown| same(token, shown))
    }
}

fn bearer(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = authorization.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Digests are compared, in full: the time this takes tells nothing about the token.
fn same(token: &[u8; 32], shown: &[u8]) -> bool {
    let shown: [u8; 32] = Sha256::digest(shown).into();
    token.iter().zip(shown).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"))
}

/// Turns away who shows no token (401) or wants to change something (405).
///
/// # Errors
/// Those of the handler behind it.
pub async fn guard<B: MessageBody + 'static>(
    access: web::Data<Access>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let mut response = if !access.admits(request.path(), authorization) {
        let mut refusal = HttpResponse::Unauthorized();
        refusal.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        let refusal = if request.path() == "/" && wants_html(request.headers()) {
            refusal.content_type("text/html; charset=utf-8").body(page::locked())
        } else {
            refusal.body("a token is needed: Authorization: Bearer TOKEN\n")
        };
        request.into_response(refusal)
    } else if *request.method() != Method::GET && *request.method() != Method::HEAD {
        let refusal = HttpResponse::MethodNotAllowed()
            .insert_header((header::ALLOW, "GET, HEAD"))
            .body("only GET and HEAD are allowed\n");
        request.into_response(refusal)
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    protect(response.headers_mut());
    Ok(response)
}

fn protect(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    set(header::CONTENT_SECURITY_POLICY, page::policy());
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(shown: &[u8]) -> bool {
        let access = Access::new(Some(&Secret::from("hunter2".to_owned())));
        access.admits("/", Some(&HeaderValue::from_bytes(shown).unwrap()))
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        assert!(admits(b"Bearer hunter2") && admits(b"bearer hunter2"));
        for bad in ["", "Bearer", "Bearer ", "Bearer hunter", "Bearer hunter22", "Basic hunter2", "hunter2"] {
            assert!(!admits(bad.as_bytes()), "{bad}");
        }
        assert!(!admits(b"Bearer hunter\xff"));
    }

    #[test]
    fn without_a_token_everything_is_open_and_with_one_health_and_metrics_are() {
        assert!(Access::new(None).admits("/api/v1/accounts", None));
        let access = Access::new(Some(&Secret::from("hunter2".to_owned())));
        assert!(["/livez", "/readyz", "/metrics"].iter().all(|path| access.admits(path, None)));
        assert!(["/", "/livez/", "/api/v1/accounts", "/nothing"].iter().all(|path| !access.admits(path, None)));
    }
}
