//! Inline policies of roles (AWS IAM API Reference, "PutRolePolicy", "GetRolePolicy", "ListRolePolicies").

use std::collections::BTreeMap;

use super::limits::{INLINE_POLICIES_CHARACTERS, characters, policy_document, required};
use super::{FakeStsSettings, Form, Refusal};
use crate::query::{escaped, percent_encoded};

/// Every role's inline policies, by the role's name and by theirs.
#[derive(Debug)]
pub(super) struct InlinePolicies(BTreeMap<String, BTreeMap<String, String>>);

impl InlinePolicies {
    pub(super) fn new(settings: &FakeStsSettings) -> Self {
        Self(settings.roles.iter().map(|role| (role.name.clone(), BTreeMap::new())).collect())
    }

    pub(super) fn document(&self, role: &str, policy: &str) -> Option<String> {
        self.0.get(role)?.get(policy).cloned()
    }

    pub(super) fn put(&mut self, form: &Form) -> Result<String, Refusal> {
        let (role, policies) = self.find(form)?;
        let (name, document) = (required(form, "PolicyName")?, required(form, "PolicyDocument")?);
        policy_document(document)?;
        let others: usize =
            policies.iter().filter(|(other, _)| *other != name).map(|(_, document)| characters(document)).sum();
        if others + characters(document) > INLINE_POLICIES_CHARACTERS {
            let message = format!("Maximum policy size of {INLINE_POLICIES_CHARACTERS} bytes exceeded for role {role}");
            return Err(Refusal::new(409, "LimitExceeded", message));
        }
        policies.insert(name.to_owned(), document.to_owned());
        Ok(String::new())
    }

    pub(super) fn get(&mut self, form: &Form) -> Result<String, Refusal> {
        let (role, policies) = self.find(form)?;
        let name = required(form, "PolicyName")?;
        let missing =
            || Refusal::new(404, "NoSuchEntity", format!("The role policy with name {name} cannot be found."));
        let document = percent_encoded(policies.get(name).ok_or_else(missing)?);
        Ok(format!(
            "<RoleName>{role}</RoleName><PolicyName>{}</PolicyName><PolicyDocument>{document}</PolicyDocument>",
            escaped(name)
        ))
    }

    pub(super) fn list(&mut self, form: &Form) -> Result<String, Refusal> {
        let (_, policies) = self.find(form)?;
        let members: String = policies.keys().map(|name| format!("<member>{}</member>", escaped(name))).collect();
        Ok(format!("<PolicyNames>{members}</PolicyNames><IsTruncated>false</IsTruncated>"))
    }

    fn find(&mut self, form: &Form) -> Result<(String, &mut BTreeMap<String, String>), Refusal> {
        let role = required(form, "RoleName")?;
        let missing = || Refusal::new(404, "NoSuchEntity", format!("The role with name {role} cannot be found."));
        self.0.get_mut(role).map(|policies| (role.to_owned(), policies)).ok_or_else(missing)
    }
}
