//! The `[aws]` table of the configuration: read, checked once, and never doubted again. Pure: it opens no file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_provider_api::setting::{Propagation, absolute, account_name, bounded_or, propagation};
use grantd_provider_api::{ErrorKind, ProviderError};
use serde::Deserialize;

use crate::arn::{Arn, is_account_id};
use crate::endpoint::{Endpoint, container_uri};
use crate::limits::{INLINE_POLICIES_CHARACTERS, MAX_CHAINED_SESSION, MAX_SESSION, MIN_SESSION};
use crate::names::{valid_external_id, valid_session_name};
use crate::raw::{RawAccount, RawBase, RawConfig, RawIssue, RawRevocation, RawRole, RawTimeouts, RawWebIdentity};

/// Characters that an inline policy may take when the configuration names no number: what is left of a role's inline
/// policies is for those that grant it something.
const DEFAULT_INLINE_CHARACTERS: usize = 8_192;

/// The least that is of any use.
const LEAST_INLINE_CHARACTERS: usize = 1_024;

/// How long a new version of a boundary takes to be felt. AWS documents no number.
const PROPAGATION: Propagation = Propagation { expected: secs(10), worst: secs(120) };

/// The longest that may be configured.
const LONGEST_PROPAGATION: Propagation = Propagation { expected: secs(900), worst: secs(3_600) };

/// Everything that the adapter was told. Deserialises from the `[aws]` table and is valid once it exists.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) accounts: BTreeMap<String, AccountConfig>,
    pub(crate) timeouts: Timeouts,
    pub(crate) batch_window: Duration,
    pub(crate) write_interval: Duration,
    pub(crate) clock_skew: Duration,
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// One account.
#[derive(Debug, Clone)]
pub(crate) struct AccountConfig {
    pub name: String,
    pub id: String,
    pub partition: String,
    pub region: String,
    /// For STS and IAM both; the partition's own endpoints otherwise.
    pub endpoint: Option<Endpoint>,
    pub base: BaseConfig,
    /// When sessions are made with tokens of the daemon's own.
    pub web_identity: Option<WebIdentity>,
    /// The role that writes boundary documents; the base identity itself otherwise.
    pub revoker: Option<Arn>,
    /// Whether the base is itself an assumed role, so that no session lasts longer than an hour.
    pub chained: bool,
    pub propagation: Propagation,
    pub roles: Vec<RoleConfig>,
}

/// Where the base credentials come from. Always named here, never found in the environment.
#[derive(Debug, Clone)]
pub(crate) enum BaseConfig {
    Profile {
        files: Vec<PathBuf>,
        profile: String,
    },
    Container {
        uri: Endpoint,
        token_file: Option<PathBuf>,
    },
    WebIdentity {
        role: Arn,
        token_file: PathBuf,
        session_name: String,
    },
    InstanceMetadata {
        endpoint: Endpoint,
    },
    /// Nowhere: the daemon becomes the revoker by a token of its own, and is nothing else.
    Issuer,
}

/// What the daemon's own tokens say in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebIdentity {
    /// For whom they are.
    pub audience: String,
    /// About whom they are.
    pub subject: String,
}

/// A role that carries sessions.
#[derive(Debug, Clone)]
pub(crate) struct RoleConfig {
    pub arn: Arn,
    /// Where its sessions are revoked.
    pub revocation: RevocationConfig,
    /// No longer than the role's `MaxSessionDuration`, nor an hour when chained.
    pub max_session: Duration,
    pub tags: bool,
    pub source_identity: bool,
    pub external_id: Option<String>,
}

/// Where the sessions of a role are revoked.
#[derive(Debug, Clone)]
pub(crate) enum RevocationConfig {
    /// In the managed policy that is the role's permissions boundary. Several roles can have the same one.
    Boundary(Arn),
    /// In an inline policy of the role, of at most so many characters. Whoever may write it may also widen the role.
    Inline { characters: usize },
}

impl RoleConfig {
    /// The policy that is its permissions boundary; none when its sessions are revoked in an inline policy.
    pub fn boundary(&self) -> Option<&Arn> {
        match &self.revocation {
            RevocationConfig::Boundary(policy) => Some(policy),
            RevocationConfig::Inline { .. } => None,
        }
    }

