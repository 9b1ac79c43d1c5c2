//! A running daemon, as commands reach it: over its API.
//!
//! Must not know what is asked for.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::timeout;

use super::ConfigArgs;
use super::table::harmless;
use crate::config::Config;
use crate::domain::limits::{DAEMON_ANSWER, DAEMON_ANSWER_TIME, DAEMON_REFUSAL, SECRET_FILE};
use crate::http::options::Options;
use crate::settings::environment::TOKEN;
use crate::settings::files;
use crate::tls;

/// How long the daemon may take to answer, and a stream to say something.
pub const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// As much of a refusal as is shown.
const LONGEST_REASON: usize = 300;

/// Which daemon; of every command that asks one.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DaemonArgs {
    /// Where the daemon is; without it, where the configuration has it listen
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// File with the token, where one is needed
    ///
    /// Without it the environment variable `ONSIP_ROUTER_TOKEN` is the token, or else `http.token` of the configuration.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A daemon that can be asked.
pub struct Daemon {
    client: Client,
    url: Url,
    has_token: bool,
}

/// Why there is no answer that is any good.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It may be reached later.
    #[error("{0}")]
    Away(String),
    /// It said no, and will again.
    #[error("{0}")]
    Refused(String),
}

impl DaemonArgs {
    /// The daemon that is meant.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn daemon(&self) -> Result<Daemon> {
        let configured = self.configured()?;
        let url = match (&self.url, &configured) {
            (Some(url), _) => url.clone(),
            (None, Some(options)) if options.listen.port() == 0 => {
                bail!("http.listen has port 0, which is another one at each start: say --url")
            }
            (None, Some(options)) => address(options.listen).parse()?,
            (None, None) => "http://127.0.0.1:9464".parse()?,
        };
        // No argument: those everybody on the machine can see.
        let token = match (&self.token_file, std::env::var(TOKEN).ok()) {
            (Some(path), _) => {
                let text = files::read_text(path, SECRET_FILE);
                let text = text.with_context(|| format!("--token-file {}", path.display()))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, Some(token)) => Some(token),
            (None, None) => configured.and_then(|options| options.token).map(|token| token.expose().to_owned()),
        };
        Daemon::new(url, token.as_deref())
    }

    /// What the configuration says, unless both are said here, or there is none.
    fn configured(&self) -> Result<Option<Options>> {
        let named = !self.config.paths.is_empty();
        if !named && self.url.is_some() {
            return Ok(None);
        }
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        match Config::load_http(&self.config.paths, variables) {
            Ok(options) => Ok(Some(options)),
            Err(problems) if named => Err(anyhow!("{problems}")),
            Err(_) => Ok(None),
        }
    }
}

/// A daemon that listens everywhere is here too.
fn address(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
    }
    format!("http://{listen}")
}

impl Daemon {
    fn new(url: Url, token: Option<&str>) -> Result<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            bail!("--url must begin with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            bail!("--url must be without user and password: the daemon asks for a token only");
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| anyhow!("the token has signs that no token has"))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client(None, None)?)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none()) // the token is for nobody else
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(PATIENCE)
            .build()?;
        Ok(Self { client, url, has_token: token.is_some() })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Asks for what is at `path`, chosen by `query`.
    ///
    /// # Errors
    /// Whatever is no answer with status 200.
    pub async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response, NoAnswer> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.get(url);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|fault| self.away(&fault))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(self.refused(status, answer).await),
        }
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// As [`Self::get`], or if it is something else, or has no end.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        let strange = |what: &dyn Display| {
            NoAnswer::Refused(format!("{}{path} is nothing of an onsip-router: {what}", self.place()))
        };
        let (mut answer, mut text) = (self.get(path, &[], None).await?, Vec::new());
        match timeout(DAEMON_ANSWER_TIME, read_on(&mut answer, &mut text, DAEMON_ANSWER)).await {
            Ok(Ok(true)) => serde_json::from_slice(&text).map_err(|fault| strange(&fault)),
            Ok(Ok(false)) => Err(strange(&format_args!("it is longer than {} MiB", DAEMON_ANSWER >> 20))),
            Ok(Err(fault)) => Err(self.away(&fault)),
            Err(_) => Err(strange(&format_args!("it had no end after {} s", DAEMON_ANSWER_TIME.as_secs()))),
        }
    }

    /// What is at the bottom of a fault of the connection.
    pub fn away(&self, fault: &reqwest::Error) -> NoAnswer {
        let mut deepest: &dyn std::error::Error = fault;
        while let Some(deeper) = deepest.source() {
            deepest = deeper;
        }
        let what = if fault.is_connect() { "cannot reach" } else { "no answer from" };
        NoAnswer::Away(format!("{what} {}: {deepest}", self.place()))
    }

    async fn refused(&self, status: StatusCode, mut answer: Response) -> NoAnswer {
        let place = self.place();
        match status {
            StatusCode::UNAUTHORIZED if self.has_token => {
                NoAnswer::Refused(format!("{place} does not accept this token (401)"))
            }
            StatusCode::UNAUTHORIZED => NoAnswer::Refused(format!(
                "{place} wants a token (401): --token-file FILE, ONSIP_ROUTER_TOKEN, or --config with its http.token"
            )),
            StatusCode::NOT_FOUND => {
                NoAnswer::Refused(format!("{place} is no onsip-router, or an older one than this (404)"))
            }
            status => {
                // As much of it as came: the status has said what counts.
                let mut text = Vec::new();
                let _ = timeout(PATIENCE, read_on(&mut answer, &mut text, DAEMON_REFUSAL)).await;
                let reason: String =
                    harmless(String::from_utf8_lossy(&text).trim()).chars().take(LONGEST_REASON).collect();
                let what = format!("{place}: {status}: {reason}");
                if status.is_server_error() { NoAnswer::Away(what) } else { NoAnswer::Refused(what) }
            }
        }
    }
}

/// Reads `most` bytes of an answer into `text`, which holds what came so far wherever this is given up; returns whether these
/// are all of it.
async fn read_on(answer: &mut Response, text: &mut Vec<u8>, most: usize) -> Result<bool, reqwest::Error> {
    while let Some(chunk) = answer.chunk().await? {
        let room = most - text.len();
        if chunk.len() > room {
            text.extend_from_slice(&chunk[..room]);
            return Ok(false);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_here() {
        for (listen, expected) in
            [("0.0.0.0:1", "http://127.0.0.1:1"), ("[::]:1", "http://[::1]:1"), ("10.1.2.3:1", "http://10.1.2.3:1")]
        {
            assert_eq!(address(listen.parse().unwrap()), expected);
        }
    }
}
