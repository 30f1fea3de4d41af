//! Where requests may go: https anywhere, plain http only where it cannot leave the machine. Pure.

use std::fmt;
use std::net::IpAddr;

/// A base URL without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    text: String,
    https: bool,
}

impl Endpoint {
    /// Parses `text`; plain http is taken for loopback addresses and for `plain_hosts`.
    pub fn parse(text: &str, plain_hosts: &[&str]) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("endpoint {text:?} {why}"));
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return wrong("starts neither with https:// nor with http://"),
        };
        if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&b)) {
            return wrong("holds a character that has no place in it: no user, no query, no fragment");
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => match v6.split_once(']') {
                Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
                None => return wrong("has no closing bracket"),
            },
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        if host.is_empty() || (!port.is_empty() && port.parse::<u16>().is_err()) {
            return wrong("has no host, or a port that is no number");
        }
        let ip: Option<IpAddr> = host.parse().ok();
        let local = ip.is_some_and(|ip| ip.is_loopback()) || host == "localhost" || plain_hosts.contains(&host);
        if !https && !local {
            return wrong("is plain http and leaves the machine: use https");
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned(), https })
    }

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether TLS protects it.
    pub fn is_https(&self) -> bool {
        self.https
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A container credentials URI: https, loopback, or the link-local addresses of ECS and of EKS Pod Identity
/// (AWS SDKs and Tools Reference Guide, "Container credential provider").
pub(crate) fn container_uri(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text, &["169.254.170.2", "169.254.170.23", "fd00:ec2::23"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_never_leaves_the_machine() {
        for good in [
            "https://sts.eu-west-1.amazonaws.com",
            "http://127.0.0.1:4566",
            "http://127.9.9.9",
            "http://[::1]:80/x",
            "http://localhost:1/",
        ] {
            assert!(Endpoint::parse(good, &[]).is_ok(), "{good} was refused");
        }
        for bad in [
            "",
            "ftp://127.0.0.1",
            "http://sts.amazonaws.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@example.com",
            "http://localhost.example.com",
            "http://169.254.169.254",
            "http://[::1",
            "http://127.0.0.1:99999",
            "https://",
            "https://a b",
            "https://host?x=y",
            "https://host#x",
        ] {
            assert!(Endpoint::parse(bad, &[]).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn containers_have_their_own_link_local_addresses() {
        assert!(container_uri("http://169.254.170.2/v2/credentials/x").is_ok());
        assert!(container_uri("http://[fd00:ec2::23]/v1/credentials").is_ok());
        assert!(container_uri("http://169.254.169.254/").is_err());
    }
}
