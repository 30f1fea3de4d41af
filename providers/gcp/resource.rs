//! Google's full resource names, and how the allow policy of each kind is read and written. Pure.
//!
//! The ways differ by service, as the services' own discovery documents say; the fake that the tests run against holds
//! every request to those.

use std::fmt;
use std::str::FromStr;

use reqwest::Method;
use serde_json::{Value, json};

/// How a service takes `getIamPolicy` and `setIamPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Cloud Storage: the policy is a sub-resource of the bucket.
    Storage,
    /// Compute Engine: the verb is the last segment of the path.
    Compute,
    /// `GET` with `options.requestedPolicyVersion` in the query.
    Get,
    /// `POST` without a body, with `options.requestedPolicyVersion` in the query.
    PostQuery,
    /// `POST` with the version in the body.
    Post,
    /// Not at all: what has no allow policy of its own is reached by its project's.
    NoPolicy,
}

/// A service whose resources have allow policies: its host, the version in its paths, its style, and the collections that a
/// name consists of. `*` stands for one id.
struct Service(&'static str, &'static str, Style, &'static [&'static str]);

const SERVICES: [Service; 14] = [
    Service("storage", "storage/v1", Style::Storage, &["projects/_/buckets/*"]),
    Service("cloudresourcemanager", "v3", Style::Post, &["projects/*"]),
    Service("secretmanager", "v1", Style::Get, &["projects/*/secrets/*", "projects/*/locations/*/secrets/*"]),
    Service(
        "cloudkms",
        "v1",
        Style::Get,
        &["projects/*/locations/*/keyRings/*", "projects/*/locations/*/keyRings/*/cryptoKeys/*"],
    ),
    Service("pubsub", "v1", Style::Get, &["projects/*/topics/*", "projects/*/subscriptions/*"]),
    Service("artifactregistry", "v1", Style::Get, &["projects/*/locations/*/repositories/*"]),
    Service("run", "v2", Style::Get, &["projects/*/locations/*/services/*", "projects/*/locations/*/jobs/*"]),
    Service("cloudfunctions", "v2", Style::Get, &["projects/*/locations/*/functions/*"]),
    Service("cloudtasks", "v2", Style::Post, &["projects/*/locations/*/queues/*"]),
    Service("iam", "v1", Style::PostQuery, &["projects/*/serviceAccounts/*"]),
    Service("dns", "dns/v1", Style::Post, &["projects/*/managedZones/*"]),
    Service("cloudsql", "v1", Style::NoPolicy, &["projects/*/instances/*"]),
    Service("container", "v1", Style::NoPolicy, &["projects/*/locations/*/clusters/*"]),
    Service("compute", "compute/v1", Style::Compute, &["projects/*/zones/*/instances/*"]),
];

/// The text is no full resource name of a kind that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no full resource name that is known here, such as //storage.googleapis.com/projects/_/buckets/NAME")]
pub(crate) struct ResourceError(String);

/// One resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    service: usize,
    path: String,
}

/// How to ask for something about an allow policy.
#[derive(Debug, PartialEq)]
pub(crate) struct Way {
    pub method: Method,
    /// Path and query, from the service's host on.
    pub path: String,
    pub body: Option<Value>,
}

impl Resource {
    fn entry(&self) -> &'static Service {
        SERVICES.get(self.service).unwrap_or(&SERVICES[0])
    }

    /// The host of its service.
    pub fn host(&self) -> String {
        format!("{}.googleapis.com", self.entry().0)
    }

    /// Its last segment.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The id that follows `collection`; `_` counts as none.
    pub fn part(&self, collection: &str) -> Option<&str> {
        let mut segments = self.path.split('/');
        segments.find(|segment| *segment == collection)?;
        segments.next().filter(|id| *id != "_")
    }

    /// Whether something can be bound on it.
    pub fn has_policy(&self) -> bool {
        self.entry().2 != Style::NoPolicy
    }

    /// Whether it is a bucket.
    pub fn is_bucket(&self) -> bool {
        self.entry().2 == Style::Storage
    }

    /// What whoever replaces its policy needs (IAM, "Permissions reference").
    pub fn set_permission(&self) -> String {
        let service = match self.entry().0 {
            "cloudresourcemanager" => "resourcemanager",
            name => name,
        };
        let kind = self.path.rsplit('/').nth(1).unwrap_or_default();
        format!("{service}.{kind}.setIamPolicy")
    }

    /// The method's name, for messages.
    pub fn action(&self, verb: &str) -> String {
        format!("{}.{verb}", self.entry().0)
    }

    /// How its policy is read, with conditions.
    pub fn read(&self) -> Way {
        let (root, path) = (self.entry().1, &self.path);
        let way = |method, path: String, body| Way { method, path, body };
        match self.entry().2 {
            Style::Storage => {
                way(Method::GET, format!("/{root}/b/{}/iam?optionsRequestedPolicyVersion=3", self.name()), None)
            }
            Style::Compute => {
                way(Method::GET, format!("/{root}/{path}/getIamPolicy?optionsRequestedPolicyVersion=3"), None)
            }
            Style::Get => way(Method::GET, self.verb("getIamPolicy?options.requestedPolicyVersion=3"), None),
            Style::PostQuery => way(Method::POST, self.verb("getIamPolicy?options.requestedPolicyVersion=3"), None),
            Style::Post | Style::NoPolicy => way(
                Method::POST,
                self.verb("getIamPolicy"),
                Some(json!({ "options": { "requestedPolicyVersion": 3 } })),
            ),
        }
    }

    /// How its policy is replaced by `policy`, which has the etag that it was read with.
    pub fn write(&self, policy: Value) -> Way {
        let (root, path) = (self.entry().1, &self.path);
        match self.entry().2 {
            Style::Storage => {
                Way { method: Method::PUT, path: format!("/{root}/b/{}/iam", self.name()), body: Some(policy) }
            }
            Style::Compute => Way {
                method: Method::POST,
                path: format!("/{root}/{path}/setIamPolicy"),
                body: Some(json!({ "policy": policy })),
            },
            _ => Way { method: Method::POST, path: self.verb("setIamPolicy"), body: Some(json!({ "policy": policy })) },
        }
    }

    /// How to ask which of `permissions` the caller has on it.
    pub fn test(&self, permissions: &[&str]) -> Way {
        let (root, path) = (self.entry().1, &self.path);
        let body = Some(json!({ "permissions": permissions }));
        match self.entry().2 {
            Style::Storage => {
                let query: Vec<String> = permissions.iter().map(|one| format!("permissions={one}")).collect();
                let path = format!("/{root}/b/{}/iam/testPermissions?{}", self.name(), query.join("&"));
                Way { method: Method::GET, path, body: None }
            }
            Style::Compute => Way { method: Method::POST, path: format!("/{root}/{path}/testIamPermissions"), body },
            _ => Way { method: Method::POST, path: self.verb("testIamPermissions"), body },
        }
    }

    fn verb(&self, verb: &str) -> String {
        format!("/{}/{}:{verb}", self.entry().1, self.path)
    }
}

