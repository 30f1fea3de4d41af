//! Customer-managed policies and their versions (AWS IAM API Reference).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::limits::{POLICY_VERSIONS, managed_policy, required};
use super::{FakeStsSettings, Form, Refusal};
use crate::query::percent_encoded;

const ALLOW_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

#[derive(Debug)]
struct Version {
    number: u64,
    document: String,
    created: Timestamp,
}

#[derive(Debug)]
struct Policy {
    versions: Vec<Version>,
    default: u64,
    highest: u64,
    created: Timestamp,
}

/// All policies, by ARN.
#[derive(Debug)]
pub(super) struct Policies(BTreeMap<String, Policy>);

impl Policies {
    pub(super) fn new(settings: &FakeStsSettings, now: Timestamp) -> Self {
        let arn = |name: &String| format!("arn:aws:iam::{}:policy/{name}", settings.account);
        let policy = || Policy {
            versions: vec![Version { number: 1, document: ALLOW_ALL.to_owned(), created: now }],
            default: 1,
            highest: 1,
            created: now,
        };
        Self(settings.policies.iter().map(|name| (arn(name), policy())).collect())
    }

    pub(super) fn document(&self, arn: &str) -> Option<String> {
        let policy = self.0.get(arn)?;
        policy.versions.iter().find(|version| version.number == policy.default).map(|version| version.document.clone())
    }

    pub(super) fn create_version(&mut self, form: &Form, now: Timestamp) -> Result<String, Refusal> {
        let (arn, policy) = self.find(form)?;
        let document = required(form, "PolicyDocument")?;
        managed_policy(document)?;
        if policy.versions.len() >= POLICY_VERSIONS {
            let message = format!(
                "A managed policy can have up to {POLICY_VERSIONS} versions. Before you create a new version, you must \
                 delete an existing version. Policy: {arn}"
            );
            return Err(Refusal::new(409, "LimitExceeded", message));
        }
        policy.highest += 1;
        let version = Version { number: policy.highest, document: document.to_owned(), created: now };
        if form.get("SetAsDefault").is_some_and(|value| value == "true") {
            policy.default = version.number;
        }
        let described = policy.describe(&version, false);
        policy.versions.push(version);
        Ok(format!("<PolicyVersion>{described}</PolicyVersion>"))
    }

    pub(super) fn delete_version(&mut self, form: &Form) -> Result<String, Refusal> {
        let (arn, policy) = self.find(form)?;
        let number = policy.number(&arn, form)?;
        if number == policy.default {
            let message = "Cannot delete the default version of a policy.";
            return Err(Refusal::new(409, "DeleteConflict", message));
        }
        policy.versions.retain(|version| version.number != number);
        Ok(String::new())
    }

    pub(super) fn list_versions(&mut self, form: &Form) -> Result<String, Refusal> {
        let (_, policy) = self.find(form)?;
        let newest_first = policy.versions.iter().rev();
        let members: String =
            newest_first.map(|version| format!("<member>{}</member>", policy.describe(version, false))).collect();
        Ok(format!("<Versions>{members}</Versions><IsTruncated>false</IsTruncated>"))
    }

    pub(super) fn version(&mut self, form: &Form) -> Result<String, Refusal> {
        let (arn, policy) = self.find(form)?;
        let number = policy.number(&arn, form)?;
        let found = policy.versions.iter().find(|version| version.number == number);
        Ok(found.map_or_else(String::new, |version| {
            format!("<PolicyVersion>{}</PolicyVersion>", policy.describe(version, true))
        }))
    }

    pub(super) fn policy(&mut self, form: &Form) -> Result<String, Refusal> {
        let (arn, policy) = self.find(form)?;
        let name = arn.rsplit('/').next().unwrap_or_default();
        Ok(format!(
            "<Policy><PolicyName>{name}</PolicyName><PolicyId>ANPAGRANTDFAKE0000000</PolicyId><Arn>{arn}</Arn>\
             <Path>/</Path><DefaultVersionId>v{}</DefaultVersionId><AttachmentCount>0</AttachmentCount>\
             <PermissionsBoundaryUsageCount>1</PermissionsBoundaryUsageCount><IsAttachable>true</IsAttachable>\
             <CreateDate>{:.0}</CreateDate></Policy>",
            policy.default, policy.created
        ))
    }

    fn find(&mut self, form: &Form) -> Result<(String, &mut Policy), Refusal> {
        let arn = required(form, "PolicyArn")?;
        let missing = || Refusal::new(404, "NoSuchEntity", format!("Policy {arn} was not found."));
        self.0.get_mut(arn).map(|policy| (arn.to_owned(), policy)).ok_or_else(missing)
    }
}

impl Policy {
    /// The version that a request names, if it exists.
    fn number(&self, arn: &str, form: &Form) -> Result<u64, Refusal> {
        let id = required(form, "VersionId")?;
        let number = id.strip_prefix('v').and_then(|digits| digits.parse().ok());
        number.filter(|number| self.versions.iter().any(|version| version.number == *number)).ok_or_else(|| {
            Refusal::new(404, "NoSuchEntity", format!("Policy {arn} version {id} does not exist or is not attachable."))
        })
    }

    fn describe(&self, version: &Version, with_document: bool) -> String {
        let document = if with_document {
            format!("<Document>{}</Document>", percent_encoded(&version.document))
        } else {
            String::new()
        };
        format!(
            "{document}<VersionId>v{}</VersionId><IsDefaultVersion>{}</IsDefaultVersion><CreateDate>{:.0}</CreateDate>",
            version.number,
            version.number == self.default,
            version.created
        )
    }
}
