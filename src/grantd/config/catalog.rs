//! The catalogue: which cloud assets exist for the daemon, how sensitive they are and whose they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd_model::{Request, Tier};
use grantd_provider_api::{Cloud, ResourceRef};
use serde::Deserialize;

use super::People;
use super::glass::{Profile, RawProfile};
use super::raw::{ConfigError, from_toml, plain_name};

const FILE: &str = "catalog.toml";

/// The longest native name: an ARN has at most 2,048 characters (IAM API Reference, `arnType`), the others fewer.
const MAX_NATIVE: usize = 2048;

/// Every resource, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    resources: BTreeMap<String, Resource>,
    profiles: BTreeMap<String, Arc<Profile>>,
    /// For each profile and resource of it, the resource as a use of that profile sees it.
    in_profiles: BTreeMap<(String, String), Resource>,
}

/// One cloud asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What people call it.
    pub name: String,
    /// The cloud it lives in.
    pub cloud: Cloud,
    /// The configured account that serves it.
    pub account: String,
    /// The resource type of its capabilities, e.g. `object-storage`.
    pub kind: String,
    /// Its exact native name. Never a pattern.
    pub native: String,
    /// Where it belongs, e.g. `dev` or `production`.
    pub environment: String,
    /// How sensitive it is.
    pub tier: Tier,
    /// The people who answer for it: at least one.
    pub owners: Vec<String>,
    /// The people who answer for the data in it.
    pub stewards: Vec<String>,
    /// The people to whom owners gave the right to approve: one voice each, which on [sensitive](Self::sensitive) data
    /// never suffices alone.
    pub delegated_admins: Vec<String>,
    /// The people who answer for the organisation's security, the same for every resource.
    pub security: Vec<String>,
    /// Whether it holds business-sensitive data.
    pub sensitive: bool,
    /// The break-glass profile in question: only where a use of it is decided, and never otherwise.
    pub glass: Option<Arc<Profile>>,
}

impl Resource {
    /// The resource as adapters know it.
    #[must_use]
    pub fn resource_ref(&self) -> ResourceRef {
        ResourceRef {
            cloud: self.cloud,
            account: self.account.clone(),
            kind: self.kind.clone(),
            native: self.native.clone(),
        }
    }
}

impl Catalog {
    /// Reads `catalog.toml`.
    ///
    /// # Errors
    /// When a name or a native name stands twice, a native name is not exact, or an owner is not one of `people`.
    pub fn parse(text: &str, people: &People) -> Result<Self, ConfigError> {
        let raw: RawCatalog = from_toml(FILE, text)?;
        let mut catalog = Self::default();
        let mut natives = BTreeMap::new();
        for resource in raw.resource {
            let resource = resource.parse(people)?;
            let key = |member: &str| format!("resource {:?}.{member}", resource.name);
            let native = (resource.cloud, resource.kind.clone(), resource.native.clone());
            if let Some(other) = natives.insert(native, resource.name.clone()) {
                let problem = format!("{} is already resource {other:?}: one asset has one name", resource.native);
                return Err(ConfigError::new(FILE, key("native"), problem));
            }
            if catalog.resources.contains_key(&resource.name) {
                return Err(ConfigError::new(FILE, key("name"), "the name stands twice: give each resource its own"));
            }
            catalog.resources.insert(resource.name.clone(), resource);
        }
        for profile in raw.break_glass {
            let profile = Arc::new(profile.parse(people, &catalog.resources)?);
            for access in &profile.access {
                if let Some(resource) = catalog.resources.get(&access.resource) {
                    let seen = Resource { glass: Some(Arc::clone(&profile)), ..resource.clone() };
                    catalog.in_profiles.insert((profile.name.clone(), access.resource.clone()), seen);
                }
            }
            let name = profile.name.clone();
            if catalog.profiles.insert(name.clone(), profile).is_some() {
                let key = format!("break_glass {name:?}.name");
                return Err(ConfigError::new(FILE, key, "the name stands twice: give each profile its own"));
            }
        }
        Ok(catalog)
    }

    /// The resource of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// The break-glass profile of this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }

    /// Every break-glass profile, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }

    /// A resource as a use of a break-glass profile sees it, if the profile has anything on it.
    #[must_use]
    pub fn in_profile(&self, profile: &str, resource: &str) -> Option<&Resource> {
        self.in_profiles.get(&(profile.to_owned(), resource.to_owned()))
    }

    /// Every resource of every break-glass profile, as its uses see it.
    pub fn in_profiles(&self) -> impl Iterator<Item = &Resource> {
        self.in_profiles.values()
    }

    /// What a request is on, as it stands now: for a use of break-glass, only as long as its profile gives exactly that.
    #[must_use]
    pub fn of_request(&self, request: &Request) -> Option<&Resource> {
        let Some(glass) = &request.break_glass else { return self.get(&request.resource) };
        let wanted = &request.entitlement;
        let resource = self.in_profile(&glass.profile, &request.resource)?;
        let gives = resource
            .glass
            .as_ref()
            .is_some_and(|profile| profile.gives(&request.resource, &wanted.capability, &wanted.narrowing));
        gives.then_some(resource)
    }