    /// The native name of the deny document: the boundary's, or the role's own.
    pub fn scope_name(&self) -> &str {
        match &self.revocation {
            RevocationConfig::Boundary(policy) => policy.as_str(),
            RevocationConfig::Inline { .. } => self.arn.as_str(),
        }
    }
}

/// How long to wait for AWS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub connect: Duration,
    pub read: Duration,
    pub attempt: Duration,
    pub operation: Duration,
}

/// Something in the `[aws]` table is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("aws: {0}")]
pub struct ConfigError(String);

impl From<String> for ConfigError {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<ConfigError> for ProviderError {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, error)
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(what.into()))
}

impl Config {
    /// The names of the configured accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    /// Every file that the adapter will read. Whoever can write one of them can become the daemon's base identity
    /// or its certificate authority: the daemon checks their owners.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let base = self.accounts.values().flat_map(|account| match &account.base {
            BaseConfig::Profile { files, .. } => files.iter().collect(),
            BaseConfig::Container { token_file, .. } => token_file.iter().collect(),
            BaseConfig::WebIdentity { token_file, .. } => vec![token_file],
            BaseConfig::InstanceMetadata { .. } | BaseConfig::Issuer => Vec::new(),
        });
        base.chain(&self.ca_bundle).map(PathBuf::as_path)
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let default = propagation(raw.propagation.as_ref(), PROPAGATION, LONGEST_PROPAGATION)?;
        let mut accounts = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for raw in raw.account {
            let account = account(raw, default)?;
            if !ids.insert((account.partition.clone(), account.id.clone())) {
                return wrong(format!("account id {} is configured twice: each account has one writer", account.id));
            }
            if let Some(twin) = accounts.insert(account.name.clone(), account) {
                return wrong(format!("account name \"{}\" is used twice", twin.name));
            }
        }
        if let Some(path) = raw.ca_bundle.as_deref() {
            absolute("ca_bundle", path)?;
        }
        Ok(Self {
            accounts,
            timeouts: timeouts(raw.timeouts)?,
            batch_window: bounded_or(
                "batch_window",
                raw.batch_window,
                Duration::from_millis(200),
                Duration::ZERO,
                secs(10),
            )?,
            write_interval: bounded_or("write_interval", raw.write_interval, secs(1), Duration::ZERO, secs(60))?,
            clock_skew: bounded_or("clock_skew", raw.clock_skew, secs(60), secs(1), secs(300))?,
            ca_bundle: raw.ca_bundle,
        })
    }
}

fn account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    let name = raw.name.clone();
    account_name(&name)?;
    checked_account(raw, default).map_err(|error| ConfigError(format!("account \"{name}\": {}", error.0)))
}

