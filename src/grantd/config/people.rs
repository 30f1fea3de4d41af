//! Who exists: people with every identity that is theirs, and workloads with theirs; and who of the people answers for
//! the organisation's security. A subject is never a team.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::statement::NAMESPACE;
use grantd_model::{Subject, SubjectKind};
use jiff::Timestamp;
use serde::Deserialize;

use super::grant_issuer::{GrantIssuer, RawGrantIssuer};
use super::groups::{Groups, RawGroup};
use super::raw::{ConfigError, Host, RawUser, UserLookup, from_toml, plain_name};
use crate::sshsig::{self, AllowedSigners};

const FILE: &str = "people.toml";

/// The issuer of identities that this host's kernel proves.
pub const UNIX: &str = "unix";

/// The issuer of identities that are SSH keys: the id is the key's fingerprint, as `ssh-keygen -l` shows it.
pub const SSH: &str = "ssh";

/// The file of the bundle that says whose SSH keys are whose.
pub const ALLOWED_SIGNERS: &str = "allowed_signers";

/// Everybody and everything that may call the daemon, or own what it gives access to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    by_uid: BTreeMap<u32, Subject>,
    by_key: BTreeMap<String, Subject>,
    signers: AllowedSigners,
    issuers: Vec<GrantIssuer>,
    attested: BTreeMap<(String, String), Subject>,
    by_name: BTreeMap<String, Identity>,
    groups: Groups,
    security: Vec<String>,
}

/// A person or a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub kind: SubjectKind,
    /// Every uid that is its, in the order written. A person who only owns resources may have none.
    pub uids: Vec<u32>,
    /// The fingerprint of every SSH key with which it may sign approvals.
    pub keys: Vec<String>,
}

impl People {
    /// Reads `people.toml`; `host` finds the uid of a user name and the members of a group.
    ///
    /// # Errors
    /// When a name or uid stands twice, a user or group does not exist on this host, a group or team stands where one
    /// subject has to, or a group has no members or members that are no people.
    pub fn parse(text: &str, host: Host<'_>) -> Result<Self, ConfigError> {
        let raw: RawPeople = from_toml(FILE, text)?;
        let lookup = host.user;
        let mut people = Self::default();
        for person in raw.person {
            let key = format!("person {:?}", person.name);
            people.add(&key, person.name, SubjectKind::Human, &person.unix, lookup)?;
        }
        for workload in raw.workload {
            let key = format!("workload {:?}", workload.name);
            let kind = workload_kind(&key, &workload.kind)?;
            people.add(&key, workload.name, kind, &[workload.unix], lookup)?;
        }
        people.groups = Groups::resolve(raw.group, &people, &host)?;
        people.believe(raw.grant_issuer)?;
        people.security = people.chosen(FILE, "security", &raw.security)?;
        Ok(people)
    }

    /// Whose grant documents are believed, and who their persons are.
    fn believe(&mut self, raw: Vec<RawGrantIssuer>) -> Result<(), ConfigError> {
        for raw in raw {
            let issuer = raw.parse()?;
            if self.grant_issuer(&issuer.iss).is_some() {
                return Err(ConfigError::new(FILE, format!("grant_issuer {:?}", issuer.iss), "the iss stands twice"));
            }
            let people = self.by_name.iter().filter(|(_, identity)| identity.kind == SubjectKind::Human);
            let told = people.map(|(name, _)| {
                let (id, name) = (name.clone(), name.clone());
                let subject = Subject { kind: SubjectKind::Human, issuer: issuer.iss.clone(), id: id.clone(), name };
                ((issuer.iss.clone(), id), subject)
            });
            self.attested.extend(told);
            self.issuers.push(issuer);
        }
        Ok(())
    }

    /// Somebody elsewhere whose grant documents are believed.
    #[must_use]
    pub fn grant_issuer(&self, iss: &str) -> Option<&GrantIssuer> {
        self.issuers.iter().find(|issuer| issuer.iss == iss)
    }

    /// The same with the SSH keys with which people may sign approvals: `text` is an allowed-signers file (ssh-keygen(1)),
    /// in which the principal is the name of a person.
    ///
    /// # Errors
    /// When a line cannot be read, names anybody but one person, or a key is another's already.
    pub fn with_signers(mut self, text: &str) -> Result<Self, ConfigError> {
        let signers = AllowedSigners::parse(text).map_err(|error| match error {
            sshsig::Error::Line { line, problem } => ConfigError::new(ALLOWED_SIGNERS, format!("line {line}"), problem),
            other => ConfigError::new(ALLOWED_SIGNERS, "file", other.to_string()),
        })?;
        for (name, fingerprint) in signers.keys_for(NAMESPACE) {
            let Some(person) = self.by_name.get_mut(name).filter(|found| found.kind == SubjectKind::Human) else {
                let problem = format!(
                    "\"{name}\" is no person of people.toml: write the name of the one whose key it is, for only people approve"
                );
                return Err(ConfigError::new(ALLOWED_SIGNERS, fingerprint, problem));
            };
            person.keys.push(fingerprint.clone());
            let (issuer, name) = (SSH.to_owned(), name.to_owned());
            let subject = Subject { kind: SubjectKind::Human, issuer, id: fingerprint.clone(), name };
            self.by_key.insert(fingerprint, subject);
        }
        self.signers = signers;
        Ok(self)
    }

