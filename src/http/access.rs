//! Who may ask for what: the token, the methods, and the headers every answer carries.
//!
//! Where there is no token, whoever reaches the port may ask. A page of the web that an operator has open does not reach it by
//! name: its requests carry the name it was loaded under, whatever address that resolves to by now (DNS rebinding).
//!
//! Must not know what is asked for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use sha2::{Digest, Sha256};

use super::connections::{Answering, Connection};
use super::options::plain;
use super::page;
use super::room::{Full, Room};
use crate::domain::secret::Secret;

/// What a load balancer and a scraper ask for, who have no token.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What a request must show.
#[derive(Debug)]
pub struct Access {
    token: Option<[u8; 32]>,
    hosts: Vec<String>,
}

impl Access {
    /// Asks for `token`, if there is one; if not, answers under `hosts` besides addresses and localhost.
    pub fn new(token: Option<&Secret>, hosts: Vec<String>) -> Self {
        Self { token: token.map(|token| Sha256::digest(token.expose()).into()), hosts }
    }

    /// Whether a request may be asked under the names it carries. Without any it comes from no browser.
    fn knows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if self.token.is_some() {
            return true;
        }
        let named = |name: &HeaderValue| name.to_str().is_ok_and(|name| self.is_own(name));
        headers.get_all(header::HOST).all(named) && uri.authority().is_none_or(|name| self.is_own(name.as_str()))
    }

    /// Whether `host`, perhaps with a port, is an address, localhost, or a name that was allowed.
    fn is_own(&self, host: &str) -> bool {
        if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) || host.parse::<SocketAddr>().is_ok() {
            return true;
        }
        if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let (name, port) = host.split_once(':').unwrap_or((host, "0"));
        let name = plain(name);
        port.parse::<u16>().is_ok() && (name == "localhost" || self.hosts.contains(&name))
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

/// Turns away who asks under a strange name (421), shows no token (401), wants to change something (405), or finds no room
/// for the answer (503).
///
/// # Errors
/// Those of the handler behind it.
pub(super) async fn guard<B: MessageBody + 'static>(
    access: web::Data<Access>,
    room: web::Data<Room>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut answering = request.request().conn_data::<Arc<Connection>>().map(Connection::begin);
    let authorization = request.headers().get(header::AUTHORIZATION);
    let mut response = if !access.knows(request.uri(), request.headers()) {
        let mut refusal = HttpResponse::MisdirectedRequest();
        request.into_response(refusal.body("this host name is not one of http.allowed_hosts\n"))
    } else if !access.admits(request.path(), authorization) {
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
        answer(&room, request, next, answering.as_mut()).await?
    };
    protect(response.headers_mut());
    Ok(match answering {
        Some(answering) => response.map_body(|_, body| answering.with(body)),
        None => response,
    })
}

async fn answer<B: MessageBody + 'static>(
    room: &Room,
    request: ServiceRequest,
    next: Next<B>,
    answering: Option<&mut Answering>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(answering) = answering else { return Ok(next.call(request).await?.map_into_boxed_body()) };
    let taken = match room.take(request.path(), answering).await {
        Ok(taken) => taken,
        Err(full) => return Ok(request.into_response(refusal(&full))),
    };
    let answer = next.call(request).await?.map_into_boxed_body();
    let Some(taken) = taken else { return Ok(answer) };
    match taken.fit(answer.response().body().size(), answering) {
        Ok(()) => Ok(answer),
        Err(full) => Ok(ServiceResponse::new(answer.into_parts().0, refusal(&full))),
    }
}

fn refusal(_: &Full) -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header((header::RETRY_AFTER, "5"))
        .body("too many answers are under way, and not read: ask again\n")
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
        let access = Access::new(Some(&Secret::from("hunter2".to_owned())), Vec::new());
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
    fn c8_without_a_token_only_addresses_localhost_and_allowed_names_are_known() {
        let access = Access::new(None, vec!["router.example".to_owned()]);
        for own in [
            "127.0.0.1",
            "127.0.0.1:9464",
            "10.0.0.7:80",
            "[::1]",
            "[::1]:9464",
            "localhost",
            "LOCALHOST:9464",
            "localhost.",
            "router.example",
            "Router.Example:1",
            "router.example.:9464",
        ] {
            assert!(access.is_own(own), "{own}");
        }
        for strange in [
            "",
            "attacker.example",
            "attacker.example:9464",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "a@127.0.0.1",
            "127.0.0.1@attacker.example",
            "router.example.attacker.example",
            "localhost:x",
            "::1",
            "[::1",
            "127.1",
            "[127.0.0.1]",
            ":9464",
            "0x7f000001",
        ] {
            assert!(!access.is_own(strange), "{strange}");
        }
        let knows = |uri: &str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            access.knows(&uri.parse().unwrap(), &headers)
        };
        assert!(knows("/", &["localhost"]) && knows("/", &[]));
        assert!(!knows("/", &["localhost", "attacker.example"]) && !knows("http://attacker.example/", &["localhost"]));
        assert!(Access::new(Some(&Secret::from("x".to_owned())), Vec::new()).knows(&"/".parse().unwrap(), &{
            let mut headers = HeaderMap::new();
            headers.append(header::HOST, HeaderValue::from_static("attacker.example"));
            headers
        }));
    }

    #[test]
    fn without_a_token_everything_is_open_and_with_one_health_and_metrics_are() {
        assert!(Access::new(None, Vec::new()).admits("/api/v1/accounts", None));
        let access = Access::new(Some(&Secret::from("hunter2".to_owned())), Vec::new());
        assert!(["/livez", "/readyz", "/metrics"].iter().all(|path| access.admits(path, None)));
        assert!(["/", "/livez/", "/api/v1/accounts", "/nothing"].iter().all(|path| !access.admits(path, None)));
    }
}