fn checked_account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    let name = raw.name;
    if !is_account_id(&raw.id) {
        return wrong(format!("id {:?} is not twelve digits", raw.id));
    }
    let partition = raw.partition.unwrap_or_else(|| "aws".to_owned());
    if !matches!(partition.as_str(), "aws" | "aws-cn" | "aws-us-gov") {
        return wrong(format!("partition {partition:?} is none of aws, aws-cn, aws-us-gov"));
    }
    let region_ok = raw.region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !region_ok || raw.region.split('-').count() < 3 || raw.region.len() > 32 {
        return wrong(format!("region {:?} does not look like eu-west-1", raw.region));
    }
    let endpoint = raw.endpoint.map(|text| Endpoint::parse(&text, &[])).transpose()?;
    let web_identity = web_identity(raw.issue, raw.web_identity, &name)?;
    let base = match (raw.base, &web_identity) {
        (Some(raw), _) => base(raw, &partition)?,
        (None, Some(_)) => BaseConfig::Issuer,
        (None, None) => {
            let text =
                "it has no base: say where the daemon's credentials come from, or write issue = \"web_identity\"";
            return wrong(text.to_owned());
        }
    };
    let chained = match (&base, raw.chained) {
        // A session that is made with a token is nobody's chain, and the base makes none.
        (_, None) if web_identity.is_some() => false,
        (_, Some(_)) if web_identity.is_some() => {
            return wrong("chained is not for issue = \"web_identity\"".to_owned());
        }
        (BaseConfig::WebIdentity { .. }, Some(false)) => {
            return wrong("chained = false is not true of a web_identity base");
        }
        (_, Some(chained)) => chained,
        // Containers and instances have role credentials too; only long-lived keys are certainly no role.
        (base, None) => !matches!(base, BaseConfig::Profile { .. }),
    };
    let propagation = propagation(raw.propagation.as_ref(), default, LONGEST_PROPAGATION)?;
    let owned = |what: &str, text: &str, kind: &str| -> Result<Arn, ConfigError> {
        let arn = iam_arn(what, text, &partition, kind)?;
        if arn.account() == raw.id {
            return Ok(arn);
        }
        wrong(format!("{what} {arn} is not in account {}", raw.id))
    };
    let revoker = raw.revoker.map(|revoker| owned("revoker.role_arn", &revoker.role_arn, "role/")).transpose()?;
    if matches!(base, BaseConfig::Issuer) && revoker.is_none() {
        let text = "without a base it needs revoker = { role_arn = \"...\" }: nobody could revoke what is issued";
        return wrong(text.to_owned());
    }
    let mut roles: Vec<RoleConfig> = Vec::new();
    for raw in raw.role {
        let role = role(&raw, &owned, chained)?;
        if web_identity.is_some() && role.external_id.is_some() {
            let text =
                format!("role {}: external_id is not for issue = \"web_identity\": AWS takes none there", role.arn);
            return wrong(text);
        }
        if roles.iter().any(|other| other.arn == role.arn) {
            return wrong(format!("role {} is configured twice", role.arn));
        }
        if revoker.as_ref() == Some(&role.arn) {
            return wrong(format!("role {} cannot both carry sessions and revoke them", role.arn));
        }
        roles.push(role);
    }
    if roles.is_empty() {
        return wrong("it has no [[aws.account.role]], so nothing could ever be issued");
    }
    let (id, region) = (raw.id, raw.region);
    Ok(AccountConfig {
        name,
        id,
        partition,
        region,
        endpoint,
        base,
        web_identity,
        revoker,
        chained,
        propagation,
        roles,
    })
}

fn web_identity(
    issue: RawIssue,
    raw: Option<RawWebIdentity>,
    account: &str,
) -> Result<Option<WebIdentity>, ConfigError> {
    let raw = match (issue, raw) {
        (RawIssue::AssumeRole, None) => return Ok(None),
        (RawIssue::AssumeRole, Some(_)) => {
            return wrong("web_identity is of no use without issue = \"web_identity\"");
        }
        (RawIssue::WebIdentity, raw) => raw.unwrap_or_default(),
    };
    let web = WebIdentity {
        audience: raw.audience.unwrap_or_else(|| "sts.amazonaws.com".to_owned()),
        subject: raw.subject.unwrap_or_else(|| format!("grantd:{account}")),
    };
    for (what, text) in [("audience", &web.audience), ("subject", &web.subject)] {
        // They stand in trust policies as they are: no wildcard, and nothing that begins a variable.
        let inside = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b);
        if text.is_empty() || text.len() > 200 || !text.bytes().all(inside) {
            return wrong(format!("web_identity.{what} {text:?} is 1 to 200 letters, digits and +=,.@:/-_"));
        }
    }
    Ok(Some(web))
}

fn role(
    raw: &RawRole,
    owned: &dyn Fn(&str, &str, &str) -> Result<Arn, ConfigError>,
    chained: bool,
) -> Result<RoleConfig, ConfigError> {
    let arn = owned("role.arn", &raw.arn, "role/")?;
    if arn.resource().starts_with("role/aws-reserved/") || arn.resource().starts_with("role/aws-service-role/") {
        return wrong(format!("role {arn} belongs to AWS: it takes no boundary, so its sessions could not be revoked"));
    }
    let revocation = revocation(raw, &arn, owned)?;
    let asked = bounded_or("role.max_session", raw.max_session, secs(3_600), MIN_SESSION, MAX_SESSION)?;
    let max_session = if chained { asked.min(MAX_CHAINED_SESSION) } else { asked };
    if raw.external_id.as_deref().is_some_and(|id| !valid_external_id(id)) {
        return wrong(format!("role {arn}: external_id is 2 to 1224 letters, digits and +=,.@:/-_"));
    }
    let external_id = raw.external_id.clone();
    Ok(RoleConfig { arn, revocation, max_session, tags: raw.tags, source_identity: raw.source_identity, external_id })
}