    /// Whose signature of `bytes` in [`NAMESPACE`] this is, at `now`: the person, by the key.
    ///
    /// # Errors
    /// In words: it is no signature of these bytes, or by no key that counts then.
    pub fn signer(&self, bytes: &[u8], armored: &str, now: Timestamp) -> Result<Subject, String> {
        let name = self.signers.verify(NAMESPACE, bytes, armored, now).map_err(|error| error.to_string())?;
        let key = sshsig::fingerprint(armored).and_then(|key| self.by_key.get(&key));
        let key = key.filter(|subject| subject.name == name);
        key.cloned().ok_or_else(|| format!("the key of {name} is not one of a person of people.toml"))
    }

    /// The people who answer for the organisation's security, in the order written.
    #[must_use]
    pub fn security(&self) -> &[String] {
        &self.security
    }

    /// The members of each group that is a Unix group of this host, as they were when this was read.
    #[must_use]
    pub fn unix_groups(&self) -> &BTreeMap<String, Vec<String>> {
        self.groups.unix()
    }

    /// The people that a list of names and groups (`group:NAME`) means, each once and in the order written.
    ///
    /// # Errors
    /// When a name is no person's, a group is not there, or an entry stands twice; `file` and `key` are named.
    pub(super) fn chosen(&self, file: &'static str, key: &str, entries: &[String]) -> Result<Vec<String>, ConfigError> {
        let wrong = |problem: String| ConfigError::new(file, key, problem);
        let (mut seen, mut people) = (BTreeSet::new(), Vec::new());
        for entry in entries {
            if !seen.insert(entry) {
                return Err(wrong(format!("{entry:?} stands twice: name each person once")));
            }
            let members = match entry.strip_prefix("group:") {
                Some(group) => self.groups.members(group).ok_or_else(|| {
                    wrong(format!("{entry:?} is no group of people.toml: write it there as a [[group]]"))
                })?,
                None if self.is_person(entry) => std::slice::from_ref(entry),
                None => {
                    return Err(wrong(format!(
                        "{entry:?} is no person of people.toml: name a [[person]], or a [[group]] of them as \"group:NAME\", \
                         not a workload or team"
                    )));
                }
            };
            for member in members {
                if !people.contains(member) {
                    people.push(member.clone());
                }
            }
        }
        Ok(people)
    }

    /// Whether this name is taken by a person or a workload.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Who runs as this uid.
    #[must_use]
    pub fn by_uid(&self, uid: u32) -> Option<Subject> {
        self.by_uid.get(&uid).cloned()
    }

    /// Everybody with every uid of theirs.
    pub(super) fn uids(&self) -> impl Iterator<Item = (u32, &Subject)> {
        self.by_uid.iter().map(|(uid, subject)| (*uid, subject))
    }

    /// The subject of this name; for a person with several identities, the first that was written.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Subject> {
        self.by_uid(*self.by_name.get(name)?.uids.first()?)
    }

    /// The person or workload of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Identity> {
        self.by_name.get(name)
    }

    /// The name of every person and workload.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Every identity, as `issuer:id`, of the person or workload of this name.
    #[must_use]
    pub fn identities(&self, name: &str) -> BTreeSet<String> {
        self.get(name).map(|found| found.uids.iter().map(|uid| format!("{UNIX}:{uid}")).collect()).unwrap_or_default()
    }

    /// Whether this is the name of a person.
    #[must_use]
    pub fn is_person(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|identity| identity.kind == SubjectKind::Human)
    }

    /// The subject as it is configured now, whatever name `subject` carries; `None` when nobody has that identity.
    #[must_use]
    pub fn known(&self, subject: &Subject) -> Option<&Subject> {
        let known = match subject.issuer.as_str() {
            UNIX => self.by_uid.get(&subject.id.parse().ok()?)?,
            SSH => self.by_key.get(&subject.id)?,
            issuer => self.attested.get(&(issuer.to_owned(), subject.id.clone()))?,
        };
        known.same_identity(subject).then_some(known)
    }

    fn add(
        &mut self,
        key: &str,
        name: String,
        kind: SubjectKind,
        unix: &[RawUser],
        lookup: UserLookup<'_>,
    ) -> Result<(), ConfigError> {
        plain_name(&name).map_err(|problem| ConfigError::new(FILE, format!("{key}.name"), problem))?;
        if self.by_name.contains_key(&name) {
            return Err(ConfigError::new(FILE, key, "the name stands twice: give each person and workload its own"));
        }
        let unix_key = format!("{key}.unix");
        let mut uids = Vec::new();
        for user in unix {
            let uid = user.resolve(FILE, &unix_key, lookup)?;
            if let Some(other) = self.by_uid.get(&uid) {
                let problem = format!("uid {uid} is already {other}: one uid is one person or one workload");
                return Err(ConfigError::new(FILE, unix_key, problem));
            }
            let subject = Subject { kind, issuer: UNIX.to_owned(), id: uid.to_string(), name: name.clone() };
            self.by_uid.insert(uid, subject);
            uids.push(uid);
        }
        self.by_name.insert(name, Identity { kind, uids, keys: Vec::new() });
        Ok(())
    }
}

