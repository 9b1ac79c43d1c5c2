//! Where events are posted to. A URL often holds a key in its query: nothing but the request itself shows that part.
//!
//! Must not know what is posted.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

use crate::settings::Text;

/// A URL as a setting.
pub(super) const URL: Text = Text { check, pattern: Some("^[hH][tT][tT][pP][sS]?://[^/?#@]+([/?#].*)?$") };

/// A valid `http` or `https` URL with a host and without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Arc<Url>,
    shown: Arc<str>,
}

impl Endpoint {
    /// The whole URL; call it only for the request.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The host, where it is an address and no name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// What is secret about it: its query as a whole, and each value in it that is long enough to be a key.
    pub(super) fn confidential(&self) -> Vec<String> {
        let Some(query) = self.url.query().filter(|query| !query.is_empty()) else { return Vec::new() };
        let raw = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value.to_owned());
        let decoded = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let values = raw.chain(decoded).filter(|value| value.len() >= SHORTEST_KEY);
        std::iter::once(query.to_owned()).chain(values).collect()
    }
}

/// A value shorter than this is a version or a flag, and would black out half of every text.
const SHORTEST_KEY: usize = 4;

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut url =
            Url::parse(text).map_err(|_| "must be a URL, such as https://crm.example.com/hooks".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with https:// or http://".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("must name a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or password; use `token` or `secret`".to_owned());
        }
        url.set_fragment(None);
        let mut shown = url.clone();
        shown.set_query(None);
        Ok(Self { url: url.into(), shown: shown.as_str().into() })
    }
}

fn check(text: &str) -> Result<(), String> {
    text.parse::<Endpoint>().map(drop)
}

/// Scheme, host, port and path.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_goes_out_but_is_never_shown() {
        let endpoint: Endpoint = "https://crm.example.com:8443/hooks?key=a%2Fbcd&v=1#top".parse().unwrap();
        assert_eq!(endpoint.url().as_str(), "https://crm.example.com:8443/hooks?key=a%2Fbcd&v=1");
        assert_eq!(endpoint.to_string(), "https://crm.example.com:8443/hooks");
        assert_eq!(format!("{endpoint:?}"), "\"https://crm.example.com:8443/hooks\"");
        assert_eq!(endpoint.confidential(), ["key=a%2Fbcd&v=1", "a%2Fbcd", "a/bcd"]);
    }

    #[test]
    fn an_address_is_known_however_it_is_written() {
        let address = |text: &str| text.parse::<Endpoint>().unwrap().address();
        for text in ["http://169.254.169.254/", "http://2852039166/", "http://0xA9FEA9FE/", "http://0251.254.169.254/"]
        {
            assert_eq!(address(text), Some("169.254.169.254".parse().unwrap()), "{text}");
        }
        assert_eq!(address("http://[fe80::1]:80/"), Some("fe80::1".parse().unwrap()));
        assert_eq!(address("http://localhost/"), None);
    }

    #[test]
    fn what_is_no_endpoint_says_why_without_repeating_it() {
        for (text, why) in [
            ("crm.example.com/hooks", "must be a URL"),
            ("https://", "must be a URL"),
            ("ftp://crm.example.com/", "must begin with https:// or http://"),
            ("localhost:80", "must begin with https:// or http://"),
            ("https://hunter2@crm.example.com/", "must not hold a user name or password; use `token`"),
            ("https://a:hunter2@crm.example.com/", "must not hold a user name or password; use `token`"),
            ("https://:hunter2@crm.example.com/", "must not hold a user name or password; use `token`"),
        ] {
            let fault = text.parse::<Endpoint>().unwrap_err();
            assert!(fault.starts_with(why) && !fault.contains("hunter2"), "{text}: {fault}");
        }
    }
}
