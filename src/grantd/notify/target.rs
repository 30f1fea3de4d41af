//! One who is told: how, and of what.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use grantd_provider_api::Secret;
use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::HeaderMap;
use serde_json::json;

use super::event::{Event, Wanted};
use super::{command, http};
use crate::config::{NotifySettings, NotifyWay, Place, notify_address};

/// One who is told.
pub struct Target {
    settings: NotifySettings,
    way: Way,
}

enum Way {
    Webhook { client: Client, url: Secret, key: Option<Box<hmac::Key>> },
    Slack { client: Client, url: Secret },
    Command { argv: Vec<String> },
}

/// Why somebody was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words, without a secret.
    pub why: String,
    /// Whether the target does not want it, rather than being away.
    pub refused: bool,
}

impl Failure {
    pub fn away(why: impl Into<String>) -> Self {
        Self { why: why.into(), refused: false }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Self { why: why.into(), refused: true }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.settings.name).finish()
    }
}

impl Target {
    /// Sets it up; `read` gives the text of a file that holds a secret. Sends nothing.
    ///
    /// # Errors
    /// In words: a file that cannot be read, or does not hold what it must.
    pub fn new(settings: NotifySettings, read: &dyn Fn(&Path) -> Result<Secret, String>) -> Result<Self, String> {
        let at = |problem: String| format!("grantd.toml: notify {:?}: {problem}", settings.name);
        let url = |place: &Place| match place {
            Place::Url(url) => Ok(Secret::new(url.clone())),
            Place::File(path) => {
                let text = read(path)?;
                let text = text.expose().trim();
                notify_address(text).map_err(|problem| format!("{}: {problem}", path.display()))?;
                Ok(Secret::new(text.to_owned()))
            }
        };
        let way = match &settings.way {
            NotifyWay::Webhook { url: place, secret } => {
                let key = secret.as_deref().map(|path| {
                    http::key(read(path)?.expose()).map_err(|problem| format!("{}: {problem}", path.display()))
                });
                Way::Webhook {
                    client: http::client().map_err(at)?,
                    url: url(place).map_err(at)?,
                    key: key.transpose().map_err(at)?.map(Box::new),
                }
            }
            NotifyWay::Slack { url: place } => {
                Way::Slack { client: http::client().map_err(at)?, url: url(place).map_err(at)? }
            }
            NotifyWay::Command { argv } => Way::Command { argv: argv.clone() },
        };
        Ok(Self { settings, way })
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Waits for longer than anybody may configure.
    #[cfg(test)]
    pub(super) fn be_patient(&mut self, timeout: Duration) {
        self.settings.timeout = timeout;
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { name: &self.settings.name, events: &self.settings.events, named_only: self.settings.named_only }
    }

    /// Tells `event` once.
    pub(super) async fn tell(&self, event: &Event, now: Timestamp) -> Result<(), Failure> {
        let timeout: Duration = self.settings.timeout;
        match &self.way {
            Way::Webhook { client, url, key } => {
                let body = event.cloud_event.to_string();
                let signed = key.as_ref().map(|key| http::signature(key, &event.id, now, &body)).unwrap_or_default();
                http::post(client, url, signed, "application/cloudevents+json; charset=UTF-8", body, timeout).await
            }
            Way::Slack { client, url } => {
                let text = if event.loud { format!(":rotating_light: {}", event.text) } else { event.text.clone() };
                let body = json!({ "text": escaped(&text) }).to_string();
                http::post(client, url, HeaderMap::new(), "application/json", body, timeout).await
            }
            Way::Command { argv } => command::run(argv, &format!("{}\n", event.cloud_event), timeout).await,
        }
    }
}

/// Text that Slack shows as it is: what somebody writes into a justification mentions nobody and links nowhere
/// (Slack, "Formatting text for app surfaces": the three characters that have to be escaped).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_mentioned_by_what_somebody_wrote() {
        assert_eq!(escaped("see <!channel> & <http://x>"), "see &lt;!channel&gt; &amp; &lt;http://x&gt;");
    }
}
