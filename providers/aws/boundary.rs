//! The deny document as the permissions boundary of roles: a managed policy, whose versions are numbered.
//!
//! IAM has no optimistic lock: the last `CreatePolicyVersion` wins. But numbers only grow, so a version that somebody
//! else wrote in between shows itself, and what it denied can still be read.

use async_trait::async_trait;
use grantd_provider_api::{ErrorKind, ProviderError};

use crate::arn::Arn;
use crate::document::{Document, Kind};
use crate::limits::{LINE_CHARACTERS, MANAGED_POLICY_CHARACTERS, MANAGED_POLICY_VERSIONS, SCOPE_CAPACITY, places};
use crate::revoke::{Backend, Found, Iam, Ready, Written};

/// A boundary, and how many configured roles have it.
#[derive(Debug)]
pub(crate) struct Boundary {
    pub iam: Iam,
    pub arn: Arn,
    pub roles: usize,
}

#[async_trait]
impl Backend for Boundary {
    fn limit(&self) -> usize {
        MANAGED_POLICY_CHARACTERS
    }

    fn capacity(&self, lines: usize) -> u32 {
        // Each role can come to need a line, and so may one that has the boundary no longer.
        let set_aside = lines.max(self.roles).saturating_mul(LINE_CHARACTERS);
        places(MANAGED_POLICY_CHARACTERS.saturating_sub(set_aside)).min(SCOPE_CAPACITY)
    }

    async fn read(&self) -> Result<Found, ProviderError> {
        // The list of versions tells which one is in force, and is needed anyway: one right fewer for the daemon than
        // with `iam:GetPolicy`.
        let versions = self.versions().await?;
        let in_force = versions.iter().find(|(_, default)| *default).map(|(version, _)| *version);
        let nothing = || self.iam.senseless("iam:ListPolicyVersions", &self.arn, "no version is in force");
        self.read_version(in_force.ok_or_else(nothing)?).await
    }

    /// Deletes the oldest version that is not in force when all places are taken.
    async fn make_ready(&self, over: &Found) -> Result<Ready, ProviderError> {
        let versions = self.versions().await?;
        let default = versions.iter().find(|(_, default)| *default).map(|(version, _)| *version);
        if default.map(id).as_ref() != Some(&over.version) {
            let why = "another writer wrote while we were reading: ask again with a fresh list";
            return Err(self.iam.call("iam:CreatePolicyVersion", &self.arn).error(ErrorKind::Conflict, why));
        }
        let newest = versions.iter().map(|(version, _)| *version).max().unwrap_or_default();
        if versions.len() >= MANAGED_POLICY_VERSIONS
            && let Some((oldest, _)) = versions.iter().filter(|(_, default)| !default).min()
        {
            let call = self.iam.call("iam:DeletePolicyVersion", &self.arn);
            let request = self.iam.client.delete_policy_version().policy_arn(self.arn.as_str());
            match request.version_id(id(*oldest)).send().await.map_err(|error| call.sdk(&error)) {
                Ok(_) => {}
                // Another writer was faster; whether there is room now shows itself.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Ready { newest })
    }

    async fn write(&self, ready: Ready, text: &str) -> Result<Written, ProviderError> {
        let call = self.iam.call("iam:CreatePolicyVersion", &self.arn);
        let request = self.iam.client.create_policy_version().policy_arn(self.arn.as_str());
        let sent = request.policy_document(text).set_as_default(true).send().await;
        let version = sent.map_err(|error| call.sdk(&error))?.policy_version;
        let unnamed = || call.error(ErrorKind::Unknown, "the answer names no version; whether it was done is unknown");
        let ours = number(version.and_then(|version| version.version_id).as_deref()).ok_or_else(unnamed)?;
        let mut between = Vec::new();
        let raced = ours != ready.newest.saturating_add(1);
        if raced {
            // What stood in between is overwritten now, and has to be kept.
            for (version, _) in self.versions().await? {
                if version > ready.newest && version < ours {
                    between.push(self.read_version(version).await?.document);
                }
            }
        }
        Ok(Written { version: id(ours), between: raced.then_some(between) })
    }
}

impl Boundary {
    async fn read_version(&self, version: u64) -> Result<Found, ProviderError> {
        let action = "iam:GetPolicyVersion";
        let request = self.iam.client.get_policy_version().policy_arn(self.arn.as_str()).version_id(id(version));
        let sent = request.send().await;
        let out = sent.map_err(|error| self.iam.call(action, &self.arn).sdk(&error))?.policy_version;
        let text = out.and_then(|version| version.document);
        let text = text.ok_or_else(|| self.iam.senseless(action, &self.arn, "it has no document"))?;
        let document =
            Document::parse(Kind::Boundary, &text).map_err(|why| self.iam.senseless(action, &self.arn, &why))?;
        Ok(Found { version: id(version), document })
    }

    async fn versions(&self) -> Result<Vec<(u64, bool)>, ProviderError> {
        let call = self.iam.call("iam:ListPolicyVersions", &self.arn);
        let request = self.iam.client.list_policy_versions().policy_arn(self.arn.as_str());
        let pages = request.into_paginator().items().send();
        let listed = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| call.sdk(&error))?;
        let versions: Option<Vec<_>> = listed
            .iter()
            .map(|version| Some((number(version.version_id.as_deref())?, version.is_default_version)))
            .collect();
        versions.ok_or_else(|| self.iam.senseless("iam:ListPolicyVersions", &self.arn, "a version has no number"))
    }
}

fn id(version: u64) -> String {
    format!("v{version}")
}

/// The number in a version id such as `v7`.
fn number(version: Option<&str>) -> Option<u64> {
    version?.strip_prefix('v')?.parse().ok()
}