impl FromStr for Resource {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ResourceError(text.chars().take(200).collect());
        let (host, path) = text.strip_prefix("//").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let name = host.strip_suffix(".googleapis.com").ok_or_else(wrong)?;
        // Cloud Asset Inventory names buckets without their collection.
        let path = match (name, path.contains('/')) {
            ("storage", false) => format!("projects/_/buckets/{path}"),
            _ => path.to_owned(),
        };
        let fits = |form: &str| {
            let (mut form, mut given) = (form.split('/'), path.split('/'));
            loop {
                match (form.next(), given.next()) {
                    (None, None) => return true,
                    (Some("*"), Some(id)) if is_id(id) => {}
                    (Some(word), Some(same)) if word == same && word != "*" => {}
                    _ => return false,
                }
            }
        };
        let service = SERVICES.iter().position(|service| service.0 == name && service.3.iter().any(|form| fits(form)));
        Ok(Self { service: service.ok_or_else(wrong)?, path })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "//{}/{}", self.host(), self.path)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What no segment may hold is everything that has a meaning in a URL, in a condition or in a list of names.
fn is_id(id: &str) -> bool {
    (1..=255).contains(&id.len())
        && !matches!(id, "." | ".." | "_")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_meaning_or_none() {
        for good in [
            "//storage.googleapis.com/projects/_/buckets/reports",
            "//secretmanager.googleapis.com/projects/acme-prod/secrets/db",
            "//cloudkms.googleapis.com/projects/acme-prod/locations/eu/keyRings/r/cryptoKeys/k",
            "//compute.googleapis.com/projects/acme-prod/zones/europe-west1-b/instances/vm",
            "//cloudsql.googleapis.com/projects/acme-prod/instances/main",
            "//container.googleapis.com/projects/acme-prod/locations/europe-west1/clusters/main",
        ] {
            assert_eq!(good.parse::<Resource>().unwrap().to_string(), good);
        }
        let asset: Resource = "//storage.googleapis.com/reports".parse().unwrap();
        assert_eq!(asset.to_string(), "//storage.googleapis.com/projects/_/buckets/reports");
        for bad in [
            "",
            "reports",
            "//storage.googleapis.com/",
            "//storage.googleapis.com/projects/_/buckets/a b",
            "//storage.googleapis.com/projects/_/buckets/a/objects/b",
            "//example.com/projects/acme-prod",
            "//cloudresourcemanager.googleapis.com/projects/..",
            "//cloudresourcemanager.googleapis.com/projects/a?x",
            "//storage.googleapis.com/projects/_/buckets/a\"b",
            "//storage.googleapis.com.evil.com/x",
            "//cloudresourcemanager.googleapis.com/projects/_",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn policies_are_always_read_with_their_conditions() {
        for name in [
            "//storage.googleapis.com/projects/_/buckets/b",
            "//cloudresourcemanager.googleapis.com/projects/acme-prod",
            "//secretmanager.googleapis.com/projects/acme-prod/secrets/s",
            "//iam.googleapis.com/projects/acme-prod/serviceAccounts/x@acme-prod.iam.gserviceaccount.com",
            "//compute.googleapis.com/projects/acme-prod/zones/z/instances/i",
        ] {
            let way = name.parse::<Resource>().unwrap().read();
            let body = way.body.unwrap_or_default().to_string();
            assert!(format!("{}{body}", way.path).contains("equestedPolicyVersion"), "{name}");
        }
    }
}
