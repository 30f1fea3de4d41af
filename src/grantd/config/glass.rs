//! `[[break_glass]]` of the catalogue: the profiles of the emergency path. Who may use which, for what exactly, how long,
//! how often, and who reviews it afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use grantd_model::{MAX_BREAK_GLASS, Tier};
use grantd_provider_api::{Capability, Narrowing};
use serde::Deserialize;

use super::catalog::Resource;
use super::raw::{ConfigError, bounded_duration, plain_name};
use super::{IdPattern, People};

const FILE: &str = "catalog.toml";

/// The most uses that a limit can allow: what happens more often is no emergency.
const MOST_USES: u32 = 100;

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The people who may use it, and who confirm each other's use where two are needed.
    pub people: Vec<String>,
    /// The people who review each use.
    pub reviewers: Vec<String>,
    /// What may be done with it; each use is of one of these.
    pub access: Vec<Access>,
    /// What a reference to an incident looks like.
    pub incident: IdPattern,
    /// How long one use may last, [`MAX_BREAK_GLASS`] at most; no lease under it lasts longer.
    pub max_ttl: Duration,
    /// How long reviewers have.
    pub review_within: Duration,
    /// How often it may be used.
    pub limits: GlassLimits,
}

/// One thing that a profile may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// What may be done there.
    pub capability: Capability,
    /// Less than the whole of it.
    pub narrowing: Narrowing,
}

/// How often break-glass may be used within a stretch of time. Uses of every profile count, so that a second one does not
/// double what the first allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlassLimits {
    /// By one person.
    pub per_person: u32,
    /// On one resource.
    pub per_resource: u32,
    /// By anybody, on anything.
    pub in_total: u32,
    /// Within so much time.
    pub window: Duration,
}

impl Profile {
    /// What of its access fits these names; those that are left out fit anything.
    pub fn fitting(&self, resource: Option<&str>, capability: Option<&Capability>) -> impl Iterator<Item = &Access> {
        let fits = move |access: &&Access| {
            resource.is_none_or(|name| access.resource == name)
                && capability.is_none_or(|wanted| access.capability == *wanted)
        };
        self.access.iter().filter(fits)
    }

    /// Whether exactly this may be done with it.
    #[must_use]
    pub fn gives(&self, resource: &str, capability: &Capability, narrowing: &Narrowing) -> bool {
        self.fitting(Some(resource), Some(capability)).any(|access| access.narrowing == *narrowing)
    }

    /// Whether this person is enrolled.
    #[must_use]
    pub fn enrols(&self, person: &str) -> bool {
        self.people.iter().any(|name| name == person)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    name: String,
    people: Vec<String>,
    reviewers: Vec<String>,
    access: Vec<RawAccess>,
    incident: String,
    max_ttl: String,
    review_within: String,
    limits: RawLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccess {
    resource: String,
    capability: Capability,
    #[serde(default)]
    prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    per_person: u32,
    per_resource: u32,
    in_total: u32,
    window: String,
}

impl RawProfile {
    pub(super) fn parse(self, people: &People, resources: &BTreeMap<String, Resource>) -> Result<Profile, ConfigError> {
        let key = |member: &str| format!("break_glass {:?}.{member}", self.name);
        let wrong = |member: &str, problem: String| ConfigError::new(FILE, key(member), problem);
        plain_name(&self.name).map_err(|problem| wrong("name", problem))?;
        let enrolled = people.chosen(FILE, &key("people"), &self.people)?;
        let reviewers = people.chosen(FILE, &key("reviewers"), &self.reviewers)?;
        if enrolled.is_empty() {
            return Err(wrong("people", "nobody is enrolled: name the people who may use it".to_owned()));
        }
        if reviewers.iter().all(|reviewer| enrolled.contains(reviewer)) {
            let problem = "everybody who would review it may use it: name a reviewer who is not enrolled".to_owned();
            return Err(wrong("reviewers", problem));
        }
        if self.access.is_empty() {
            return Err(wrong("access", "it gives nothing: name a resource and a capability on it".to_owned()));
        }
        let mut access: Vec<Access> = Vec::new();
        for raw in &self.access {
            let one = raw.parse(resources).map_err(|problem| wrong("access", problem))?;
            if access.iter().any(|other| other.resource == one.resource && other.capability == one.capability) {
                let problem = format!("{} on {:?} stands twice", one.capability, one.resource);
                return Err(wrong("access", problem));
            }
            access.push(one);
        }
        let critical =
            |access: &Access| resources.get(&access.resource).is_some_and(|resource| resource.tier == Tier::Critical);
        if let (Some(access), true) = (access.iter().find(|access| critical(access)), enrolled.len() < 2) {
            let problem = format!(
                "{:?} is of tier critical, where a second enrolled person confirms each use: enrol one",
                access.resource
            );
            return Err(wrong("people", problem));
        }
        let bounded = |member: &str, text: &str, least: &str, most: &str| {
            bounded_duration(text, least, most).map_err(|problem| wrong(member, problem))
        };
        let most = format!("{MAX_BREAK_GLASS}s");
        let limits = &self.limits;
        for (member, limit) in [
            ("limits.per_person", limits.per_person),
            ("limits.per_resource", limits.per_resource),
            ("limits.in_total", limits.in_total),
        ] {
            if !(1..=MOST_USES).contains(&limit) {
                return Err(wrong(member, format!("{limit} is out of bounds: write a number from 1 to {MOST_USES}")));
            }
        }
        Ok(Profile {
            incident: IdPattern::parse(&self.incident).map_err(|problem| wrong("incident", problem))?,
            max_ttl: bounded("max_ttl", &self.max_ttl, "1m", &most)?,
            review_within: bounded("review_within", &self.review_within, "1m", "168h")?,
            limits: GlassLimits {
                per_person: limits.per_person,
                per_resource: limits.per_resource,
                in_total: limits.in_total,
                window: bounded("limits.window", &limits.window, "1h", "720h")?,
            },
            name: self.name,
            people: enrolled,
            reviewers,
            access,
        })
    }
}

impl RawAccess {
    fn parse(&self, resources: &BTreeMap<String, Resource>) -> Result<Access, String> {
        let resource = resources.get(&self.resource).ok_or_else(|| {
            format!("{:?} is no [[resource]] here: name one exactly, a pattern is none", self.resource)
        })?;
        if self.capability.resource_type() != resource.kind {
            return Err(format!(
                "{} is no capability of {:?}, which is of type {}",
                self.capability, resource.name, resource.kind
            ));
        }
        if self.capability.verb() == "native" {
            return Err(format!(
                "{} could be anything: break-glass gives catalogued capabilities only",
                self.capability
            ));
        }
        Ok(Access {
            resource: self.resource.clone(),
            capability: self.capability.clone(),
            narrowing: Narrowing { prefix: self.prefix.clone(), source_networks: Vec::new() },
        })
    }
}

#[cfg(test)]
#[path = "glass_tests.rs"]
mod tests;
