//! The daemon's own settings, `grantd.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::grant_export::{GrantExportSettings, RawGrantExport};
use super::issuer::{IssuerSettings, RawIssuer};
use super::notify::{NotifySettings, RawNotify};
use super::raw::{ConfigError, RawUser, UserLookup, bounded_duration, from_toml};
use super::review::{RawReview, ReviewSettings};
use super::signal::SignalSettings;
use super::signal_raw::{self, RawSignal};
use super::socket::{RawSocket, SocketSettings};

pub(super) const FILE: &str = "grantd.toml";

/// Everything in `grantd.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where state and audit are kept: a directory that only the daemon can enter.
    pub state_dir: PathBuf,
    /// The policy bundle's directory.
    pub policy_dir: PathBuf,
    /// Who has to sign policy bundles, unless anybody may bring one.
    pub policy: Option<PolicySettings>,
    /// The TTL of a lease when its caller names none.
    pub default_ttl: Duration,
    /// Where clients connect.
    pub socket: SocketSettings,
    /// What one client, and all together, may take.
    pub limits: Limits,
    /// Who may do more than use their own grants.
    pub roles: Roles,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Where the metrics are served over TCP, if anywhere: an address of the loopback interface.
    pub metrics: Option<SocketAddr>,
    /// Who is told what happens.
    pub notify: Vec<NotifySettings>,
    /// When what is granted again and again is reviewed.
    pub review: ReviewSettings,
    /// Where facts are looked up that policy rests on.
    pub signals: Vec<SignalSettings>,
    /// The issuer whose tokens clouds take in place of a secret, if there is one.
    pub issuer: Option<IssuerSettings>,
    /// The issuer whose tokens are handed out, if there is one: the table `issuer` in `[oidc]`.
    pub oidc_issuer: Option<IssuerSettings>,
    /// How grants are handed to other hosts, if they are.
    pub grant_export: Option<GrantExportSettings>,
    /// One table for each cloud, by `aws`, `azure`, `gcp` and `oidc`; each adapter parses its own.
    pub providers: BTreeMap<String, toml::Table>,
}

/// Whose signatures a policy bundle needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// The list of signers, as ssh-keygen(1), "ALLOWED SIGNERS", says. Never a part of the bundle.
    pub signers: PathBuf,
    /// How many different ones, at least 1.
    pub threshold: u32,
}

/// What one client, and all together, may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections in all.
    pub connections: u32,
    /// Open connections of one uid.
    pub connections_per_uid: u32,
    /// Requests per second of one uid, sustained.
    pub requests_per_second: u32,
    /// Requests of one uid at once, before the rate applies.
    pub burst: u32,
    /// The largest request body, in bytes.
    pub body_bytes: u64,
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// How long one request may take from its head to its answer.
    pub request_timeout: Duration,
}

