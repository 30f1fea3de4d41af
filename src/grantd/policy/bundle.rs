//! The bundle: everything that decides, loaded whole or not at all, under one digest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use grantd_model::{
    Action, Capacity, Decision, Digest, PolicyVersion, Quorum, Signals, Subject, SubjectKind, Tier, canonical_json,
};
use grantd_provider_api::{Capability, CapabilityMap, Cloud, Persistence, Revocation};
use jiff::Timestamp;

use super::checkout;
use super::engine::{Engine, Needs};
use super::glass;
use super::question::{AnchorKind, Facts, Isolation, Question};
use super::seal::{MANIFEST, SIGNATURES, Seal};
use crate::config::{ALLOWED_SIGNERS, Catalog, ConfigError, Host, People, Resource, from_toml};

const SCHEMA: &str = "schema.cedarschema";
const CATALOG: &str = "catalog.toml";
const PEOPLE: &str = "people.toml";
/// In what is kept of a bundle: the people who were in the host's groups when it was loaded. No file has this name.
pub(super) const UNIX_GROUPS: &str = "people.toml: unix groups";
const POLICIES: &str = "policies";
const TESTS: &str = "tests";
const TESTS_BELOW: &str = "tests/";
const ENTITLEMENTS: &str = "entitlements";
const MAPS: [(&str, Cloud); 4] = [
    ("entitlements/aws.toml", Cloud::Aws),
    ("entitlements/azure.toml", Cloud::Azure),
    ("entitlements/gcp.toml", Cloud::Gcp),
    ("entitlements/oidc.toml", Cloud::Oidc),
];

/// A policy bundle that can be decided by.
#[derive(Debug)]
pub struct Bundle {
    /// The digest of `bytes` under `grantd-bundle-v1`.
    pub version: PolicyVersion,
    /// A canonical JSON object of file name to text: what the store keeps, so that the rule that applied can be read
    /// a year later.
    pub bytes: Vec<u8>,
    /// The resources.
    pub catalog: Catalog,
    /// The people and workloads.
    pub people: People,
    /// The entitlement maps, for each cloud that has one.
    pub maps: BTreeMap<Cloud, CapabilityMap>,
    /// The files of cases, by name. Whoever writes policy runs them; the daemon keeps them with what they are for.
    pub tests: BTreeMap<String, String>,
    /// What it says of itself, and who signed it.
    pub seal: Seal,
    pub(super) engine: Engine,
}

/// Why a directory is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy bundle: {file}: {problem}")]
pub struct BundleError {
    /// The file or directory at fault, relative to the bundle.
    pub file: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl From<ConfigError> for BundleError {
    fn from(error: ConfigError) -> Self {
        Self { file: error.file.to_owned(), problem: format!("{}: {}", error.key, error.problem) }
    }
}

impl Bundle {
    /// Loads the bundle in `dir`: `schema.cedarschema`, `policies/*.cedar`, `catalog.toml`, `people.toml`, and where they
    /// are `allowed_signers`, `entitlements/{aws,azure,gcp,oidc}.toml`, `tests/*.toml`, `manifest.toml` and
    /// `signatures/*.sig`.
    ///
    /// `read` gives a file's text and `list` the names in a directory; it is for them to refuse what the wrong people
    /// can write. `host` finds the uid of a user name and the members of a group.
    ///
    /// # Errors
    /// When anything in the bundle is wrong, a warning of Cedar's included. Nothing is half loaded.
    pub fn load(
        dir: &Path,
        read: &dyn Fn(&Path) -> Result<String, String>,
        list: &dyn Fn(&Path) -> Result<Vec<String>, String>,
        host: Host<'_>,
    ) -> Result<Self, BundleError> {
        let mut bundle = Self::parse(read_files(dir, read, list)?, host)?;
        if bundle.seal.commit.is_none() {
            bundle.seal.commit = checkout::commit(dir, read);
        }
        Ok(bundle)
    }