fn revocation(
    raw: &RawRole,
    role: &Arn,
    owned: &dyn Fn(&str, &str, &str) -> Result<Arn, ConfigError>,
) -> Result<RevocationConfig, ConfigError> {
    match (&raw.boundary, raw.revocation, raw.inline_characters) {
        (Some(policy), None, None) => Ok(RevocationConfig::Boundary(owned("role.boundary", policy, "policy/")?)),
        (None, Some(RawRevocation::Inline), characters) => {
            let characters = characters.unwrap_or(DEFAULT_INLINE_CHARACTERS);
            if (LEAST_INLINE_CHARACTERS..=INLINE_POLICIES_CHARACTERS).contains(&characters) {
                return Ok(RevocationConfig::Inline { characters });
            }
            wrong(format!(
                "role {role}: inline_characters = {characters} is not between {LEAST_INLINE_CHARACTERS} and the \
                 {INLINE_POLICIES_CHARACTERS} that AWS takes for all inline policies of a role"
            ))
        }
        (Some(_), None, Some(_)) => {
            wrong(format!("role {role}: inline_characters is for revocation = \"inline\" only"))
        }
        _ => wrong(format!(
            "role {role} needs exactly one of boundary = \"<policy ARN>\" and revocation = \"inline\": its sessions are \
             revoked there"
        )),
    }
}

fn base(raw: RawBase, partition: &str) -> Result<BaseConfig, ConfigError> {
    Ok(match raw {
        RawBase::Profile { files, profile } => {
            if files.is_empty() || profile.is_empty() {
                return wrong("base: a profile needs its files and its name; the environment is never asked");
            }
            files.iter().try_for_each(|path| absolute("base.files", path))?;
            BaseConfig::Profile { files, profile }
        }
        RawBase::Container { uri, token_file } => {
            token_file.as_deref().map_or(Ok(()), |path| absolute("base.token_file", path))?;
            BaseConfig::Container { uri: container_uri(&uri).map_err(ConfigError)?, token_file }
        }
        RawBase::WebIdentity { role_arn, token_file, session_name } => {
            absolute("base.token_file", &token_file)?;
            if !valid_session_name(&session_name) {
                return wrong(format!("base.session_name {session_name:?} is 2 to 64 letters, digits and +=,.@-_"));
            }
            let role = iam_arn("base.role_arn", &role_arn, partition, "role/")?;
            BaseConfig::WebIdentity { role, token_file, session_name }
        }
        RawBase::InstanceMetadata { allow_instance_metadata_reachable: false, .. } => {
            return wrong(
                "base: instance_metadata gives the host's role to any process that can reach 169.254.169.254, \
                 so every job could take what grantd exists to guard: use another base, or block it for all uids \
                 but the daemon's and then write allow_instance_metadata_reachable = true",
            );
        }
        RawBase::InstanceMetadata { endpoint, .. } => {
            let text = endpoint.as_deref().unwrap_or("http://169.254.169.254");
            let endpoint = Endpoint::parse(text, &["169.254.169.254"]).map_err(ConfigError)?;
            BaseConfig::InstanceMetadata { endpoint }
        }
    })
}

fn iam_arn(what: &str, text: &str, partition: &str, kind: &str) -> Result<Arn, ConfigError> {
    let arn: Arn = text.parse().map_err(|error| ConfigError(format!("{what}: {error}")))?;
    let fits = arn.partition() == partition
        && arn.service() == "iam"
        && arn.region().is_empty()
        && !arn.account().is_empty()
        && arn.resource().starts_with(kind)
        && !arn.name().is_empty();
    if fits { Ok(arn) } else { wrong(format!("{what} {arn} is not arn:{partition}:iam::<account id>:{kind}<name>")) }
}

fn timeouts(raw: Option<RawTimeouts>) -> Result<Timeouts, ConfigError> {
    let raw = raw.unwrap_or(RawTimeouts { connect: None, read: None, attempt: None, operation: None });
    let most = secs(60);
    let least = Duration::from_millis(50);
    let attempt = bounded_or("timeouts.attempt", raw.attempt, secs(6), least, most)?;
    Ok(Timeouts {
        connect: bounded_or("timeouts.connect", raw.connect, secs(2), least, most)?,
        read: bounded_or("timeouts.read", raw.read, secs(5), least, most)?,
        attempt,
        operation: bounded_or("timeouts.operation", raw.operation, secs(12).max(attempt), attempt, most)?,
    })
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