/// Who may do more than use their own grants, by uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// May revoke anything, reload and drain.
    pub administrators: BTreeSet<u32>,
    /// May read every grant, lease and audit record.
    pub auditors: BTreeSet<u32>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The shape of a line.
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info` or `info,grantd=debug`.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads `grantd.toml`; `lookup` finds the uid of a user name. Whatever is left out has the default that the
    /// shipped, commented `grantd.toml` shows.
    ///
    /// # Errors
    /// Names the key at fault and says what to write.
    pub fn parse(text: &str, lookup: UserLookup<'_>) -> Result<Self, ConfigError> {
        let mut raw: Raw = from_toml(FILE, text)?;
        let oidc_issuer = raw.oidc.as_mut().and_then(|table| table.remove("issuer")).map(oidc_issuer).transpose()?;
        Ok(Self {
            state_dir: absolute("state_dir", &raw.state_dir)?,
            policy: raw.policy.map(|policy| policy.parse(&raw.policy_dir)).transpose()?,
            policy_dir: absolute("policy_dir", &raw.policy_dir)?,
            default_ttl: duration("default_ttl", &raw.default_ttl, "1s", "12h")?,
            socket: raw.socket.parse()?,
            limits: raw.limits.parse()?,
            roles: raw.roles.parse(lookup)?,
            log: LogSettings { format: raw.log.format, filter: raw.log.filter },
            metrics: raw.metrics.parse()?,
            notify: notified(raw.notify)?,
            review: raw.review.parse()?,
            signals: signal_raw::parse_all(raw.signal)?,
            issuer: raw.issuer.map(|issuer| issuer.parse("issuer")).transpose()?,
            oidc_issuer,
            grant_export: raw.grant_export.map(RawGrantExport::parse).transpose()?,
            providers: [("aws", raw.aws), ("azure", raw.azure), ("gcp", raw.gcp), ("oidc", raw.oidc)]
                .into_iter()
                .filter_map(|(cloud, table)| Some((cloud.to_owned(), table?)))
                .collect(),
        })
    }
}

fn notified(raw: Vec<RawNotify>) -> Result<Vec<NotifySettings>, ConfigError> {
    let mut all: Vec<NotifySettings> = Vec::new();
    for raw in raw {
        let one = raw.parse()?;
        if all.iter().any(|other| other.name == one.name) {
            return Err(ConfigError::new(FILE, format!("notify {:?}", one.name), "the name stands twice"));
        }
        all.push(one);
    }
    Ok(all)
}

fn oidc_issuer(table: toml::Value) -> Result<IssuerSettings, ConfigError> {
    let raw: RawIssuer =
        table.try_into().map_err(|error: toml::de::Error| ConfigError::new(FILE, "oidc.issuer", error.to_string()))?;
    raw.parse("oidc.issuer")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    state_dir: PathBuf,
    policy_dir: PathBuf,
    policy: Option<RawPolicy>,
    default_ttl: String,
    socket: RawSocket,
    limits: RawLimits,
    roles: RawRoles,
    log: RawLog,
    metrics: RawMetrics,
    notify: Vec<RawNotify>,
    review: RawReview,
    signal: Vec<RawSignal>,
    issuer: Option<RawIssuer>,
    grant_export: Option<RawGrantExport>,
    aws: Option<toml::Table>,
    azure: Option<toml::Table>,
    gcp: Option<toml::Table>,
    oidc: Option<toml::Table>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/grantd".into(),
            policy_dir: "/etc/grantd/policy".into(),
            policy: None,
            default_ttl: "5m".to_owned(),
            socket: RawSocket::default(),
            limits: RawLimits::default(),
            roles: RawRoles::default(),
            log: RawLog::default(),
            metrics: RawMetrics::default(),
            notify: Vec::new(),
            review: RawReview::default(),
            signal: Vec::new(),
            issuer: None,
            grant_export: None,
            aws: None,
            azure: None,
            gcp: None,
            oidc: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    signers: PathBuf,
    threshold: u32,
}

impl RawPolicy {
    fn parse(self, policy_dir: &Path) -> Result<PolicySettings, ConfigError> {
        let signers = absolute("policy.signers", &self.signers)?;
        if signers.starts_with(policy_dir) {
            let problem = "it lies in policy_dir, so whoever edits policy could sign it: lay it elsewhere";
            return Err(ConfigError::new(FILE, "policy.signers", problem));
        }
        number("policy.threshold", self.threshold, 1, 100)?;
        Ok(PolicySettings { signers, threshold: self.threshold })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawMetrics {
    listen: Option<String>,
}

impl RawMetrics {
    /// Nobody proves who asks there, so nobody outside the host may ask.
    fn parse(self) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(text) = self.listen else { return Ok(None) };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
            _ => {
                let problem = format!(
                    "{text:?} is not an address of the loopback interface: write for instance \"127.0.0.1:9464\""
                );
                Err(ConfigError::new(FILE, "metrics.listen", problem))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    connections: u32,
    connections_per_uid: u32,
    requests_per_second: u32,
    burst: u32,
    body_bytes: u64,
    header_timeout: String,
    request_timeout: String,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_uid: 64,
            requests_per_second: 50,
            burst: 100,
            body_bytes: 65536,
            header_timeout: "5s".to_owned(),
            request_timeout: "30s".to_owned(),
        }
    }
}

impl RawLimits {
    fn parse(self) -> Result<Limits, ConfigError> {
        number("limits.connections", self.connections, 1, 65_536)?;
        // One uid may take every place, but to write more than there are is a mistake.
        number("limits.connections_per_uid", self.connections_per_uid, 1, self.connections)?;
        number("limits.requests_per_second", self.requests_per_second, 1, 100_000)?;
        number("limits.burst", self.burst, 1, 1_000_000)?;
        number("limits.body_bytes", self.body_bytes, 1024, 1_048_576)?;
        Ok(Limits {
            connections: self.connections,
            connections_per_uid: self.connections_per_uid,
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            body_bytes: self.body_bytes,
            header_timeout: duration("limits.header_timeout", &self.header_timeout, "1s", "1m")?,
            request_timeout: duration("limits.request_timeout", &self.request_timeout, "1s", "10m")?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRoles {
    administrators: Vec<RawUser>,
    auditors: Vec<RawUser>,
}

impl Default for RawRoles {
    fn default() -> Self {
        Self { administrators: vec![RawUser::Name("root".to_owned())], auditors: Vec::new() }
    }
}

impl RawRoles {
    fn parse(self, lookup: UserLookup<'_>) -> Result<Roles, ConfigError> {
        let uids = |key: &str, users: Vec<RawUser>| -> Result<BTreeSet<u32>, ConfigError> {
            users.iter().map(|user| user.resolve(FILE, key, lookup)).collect()
        };
        Ok(Roles {
            administrators: uids("roles.administrators", self.administrators)?,
            auditors: uids("roles.auditors", self.auditors)?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    format: LogFormat,
    filter: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

pub(super) fn absolute(key: &str, path: &Path) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Err(ConfigError::new(
        FILE,
        key,
        format!("{:?} is not an absolute path: write one that begins with /", path.display().to_string()),
    ))
}

fn number<N: PartialOrd + std::fmt::Display>(key: &str, value: N, least: N, most: N) -> Result<(), ConfigError> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(ConfigError::new(FILE, key, format!("{value} is out of bounds: write a whole number from {least} to {most}")))
}

fn duration(key: &str, text: &str, least: &str, most: &str) -> Result<Duration, ConfigError> {
    bounded_duration(text, least, most).map_err(|problem| ConfigError::new(FILE, key, problem))
}

#[cfg(test)]
mod tests {
    use super::super::socket::SocketGroup;
    use super::*;

    fn lookup(name: &str) -> Option<u32> {
        match name {
            "root" => Some(0),
            "audit" => Some(1200),
            _ => None,
        }
    }

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let shipped = Settings::parse(include_str!("../../../config/grantd.toml"), &lookup).unwrap();
        let defaults = Settings::parse("", &lookup).unwrap();
        assert_eq!((shipped.state_dir, shipped.policy_dir), (defaults.state_dir, defaults.policy_dir));
        assert_eq!(shipped.default_ttl, defaults.default_ttl);
        assert_eq!(shipped.limits, defaults.limits);
        assert_eq!(shipped.roles, defaults.roles);
        assert_eq!(shipped.log, defaults.log);
        assert_eq!((shipped.socket.path, shipped.socket.mode), (defaults.socket.path, defaults.socket.mode));
        assert!(defaults.providers.is_empty());
        assert_eq!((shipped.metrics, defaults.metrics), (None, None));
    }

    #[test]
    fn the_metrics_are_told_to_nobody_outside_the_host() {
        for address in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "localhost", "127.0.0.1"] {
            let error =
                Settings::parse(&format!("[metrics]\nlisten = \"{address}\""), &lookup).unwrap_err().to_string();
            assert!(error.contains("metrics.listen") && error.contains(address), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_what_applies() {
        let settings = Settings::parse(
            r#"
                default_ttl = "90s"
                [socket]
                mode = "0666"
                group = 33
                [limits]
                connections = 10
                connections_per_uid = 10
                [roles]
                administrators = [7]
                auditors = ["audit", 1201]
                [log]
                format = "json"
                [metrics]
                listen = "[::1]:9464"
                [aws]
                whatever = { the = "adapter", reads = true }
            "#,
            &lookup,
        )
        .unwrap();
        assert_eq!(settings.default_ttl, Duration::from_secs(90));
        assert_eq!(settings.metrics, "[::1]:9464".parse().ok());
        assert_eq!((settings.socket.mode, settings.socket.group), (0o666, Some(SocketGroup::Gid(33))));
        assert_eq!(settings.roles.administrators, BTreeSet::from([7]));
        assert_eq!(settings.roles.auditors, BTreeSet::from([1200, 1201]));
        assert_eq!(settings.log.format, LogFormat::Json);
        assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["aws"]);
    }

    #[test]
    fn the_issuer_of_tokens_that_are_handed_out_has_a_table_in_that_of_its_adapter() {
        let text = "[issuer]\nurl = \"https://a\"\n[oidc.issuer]\nurl = \"https://b\"\nalgorithm = \"ES256\"\n\
                    [[oidc.account]]\nname = \"services\"";
        let settings = Settings::parse(text, &lookup).unwrap();
        let urls = [settings.issuer, settings.oidc_issuer].map(|issuer| issuer.unwrap().url);
        assert_eq!(urls, ["https://a", "https://b"]);
        assert_eq!(settings.providers["oidc"].keys().collect::<Vec<_>>(), ["account"], "the adapter does not see it");
        for (text, words) in [
            ("[oidc.issuer]\nurl = \"http://b\"", ["oidc.issuer.url", "https://"]),
            ("[oidc]\nissuer = 1", ["oidc.issuer", "invalid type"]),
            ("[oidc.issuer]\nurl = \"https://b\"\nrotate = 1", ["oidc.issuer", "rotate"]),
        ] {
            let error = Settings::parse(text, &lookup).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_names_the_key_and_says_what_to_write() {
        let refused = |text: &str, words: &[&str]| {
            let error = Settings::parse(text, &lookup).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{text}: {error}");
        };
        refused("state_dir = \"var\"", &["state_dir", "begins with /"]);
        refused("default_ttl = \"5\"", &["default_ttl", "30m"]);
        refused("default_ttl = \"13h\"", &["default_ttl", "12h"]);
        refused("ttl = \"5m\"", &["line 1", "ttl"]);
        refused("[oracle]\nx = 1", &["line 1", "oracle"]);
        refused("[socket]\nmode = \"0777\"", &["socket.mode", "0660"]);
        refused("[socket]\nmode = \"0060\"", &["socket.mode", "0660"]);
        refused("[socket]\nmode = \"rw\"", &["socket.mode", "0660"]);
        refused("[socket]\ngroup = \"\"", &["socket.group", "gid"]);
        refused(&format!("[socket]\npath = \"/{}\"", "x".repeat(107)), &["socket.path", "107"]);
        refused("[limits]\nconnections = 0", &["limits.connections", "1 to 65536"]);
        refused("[limits]\nconnections = 8\nconnections_per_uid = 9", &["limits.connections_per_uid", "1 to 8"]);
        refused("[limits]\nburst = -1", &["line 2"]);
        refused("[limits]\nrequests_per_second = 0", &["limits.requests_per_second"]);
        refused("[limits]\nbody_bytes = 10", &["limits.body_bytes", "1024"]);
        refused("[limits]\nheader_timeout = \"2m\"", &["limits.header_timeout", "1m"]);
        refused("[limits]\nrequest_timeout = \"0s\"", &["limits.request_timeout"]);
        refused("[roles]\nadministrators = [\"ghost\"]", &["roles.administrators", "ghost"]);
        refused("[roles]\nauditors = [\"%wheel\"]", &["roles.auditors", "group"]);
        refused("[log]\nformat = \"xml\"", &["line 2", "xml"]);
    }
}