fn workload_kind(key: &str, kind: &str) -> Result<SubjectKind, ConfigError> {
    let problem = match kind {
        "service" => return Ok(SubjectKind::Service),
        "agent" => return Ok(SubjectKind::Agent),
        "pipeline" => return Ok(SubjectKind::Pipeline),
        "human" => "a human is not a workload: write it as [[person]]".to_owned(),
        "team" | "group" => {
            format!(
                "\"{kind}\" is not a kind of subject: access is always one person's or one workload's, never a team's"
            )
        }
        _ => format!("\"{kind}\" is not a kind of workload: write \"service\", \"agent\" or \"pipeline\""),
    };
    Err(ConfigError::new(FILE, format!("{key}.kind"), problem))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeople {
    #[serde(default)]
    person: Vec<RawPerson>,
    #[serde(default)]
    workload: Vec<RawWorkload>,
    #[serde(default)]
    group: Vec<RawGroup>,
    #[serde(default)]
    security: Vec<String>,
    #[serde(default)]
    grant_issuer: Vec<RawGrantIssuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    name: String,
    unix: Vec<RawUser>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorkload {
    name: String,
    kind: String,
    unix: RawUser,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<u32> {
        match name {
            "ana" => Some(1001),
            "ana-admin" => Some(1002),
            "ci-deploy" => Some(1003),
            _ => None,
        }
    }

    const PEOPLE: &str = r#"
        [[person]]
        name = "ana"
        unix = ["ana", "ana-admin"]
        [[person]]
        name = "olga"
        unix = []
        [[workload]]
        name = "deploy"
        kind = "pipeline"
        unix = "ci-deploy"
    "#;

    #[test]
    fn every_identity_of_a_person_is_that_person() {
        let people = People::parse(PEOPLE, Host::users(&lookup)).unwrap();
        let ana = people.by_uid(1001).unwrap();
        assert_eq!((ana.kind, ana.issuer.as_str(), ana.id.as_str()), (SubjectKind::Human, "unix", "1001"));
        assert_eq!(people.by_uid(1002).unwrap().name, "ana");
        assert_eq!(people.by_name("ana"), Some(ana.clone()));
        assert_eq!(people.by_name("deploy").unwrap().kind, SubjectKind::Pipeline);
        assert_eq!(people.by_uid(4711), None);
        assert!(people.is_person("olga") && people.by_name("olga").is_none());
        assert!(!people.is_person("deploy"));
        assert_eq!(people.known(&Subject { name: "old name".to_owned(), ..ana.clone() }), Some(&ana));
        assert_eq!(people.known(&Subject { kind: SubjectKind::Agent, ..ana.clone() }), None);
        assert_eq!(people.known(&Subject { issuer: "https://issuer.example".to_owned(), ..ana }), None);
    }

    #[test]
    fn what_is_ambiguous_or_not_one_subject_is_refused_by_name() {
        let refused = |text: &str, words: &[&str]| {
            let error = People::parse(text, Host::users(&lookup)).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{error}");
        };
        let person = |name: &str, unix: &str| format!("[[person]]\nname = \"{name}\"\nunix = [{unix}]\n");
        refused(&person("ghost", "\"ghost\""), &["ghost", "no Unix user"]);
        refused(&person("devs", "\"developers\""), &["developers", "group or team"]);
        refused(&(person("ana", "\"ana\"") + &person("ana", "7")), &["ana", "twice"]);
        refused(&(person("ana", "\"ana\"") + &person("eva", "1001")), &["uid 1001", "human ana", "eva"]);
        refused(&person("ana ", "\"ana\""), &["not a name"]);
        refused("[[person]]\nname = \"ana\"\n", &["unix"]);
        refused("[[person]]\nname = \"ana\"\nunix = []\ngroup = \"x\"\n", &["group", "line 4"]);
        let workload = |kind: &str| format!("[[workload]]\nname = \"w\"\nkind = \"{kind}\"\nunix = \"ci-deploy\"\n");
        refused(&workload("team"), &["team", "never"]);
        refused(&workload("human"), &["[[person]]"]);
        refused(&workload("robot"), &["pipeline"]);
    }
}
