//! Where requests may go: https anywhere, plain http only where it cannot leave the machine. Pure.

use std::fmt;

use reqwest::Url;

/// A base URL without user, query or fragment, and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// Parses `text`; plain http is taken for loopback addresses and for `plain_hosts`.
    pub fn parse(text: &str, plain_hosts: &[&str]) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("endpoint {text:?} {why}"));
        let Ok(url) = text.parse::<Url>() else { return wrong("is no URL") };
        let host = url.host_str().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let local = ip.is_ok_and(|ip| ip.is_loopback()) || host == "localhost" || plain_hosts.contains(&host);
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            "http" => return wrong("is plain http and leaves the machine: use https"),
            _ => return wrong("starts neither with https:// nor with http://"),
        }
        let bare = url.username().is_empty() && url.password().is_none();
        if !bare || url.query().is_some() || url.fragment().is_some() {
            return wrong("has a user, a query or a fragment");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_never_leaves_the_machine() {
        for good in ["https://example.com", "http://127.0.0.1:4566", "http://[::1]:80/x/", "http://localhost:1"] {
            assert!(Endpoint::parse(good, &[]).is_ok(), "{good} was refused");
        }
        for bad in [
            "",
            "ftp://127.0.0.1",
            "http://sts.googleapis.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@example.com",
            "http://169.254.169.254",
            "https://user@host",
            "https://host?x=y",
            "https://host#x",
        ] {
            assert!(Endpoint::parse(bad, &[]).is_err(), "{bad} was taken");
        }
        assert!(Endpoint::parse("http://169.254.169.254", &["169.254.169.254"]).is_ok());
    }
}