    /// Makes a bundle of file names, relative to the bundle, and their texts.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(mut files: BTreeMap<String, String>, host: Host<'_>) -> Result<Self, BundleError> {
        let text = |name: &str| {
            files.get(name).map(String::as_str).ok_or_else(|| error(name, "it is not there: every bundle has one"))
        };
        let mut people = People::parse(text(PEOPLE)?, host)?;
        if let Some(text) = files.get(ALLOWED_SIGNERS) {
            people = people.with_signers(text)?;
        }
        let catalog = Catalog::parse(text(CATALOG)?, &people)?;
        let policies = files.iter().filter(|(name, _)| name.ends_with(".cedar")).map(|(n, t)| (n.as_str(), t.as_str()));
        let engine = Engine::new((SCHEMA, text(SCHEMA)?), policies).map_err(|(file, problem)| error(&file, problem))?;
        fit_to_schema(&engine, &people, &catalog).map_err(|problem| error(SCHEMA, problem))?;
        let mut maps = BTreeMap::new();
        for (name, cloud) in MAPS {
            if let Some(text) = files.get(name) {
                maps.insert(cloud, from_toml::<CapabilityMap>(name, text)?);
            }
        }
        let tests = files.iter().filter(|(name, _)| name.starts_with(TESTS_BELOW));
        let tests = tests.map(|(name, text)| (name.clone(), text.clone())).collect();
        let seal = Seal::of(&mut files).map_err(|(file, problem)| error(&file, problem))?;
        // Who is in a group of the host decides as much as what is written does.
        if !people.unix_groups().is_empty() {
            let text = serde_json::to_string(people.unix_groups()).map_err(|e| error(PEOPLE, e.to_string()))?;
            files.insert(UNIX_GROUPS.to_owned(), text);
        }
        let bytes = canonical_json(&files).map_err(|e| error(".", e.to_string()))?;
        let version = PolicyVersion(Digest::of("grantd-bundle-v1", &bytes));
        Ok(Self { version, bytes, catalog, people, maps, tests, seal, engine })
    }

    /// Everybody whom some policy wants told, by the names that `@notify` has.
    #[must_use]
    pub fn notified(&self) -> BTreeSet<String> {
        self.engine.notified()
    }

    /// The ids of every rule, by file name, then from the top down.
    #[must_use]
    pub fn rules(&self) -> Vec<String> {
        self.engine.rules()
    }

    /// What `question` has to be told yet before it can be decided.
    #[must_use]
    pub fn needs(&self, question: &Question<'_>) -> Needs {
        self.engine.needs(question, &self.people)
    }

    /// The most that some question of `action` could need: every signal that a policy reads, as young as any permit wants
    /// it.
    #[must_use]
    pub fn needs_at_most(&self, action: Action) -> Needs {
        self.engine.needs_at_most(action)
    }

    /// Decides `question`. Whatever cannot be evaluated is denied.
    ///
    /// A use of break-glass is allowed to who is enrolled only, and never for longer than its profile says: that is no
    /// policy's to change.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let mut decision = self.engine.decide(question, &self.people, self.version);
        decision.commit = self.seal.commit.clone();
        if question.action == Action::BreakGlass {
            decision.verdict = glass::bounded(decision.verdict, question, &self.people);
        }
        decision
    }
}

fn error(file: &str, problem: impl Into<String>) -> BundleError {
    BundleError { file: file.to_owned(), problem: problem.into() }
}

fn read_files(
    dir: &Path,
    read: &dyn Fn(&Path) -> Result<String, String>,
    list: &dyn Fn(&Path) -> Result<Vec<String>, String>,
) -> Result<BTreeMap<String, String>, BundleError> {
    let mut names = vec![SCHEMA.to_owned(), CATALOG.to_owned(), PEOPLE.to_owned()];
    for name in visible(list(&dir.join(POLICIES)), POLICIES, |name| name.ends_with(".cedar"))? {
        names.push(format!("{POLICIES}/{name}"));
    }
    // What need not be there is found by looking, so that one which cannot be read is no bundle without it.
    let there = list(dir).map_err(|problem| error(".", problem))?;
    let there = |name: &str| there.iter().any(|found| found == name);
    for (below, end) in [(TESTS, ".toml"), (SIGNATURES, ".sig")] {
        if there(below) {
            for name in visible(list(&dir.join(below)), below, |name| name.ends_with(end))? {
                names.push(format!("{below}/{name}"));
            }
        }
    }
    if there(MANIFEST) {
        names.push(MANIFEST.to_owned());
    }
    let map = |name: &str| MAPS.iter().any(|(file, _)| *file == format!("{ENTITLEMENTS}/{name}"));
    for name in visible(list(&dir.join(ENTITLEMENTS)), ENTITLEMENTS, map)? {
        names.push(format!("{ENTITLEMENTS}/{name}"));
    }
    if list(dir).map_err(|problem| error(".", problem))?.iter().any(|name| name == ALLOWED_SIGNERS) {
        names.push(ALLOWED_SIGNERS.to_owned());
    }
    names
        .into_iter()
        .map(|name| {
            let text = read(&dir.join(&name)).map_err(|problem| error(&name, problem))?;
            Ok((name, text))
        })
        .collect()
}

