//! A table of an issuer: `[issuer]`, whose tokens clouds take, and `[oidc.issuer]`, whose tokens are handed out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_model::KeyAlgorithm;
use serde::Deserialize;

use super::credential;
use super::raw::{ConfigError, seconds};

const FILE: &str = "grantd.toml";

/// The longest URL that AWS takes for an identity provider (IAM API Reference, `CreateOpenIDConnectProvider`).
const LONGEST_URL: usize = 255;

/// An issuer as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its URL, as verifiers have it configured.
    pub url: String,
    /// How its keys sign.
    pub algorithm: KeyAlgorithm,
    /// How long a key signs before the next one is made.
    pub rotate_after: Duration,
    /// How long a key is published before it signs.
    pub publish_ahead: Duration,
    /// The files that its keys come from; they are made here when there is none.
    pub keys: Vec<PathBuf>,
}

/// The same as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    url: String,
    #[serde(default)]
    algorithm: KeyAlgorithm,
    rotate_after: Option<String>,
    publish_ahead: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
}

impl RawIssuer {
    /// Checked; `credential:NAME` stays as it is until [`IssuerSettings::resolve`].
    pub fn parse(self, table: &str) -> Result<IssuerSettings, ConfigError> {
        let wrong = |key: &str, problem: String| ConfigError::new(FILE, format!("{table}.{key}"), problem);
        url(&self.url).map_err(|problem| wrong("url", problem))?;
        let rotate_after = self.rotate_after.as_deref().unwrap_or("90d");
        let publish_ahead = self.publish_ahead.as_deref().unwrap_or("24h");
        for key in &self.keys {
            if !key.starts_with(credential::PREFIX) && !Path::new(key).is_absolute() {
                return Err(wrong("keys", format!("{key:?} is neither an absolute path nor credential:NAME")));
            }
        }
        Ok(IssuerSettings {
            url: self.url,
            algorithm: self.algorithm,
            rotate_after: days(rotate_after, "1h", "365d").map_err(|problem| wrong("rotate_after", problem))?,
            publish_ahead: days(publish_ahead, "0s", "30d").map_err(|problem| wrong("publish_ahead", problem))?,
            keys: self.keys.into_iter().map(PathBuf::from).collect(),
        })
    }
}

impl IssuerSettings {
    /// Puts the path of each credential that is named in its place.
    ///
    /// # Errors
    /// When systemd handed nothing over, or a name cannot be a credential's.
    pub fn resolve(&mut self, table: &str, directory: Option<&Path>) -> Result<(), ConfigError> {
        for path in &mut self.keys {
            if let Some(text) = path.to_str() {
                *path = credential::resolve_one(&format!("{table}.keys"), text, directory)?.into();
            }
        }
        Ok(())
    }
}

/// An issuer's URL is compared letter by letter, so it has one form: no port is needed, no slash at the end
/// (OpenID Connect Discovery 1.0, section 2).
fn url(text: &str) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "{text:?} is not an issuer's URL: write https://, a host in lower case and perhaps a path, without a slash at \
             its end, {LONGEST_URL} characters at most"
        ))
    };
    let Some(rest) = text.strip_prefix("https://").filter(|_| text.len() <= LONGEST_URL) else { return wrong() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let name_ok = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let part_ok = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    let path_ok = path.is_none_or(|path| path.split('/').all(part_ok));
    if name_ok && port_ok && path_ok { Ok(()) } else { wrong() }
}

/// A duration between two bounds; whole days can be written too, and nothing at all as `0s`.
fn days(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let read = |text: &str| -> Result<u64, String> {
        if text == "0s" {
            return Ok(0);
        }
        match text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
            Some(days) => Ok(u64::from(days).saturating_mul(24 * 3_600)),
            None => seconds(text),
        }
    };
    let (value, low, high) = (read(text)?, read(least)?, read(most)?);
    if value < low || value > high {
        return Err(format!("{text} is out of bounds: write a duration from {least} to {most}"));
    }
    Ok(Duration::from_secs(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<IssuerSettings, String> {
        let raw: RawIssuer = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.parse("issuer").map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_is_its_url_and_the_rest_has_defaults() {
        let found = parsed("url = \"https://tokens.example.com/grantd\"").unwrap();
        assert_eq!((found.algorithm, found.keys.len()), (KeyAlgorithm::Rs256, 0));
        assert_eq!(found.rotate_after, Duration::from_secs(90 * 24 * 3_600));
        assert_eq!(found.publish_ahead, Duration::from_secs(24 * 3_600));
        let text = "url = \"https://a\"\nalgorithm = \"ES256\"\nrotate_after = \"12h\"\npublish_ahead = \"0s\"\n\
                    keys = [\"credential:grantd.issuer\", \"/etc/next.pem\"]";
        let mut found = parsed(text).unwrap();
        assert_eq!((found.algorithm, found.publish_ahead), (KeyAlgorithm::Es256, Duration::ZERO));
        assert!(found.resolve("issuer", None).unwrap_err().to_string().contains("issuer.keys"));
        found.resolve("issuer", Some(Path::new("/run/c"))).unwrap();
        assert_eq!(found.keys, [Path::new("/run/c/grantd.issuer"), Path::new("/etc/next.pem")]);
    }

    #[test]
    fn a_url_that_could_be_written_in_two_ways_is_refused() {
        for bad in [
            "http://a",
            "https://",
            "https://a/",
            "https://A",
            "https://a/b/",
            "https://a//b",
            "https://a?x",
            "https://u@a",
            "https://a/#",
            "https://a/..",
            "https://a:b",
            "a",
            "https://a b",
        ] {
            let error = parsed(&format!("url = \"{bad}\"")).unwrap_err();
            assert!(error.contains("issuer.url") && error.contains("https://"), "{bad}: {error}");
        }
        assert!(parsed(&format!("url = \"https://{}\"", "a".repeat(250))).is_err());
        for (key, value) in [("rotate_after", "\"30m\""), ("publish_ahead", "\"31d\""), ("keys", "[\"key.pem\"]")] {
            let error = parsed(&format!("url = \"https://a\"\n{key} = {value}")).unwrap_err();
            assert!(error.contains(&format!("issuer.{key}")), "{error}");
        }
        assert!(parsed("url = \"https://a\"\nalgorithm = \"HS256\"").is_err());
    }
}
