//! `[[notify]]` of `grantd.toml`: who is told what happened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::credential;
use super::raw::{ConfigError, bounded_duration, plain_name};

const FILE: &str = "grantd.toml";

/// One who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// Its name, by which `@notify` of a policy calls it.
    pub name: String,
    /// How it is told.
    pub way: NotifyWay,
    /// Which events, as kinds or as `grant.*`; those that somebody has to know of when empty.
    pub events: Vec<String>,
    /// Whether it is told of those grants alone whose policy names it.
    pub named_only: bool,
    /// How long one telling may take.
    pub timeout: Duration,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyWay {
    /// A CloudEvent by HTTP POST, signed.
    Webhook {
        /// Where.
        url: Place,
        /// The file with the key that signs, if it is signed.
        secret: Option<PathBuf>,
    },
    /// `{"text": ...}` by HTTP POST, as Slack, Mattermost and others take it.
    Slack {
        /// Where.
        url: Place,
    },
    /// A program of this host, with the CloudEvent at its standard input.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

/// An address, or the file that it stands in when it is itself a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// As written.
    Url(String),
    /// In this file.
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawWay {
    Webhook,
    Slack,
    Command,
}

/// `[[notify]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    name: String,
    #[serde(rename = "type")]
    way: RawWay,
    url: Option<String>,
    url_file: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    named_only: bool,
    timeout: Option<String>,
}

impl RawNotify {
    /// Checked; `credential:NAME` stays as it is until [`NotifySettings::resolve`].
    pub fn parse(self) -> Result<NotifySettings, ConfigError> {
        let table = format!("notify {:?}", self.name);
        let wrong = |key: &str, problem: &str| ConfigError::new(FILE, format!("{table}.{key}"), problem);
        plain_name(&self.name).map_err(|problem| wrong("name", &problem))?;
        if let Some(bad) = self.events.iter().find(|event| !is_pattern(event)) {
            return Err(wrong(
                "events",
                &format!("{bad:?} is no kind of event: write \"grant.request\" or \"grant.*\""),
            ));
        }
        let timeout = self.timeout.as_deref().unwrap_or("10s");
        let timeout = bounded_duration(timeout, "1s", "1m").map_err(|problem| wrong("timeout", &problem))?;
        let way = match self.way {
            RawWay::Command => {
                if self.url.is_some() || self.url_file.is_some() || self.secret.is_some() {
                    return Err(wrong("type", "a command takes argv, and neither url nor secret"));
                }
                if !self.argv.first().is_some_and(|program| Path::new(program).is_absolute()) {
                    return Err(wrong(
                        "argv",
                        "write the program by its absolute path, then its arguments: no shell reads it",
                    ));
                }
                NotifyWay::Command { argv: self.argv }
            }
            RawWay::Webhook | RawWay::Slack if !self.argv.is_empty() => {
                return Err(wrong("argv", "only a command has one"));
            }
            RawWay::Webhook => NotifyWay::Webhook {
                url: place(self.url, self.url_file).map_err(|problem| wrong("url", &problem))?,
                secret: self
                    .secret
                    .map(|file| named_file(&file))
                    .transpose()
                    .map_err(|problem| wrong("secret", &problem))?,
            },
            RawWay::Slack if self.secret.is_some() => {
                return Err(wrong("secret", "Slack checks no signature: the address is the secret, so write url_file"));
            }
            RawWay::Slack => {
                NotifyWay::Slack { url: place(self.url, self.url_file).map_err(|problem| wrong("url", &problem))? }
            }
        };
        Ok(NotifySettings { name: self.name, way, events: self.events, named_only: self.named_only, timeout })
    }
}

impl NotifySettings {
    /// Puts the path of each credential that is named in its place.
    ///
    /// # Errors
    /// When systemd handed nothing over, or a name cannot be a credential's.
    pub fn resolve(&mut self, directory: Option<&Path>) -> Result<(), ConfigError> {
        let files: Vec<&mut PathBuf> = match &mut self.way {
            NotifyWay::Webhook { url, secret } => url.file().into_iter().chain(secret.as_mut()).collect(),
            NotifyWay::Slack { url } => url.file().into_iter().collect(),
            NotifyWay::Command { .. } => Vec::new(),
        };
        for file in files {
            if let Some(text) = file.to_str() {
                *file = credential::resolve_one(&format!("notify {:?}", self.name), text, directory)?.into();
            }
        }
        Ok(())
    }
}