/// What an upgrade lays beside a file that somebody changed, which is kept and stays in force: dpkg, and our own
/// `make install`.
const LAID_BESIDE: [&str; 4] = [".dpkg-dist", ".dpkg-new", ".dpkg-old", ".new"];

/// The files of a directory, where one that would be passed over is an error: a forbid in a forgotten `limits.cedar.bak`
/// or an `asw.toml` must not vanish in silence. Only hidden files that are nothing of ours may lie there, and what an
/// upgrade laid beside a file that is there: an upgrade must not keep the daemon from starting.
fn visible(
    listed: Result<Vec<String>, String>,
    directory: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<Vec<String>, BundleError> {
    let mut names = listed.map_err(|problem| error(directory, problem))?;
    names.retain(|name| !name.starts_with('.') || ours(name));
    let there: BTreeSet<String> = names.iter().filter(|name| ours(name)).cloned().collect();
    let beside = |name: &str| LAID_BESIDE.iter().filter_map(|end| name.strip_suffix(end)).any(|of| there.contains(of));
    for name in names.extract_if(.., |name| beside(name)) {
        tracing::warn!(file = format!("{directory}/{name}"), "an upgrade left this file: compare it, then remove it");
    }
    match names.iter().find(|name| name.starts_with('.') || !ours(name)) {
        Some(name) => Err(error(&format!("{directory}/{name}"), "this does not belong here: rename or remove it")),
        None => Ok(names),
    }
}

/// Asks the schema for each action whether it can express what the daemon says, so that a schema of another version is
/// refused now and not at every decision.
fn fit_to_schema(engine: &Engine, people: &People, catalog: &Catalog) -> Result<(), String> {
    let somebody = Subject {
        kind: SubjectKind::Human,
        issuer: "unix".to_owned(),
        id: "0".to_owned(),
        name: "somebody".to_owned(),
    };
    let resource = |cloud| Resource {
        name: "something".to_owned(),
        cloud,
        account: "account".to_owned(),
        kind: "object-storage".to_owned(),
        native: "native".to_owned(),
        environment: "environment".to_owned(),
        tier: Tier::Low,
        owners: vec!["somebody".to_owned()],
        stewards: vec!["somebody".to_owned()],
        delegated_admins: vec!["somebody".to_owned()],
        security: vec!["somebody".to_owned()],
        sensitive: false,
        glass: None,
    };
    let capability: Capability = "object-storage:read".parse().map_err(|error| format!("{error}"))?;
    // A schema that knows fewer clouds is good for who has fewer.
    let clouds: BTreeSet<Cloud> = catalog.iter().map(|resource| resource.cloud).chain([Cloud::Aws]).collect();
    let actions = super::engine::ACTIONS;
    for (action, cloud) in actions.into_iter().flat_map(|action| clouds.iter().map(move |cloud| (action, *cloud))) {
        let resource = resource(cloud);
        let facts = Facts {
            capability: capability.clone(),
            duration_seconds: 1,
            timing: super::Timing::default(),
            ttl_seconds: Some(1),
            justification_length: 1,
            ticket: None,
            subject: somebody.clone(),
            requester: somebody.clone(),
            anchor: AnchorKind::None,
            isolation: Isolation::Uid,
            persistence: Persistence::None,
            widens: false,
            revocation: Revocation::Immediate,
            outlives_seconds: 0,
            approvals: Quorum::new(),
            capacity: Some(Capacity::Owner),
            on_behalf_of: Some("somebody".to_owned()),
            asked_to_review: false,
            signals: Signals::new(),
        };
        let question =
            Question { action, at: Timestamp::UNIX_EPOCH, principal: &somebody, uid: 0, resource: &resource, facts };
        engine.fits(&question, people).map_err(|problem| {
            format!(
                "it does not describe what this daemon says of {}: {problem}; use the schema that was shipped with it",
                action.name()
            )
        })?;
    }
    Ok(())
}