    /// Every resource, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalog {
    #[serde(default)]
    resource: Vec<RawResource>,
    #[serde(default)]
    break_glass: Vec<RawProfile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    name: String,
    cloud: Cloud,
    account: String,
    #[serde(rename = "type")]
    kind: String,
    native: String,
    environment: String,
    tier: Tier,
    owners: Vec<String>,
    #[serde(default)]
    stewards: Vec<String>,
    #[serde(default)]
    delegated_admins: Vec<String>,
    #[serde(default)]
    sensitive: bool,
}

impl RawResource {
    fn parse(self, people: &People) -> Result<Resource, ConfigError> {
        let wrong = |member: &str, problem: String| {
            ConfigError::new(FILE, format!("resource {:?}.{member}", self.name), problem)
        };
        for (member, text) in
            [("name", &self.name), ("account", &self.account), ("type", &self.kind), ("environment", &self.environment)]
        {
            plain_name(text).map_err(|problem| wrong(member, problem))?;
        }
        exact_native_name(&self.native).map_err(|problem| wrong("native", problem))?;
        if self.owners.is_empty() {
            return Err(wrong("owners", "nobody owns it: name at least one person of people.toml".to_owned()));
        }
        let chosen =
            |member: &str, names: &[String]| people.chosen(FILE, &format!("resource {:?}.{member}", self.name), names);
        let owners = chosen("owners", &self.owners)?;
        let stewards = chosen("stewards", &self.stewards)?;
        let delegated_admins = chosen("delegated_admins", &self.delegated_admins)?;
        Ok(Resource {
            name: self.name,
            cloud: self.cloud,
            account: self.account,
            kind: self.kind,
            native: self.native,
            environment: self.environment,
            tier: self.tier,
            owners,
            stewards,
            delegated_admins,
            security: people.security().to_vec(),
            sensitive: self.sensitive,
            glass: None,
        })
    }
}

/// A native name ends up in the resource position of a cloud policy, where `*` and `?` match anything and `${` starts a
/// variable (IAM User Guide, "Policy elements: Resource" and "Variables"); entitlement maps have places in braces. One
/// asset must be named, letter by letter.
fn exact_native_name(native: &str) -> Result<(), String> {
    if native.is_empty() || native.len() > MAX_NATIVE {
        return Err(format!("write the exact native name, 1 to {MAX_NATIVE} characters"));
    }
    let pattern = native.contains(['*', '?', '{', '}', '"']);
    if pattern || native.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(
            "a pattern, quote or space is not an exact native name: write one asset, letter by letter".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;

    const ENTRY: &str = r#"
        [[resource]]
        name = "reports"
        cloud = "aws"
        account = "main"
        type = "object-storage"
        native = "arn:aws:s3:::reports"
        environment = "dev"
        tier = "low"
        owners = ["ana"]
    "#;

    fn parse(text: &str) -> Result<Catalog, ConfigError> {
        let people =
            "[[person]]\nname = \"ana\"\nunix = [1001]\n[[workload]]\nname = \"bot\"\nkind = \"agent\"\nunix = 1002";
        Catalog::parse(text, &People::parse(people, Host::users(&|_| None)).unwrap())
    }

    #[test]
    fn a_resource_is_found_by_its_name_only() {
        let catalog = parse(ENTRY).unwrap();
        let reports = catalog.get("reports").unwrap();
        assert_eq!((reports.tier, reports.sensitive), (Tier::Low, false));
        assert_eq!(reports.resource_ref().native, "arn:aws:s3:::reports");
        assert_eq!(catalog.get("arn:aws:s3:::reports"), None);
        assert_eq!(catalog.iter().count(), 1);
    }

    #[test]
    fn what_does_not_name_one_owned_asset_is_refused() {
        let refused = |text: &str, words: &[&str]| {
            let error = parse(text).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{error}");
        };
        let with = |from: &str, to: &str| {
            assert!(ENTRY.contains(from));
            ENTRY.replace(from, to)
        };
        refused(&(ENTRY.to_owned() + ENTRY), &["reports", "already"]);
        refused(&(ENTRY.to_owned() + &with(":::reports", ":::other")), &["reports", "twice"]);
        refused(&(ENTRY.to_owned() + &with("\"reports\"", "\"again\"")), &["again", "already resource \"reports\""]);
        refused(&with("[\"ana\"]", "[]"), &["owners", "nobody owns it"]);
        refused(&with("[\"ana\"]", "[\"bot\"]"), &["owners", "bot", "person"]);
        refused(&with("[\"ana\"]", "[\"developers\"]"), &["developers", "person"]);
        refused(&with("[\"ana\"]", "[\"ana\", \"ana\"]"), &["twice"]);
        refused(&with("\"low\"", "\"lowest\""), &["lowest", "line"]);
        refused(&with("tier = \"low\"", ""), &["tier"]);
        refused(&with("tier = \"low\"", "tier = \"low\"\nteir = \"low\""), &["teir"]);
        for native in ["arn:aws:s3:::*", "arn:aws:s3:::report?", "arn:aws:s3:::${aws:username}", "a b", ""] {
            refused(&with("arn:aws:s3:::reports", native), &["reports", "native"]);
        }
    }
}