impl Place {
    fn file(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Url(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

fn place(url: Option<String>, file: Option<String>) -> Result<Place, String> {
    match (url, file) {
        (Some(url), None) => address(&url).map(|()| Place::Url(url)),
        (None, Some(file)) => named_file(&file).map(Place::File),
        _ => Err("write one of url and url_file".to_owned()),
    }
}

/// An address that can be told: `https://`, or `http://` to this host itself.
///
/// # Errors
/// In words, without the address: it may be a secret.
pub fn address(text: &str) -> Result<(), String> {
    let wrong = || Err("an address is https://HOST/PATH, or http:// to 127.0.0.1 or [::1]".to_owned());
    let Some((scheme, rest)) = text.split_once("://") else { return wrong() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let plain = !host.is_empty() && !host.contains('@') && text.bytes().all(|b| b.is_ascii_graphic());
    let local = matches!(name, "127.0.0.1" | "[::1]");
    if plain && (scheme == "https" || scheme == "http" && local) { Ok(()) } else { wrong() }
}

fn named_file(text: &str) -> Result<PathBuf, String> {
    if text.starts_with(credential::PREFIX) || Path::new(text).is_absolute() {
        Ok(PathBuf::from(text))
    } else {
        Err(format!("{text:?} is neither an absolute path nor credential:NAME"))
    }
}

fn is_pattern(event: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match event.split_once('.') {
        Some((thing, "*")) => word(thing),
        Some((thing, what)) => word(thing) && what.split('.').all(word),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NotifySettings, String> {
        toml::from_str::<RawNotify>(text).unwrap().parse().map_err(|error| error.to_string())
    }

    #[test]
    fn each_way_is_read() {
        let hook =
            parse("name = \"siem\"\ntype = \"webhook\"\nurl = \"https://x.example/h\"\nsecret = \"credential:hook\"");
        let way = NotifyWay::Webhook {
            url: Place::Url("https://x.example/h".to_owned()),
            secret: Some("credential:hook".into()),
        };
        let expected = NotifySettings {
            name: "siem".to_owned(),
            way,
            events: Vec::new(),
            named_only: false,
            timeout: Duration::from_secs(10),
        };
        assert_eq!(hook, Ok(expected.clone()));
        let mut hook = expected;
        hook.resolve(Some(Path::new("/run/c"))).unwrap();
        assert!(matches!(&hook.way, NotifyWay::Webhook { secret: Some(file), .. } if file == Path::new("/run/c/hook")));
        let slack =
            parse("name = \"chat\"\ntype = \"slack\"\nurl_file = \"/etc/grantd/slack\"\nevents = [\"grant.*\"]");
        assert!(slack.is_ok(), "{slack:?}");
        assert!(parse("name = \"page\"\ntype = \"command\"\nargv = [\"/usr/bin/page\", \"-x\"]").is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("type = \"webhook\"\nurl = \"http://x.example/h\"", "https://"),
            ("type = \"webhook\"\nurl = \"https://u:p@x.example/h\"", "https://"),
            ("type = \"webhook\"", "url_file"),
            ("type = \"webhook\"\nurl = \"https://x.example\"\nurl_file = \"/x\"", "one of"),
            ("type = \"webhook\"\nurl = \"https://x.example\"\nsecret = \"x\"", "absolute"),
            ("type = \"slack\"\nurl = \"https://x.example\"\nsecret = \"/x\"", "url_file"),
            ("type = \"command\"\nargv = [\"page\"]", "absolute"),
            ("type = \"command\"\nargv = [\"/bin/page\"]\nurl = \"https://x.example\"", "neither url"),
            ("type = \"webhook\"\nurl = \"https://x.example\"\nevents = [\"everything\"]", "grant.*"),
            ("type = \"webhook\"\nurl = \"https://x.example\"\ntimeout = \"5m\"", "timeout"),
        ] {
            let error = parse(&format!("name = \"n\"\n{text}")).unwrap_err();
            assert!(error.contains(word) && error.contains("notify \"n\""), "{error}");
        }
        assert!(parse("name = \"a b\"\ntype = \"slack\"\nurl = \"https://x.example\"").unwrap_err().contains("name"));
    }

    #[test]
    fn plain_http_goes_to_this_host_alone() {
        for good in ["https://a.example/x?y=1", "http://127.0.0.1:8080/", "http://[::1]:80/x", "http://[::1]/"] {
            assert_eq!(address(good), Ok(()), "{good}");
        }
        for bad in ["http://a.example", "http://127.0.0.1.a.example", "ftp://127.0.0.1", "https://", "https://a b", "x"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
