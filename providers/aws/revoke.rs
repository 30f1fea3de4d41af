//! Writing and reading the boundary document.
//!
//! IAM has no optimistic lock: the last `CreatePolicyVersion` wins. The store is the truth and one elected writer
//! renders the document from it; this room notices when somebody else wrote all the same. Denials that it finds and
//! cannot explain are kept for as long as any session can live, and loudly logged: dropping one that another writer
//! needs would bring an ended session back to life, keeping one too many costs fifteen characters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::{Clock, Confirmation, DenyEntry, ErrorKind, ProviderError, RevokeReceipt};
use jiff::Timestamp;

use crate::arn::Arn;
use crate::base::Base;
use crate::document::{Document, suffix, suffixes};
use crate::error::Call;
use crate::limits::{ENTRY_GRACE, MANAGED_POLICY_VERSIONS, MAX_SESSION};

/// One boundary and its writer.
#[derive(Debug)]
pub(crate) struct Boundary {
    pub account: String,
    pub arn: Arn,
    pub iam: aws_sdk_iam::Client,
    pub credentials: Base,
    pub clock: Arc<dyn Clock>,
    pub write_interval: Duration,
    memory: tokio::sync::Mutex<Memory>,
}

/// What the writer remembers. Nothing that matters: after a restart everything found is unexplained once.
#[derive(Debug, Default)]
struct Memory {
    /// The version that this writer wrote or accepted last.
    known: Option<u64>,
    /// When it last wrote.
    wrote_at: Option<Timestamp>,
    /// Denials found in a version of somebody else, and when.
    foreign: BTreeMap<String, Timestamp>,
}

/// The version in force.
struct Found {
    version: u64,
    document: Document,
}

impl Boundary {
    /// The boundary `arn`, with nothing remembered.
    pub fn new(
        account: &str,
        arn: Arn,
        iam: aws_sdk_iam::Client,
        credentials: Base,
        clock: Arc<dyn Clock>,
        write_interval: Duration,
    ) -> Self {
        let memory = tokio::sync::Mutex::new(Memory::default());
        Self { account: account.to_owned(), arn, iam, credentials, clock, write_interval, memory }
    }

    /// Makes the document refuse `entries`, and what others left in it.
    pub async fn deny(&self, entries: &[DenyEntry]) -> Result<RevokeReceipt, ProviderError> {
        let wanted = suffixes(entries)?;
        let mut memory = self.memory.lock().await;
        self.credentials.refresh().await?;
        let found = self.read().await?;
        let now = self.clock.now();
        if memory.known != Some(found.version) {
            self.note_foreign(&mut memory, &found, &wanted, now);
        }
        memory.forget(now, &wanted);
        let document = self.merge(&memory, &found.document, &wanted)?;
        if document == found.document {
            memory.known = Some(found.version);
            return Ok(RevokeReceipt { version: format!("v{}", found.version), unchanged: true });
        }
        self.pace(&memory).await;
        let newest = self.make_room(found.version).await?;
        // From here on the call may have been done although it fails: only a fresh look tells.
        memory.known = None;
        memory.wrote_at = Some(self.clock.now());
        let written = self.write(&document.render()?).await?;
        memory.known = Some(written);
        if written == newest.saturating_add(1) {
            return Ok(RevokeReceipt { version: format!("v{written}"), unchanged: false });
        }
        self.gather_between(&mut memory, newest, written).await?;
        Err(self.conflict(format!(
            "another writer wrote between v{newest} and our v{written}: its denials are kept, ask again with a fresh list"
        )))
    }

    /// Looks for `entries` in the version in force.
    pub async fn confirm(&self, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        let wanted = entries.iter().map(suffix).collect::<Result<Vec<_>, _>>()?;
        self.credentials.refresh().await?;
        let denied = match self.read().await {
            Ok(found) => found.document.denied,
            Err(error) if error.kind == ErrorKind::NotFound => {
                tracing::error!(
                    account = self.account, boundary = %self.arn,
                    "the boundary policy is gone, so nothing is revoked: create it again and attach it to its roles"
                );
                BTreeSet::new()
            }
            Err(error) => return Err(error),
        };
        let state = |s: &String| if denied.contains(s) { Confirmation::InForce } else { Confirmation::Absent };
        Ok(wanted.iter().map(state).collect())
    }

    /// Remembers the denials of a version that this writer did not write.
    fn note_foreign(&self, memory: &mut Memory, found: &Found, wanted: &BTreeSet<String>, now: Timestamp) {
        let extra: Vec<_> = found.document.denied.difference(wanted).cloned().collect();
        let restarted = memory.known.is_none();
        if !restarted {
            tracing::error!(
                account = self.account, boundary = %self.arn, version = found.version, known = memory.known,
                "somebody else wrote the boundary: look in CloudTrail who called CreatePolicyVersion"
            );
        }
        if !found.document.is_ours() {
            tracing::error!(
                account = self.account, boundary = %self.arn, version = found.version,
                "the boundary has statements that grantd did not write: they are kept, the denials are added"
            );
        }
        if !extra.is_empty() {
            tracing::warn!(
                account = self.account, boundary = %self.arn, version = found.version, entries = extra.len(),
                "the boundary denies sessions that the store does not: kept until no session can be that old"
            );
        }
        for suffix in extra {
            memory.foreign.entry(suffix).or_insert(now);
        }
    }

    /// Our entries, then as many foreign ones as fit, the youngest first.
    fn merge(&self, memory: &Memory, current: &Document, wanted: &BTreeSet<String>) -> Result<Document, ProviderError> {
        let mut kept: Vec<_> = memory.foreign.iter().collect();
        kept.sort_by_key(|(suffix, at)| (std::cmp::Reverse(**at), suffix.as_str()));
        loop {
            let denied = wanted.iter().cloned().chain(kept.iter().map(|(suffix, _)| (*suffix).clone())).collect();
            let document = current.denying(denied);
            match document.render() {
                Ok(_) => return Ok(document),
                Err(error) => {
                    let Some((dropped, _)) = kept.pop() else { return Err(error) };
                    tracing::error!(
                        account = self.account, boundary = %self.arn, dropped,
                        "no room to keep a denial that another writer left: it is dropped for one of ours"
                    );
                }
            }
        }
    }

    /// Waits until the last write is long enough ago.
    async fn pace(&self, memory: &Memory) {
        let Some(wrote_at) = memory.wrote_at else { return };
        let since = Duration::try_from(self.clock.now().duration_since(wrote_at)).unwrap_or_default();
        tokio::time::sleep(self.write_interval.saturating_sub(since)).await;
    }

    /// Deletes the oldest version that is not in force when all places are taken. Returns the newest there is.
    async fn make_room(&self, in_force: u64) -> Result<u64, ProviderError> {
        let versions = self.versions().await?;
        let default = versions.iter().find(|(_, default)| *default).map(|(version, _)| *version);
        if default != Some(in_force) {
            return Err(self.conflict("another writer wrote while we were reading: ask again with a fresh list"));
        }
        let newest = versions.iter().map(|(version, _)| *version).max().unwrap_or(in_force);
        if versions.len() >= MANAGED_POLICY_VERSIONS
            && let Some((oldest, _)) = versions.iter().filter(|(_, default)| !default).min()
        {
            let call = self.call("iam:DeletePolicyVersion");
            let request = self.iam.delete_policy_version().policy_arn(self.arn.as_str());
            match request.version_id(format!("v{oldest}")).send().await.map_err(|error| call.sdk(&error)) {
                Ok(_) => {}
                // Another writer was faster; whether there is room now shows itself.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// Keeps the denials of every version between `after` and `ours`: ours has overwritten them.
    async fn gather_between(&self, memory: &mut Memory, after: u64, ours: u64) -> Result<(), ProviderError> {
        tracing::error!(
            account = self.account, boundary = %self.arn, after, ours,
            "two writers write the same boundary: each account has one elected writer, look for a second grantd"
        );
        let now = self.clock.now();
        // Without what stood in between, this version must not pass for known: it is looked at again.
        memory.known = None;
        for (version, _) in self.versions().await? {
            if version > after && version < ours {
                let found = self.read_version(version).await?;
                for suffix in found.document.denied {
                    memory.foreign.entry(suffix).or_insert(now);
                }
            }
        }
        memory.known = Some(ours);
        Ok(())
    }

    /// The version in force. The list of versions tells which, and is needed anyway: one right fewer for the daemon
    /// than with `iam:GetPolicy`.
    async fn read(&self) -> Result<Found, ProviderError> {
        let versions = self.versions().await?;
        let in_force = versions.iter().find(|(_, default)| *default).map(|(version, _)| *version);
        let nothing = || self.senseless("iam:ListPolicyVersions", "no version is in force");
        self.read_version(in_force.ok_or_else(nothing)?).await
    }

    async fn read_version(&self, version: u64) -> Result<Found, ProviderError> {
        let call = self.call("iam:GetPolicyVersion");
        let request = self.iam.get_policy_version().policy_arn(self.arn.as_str()).version_id(format!("v{version}"));
        let out = request.send().await.map_err(|error| call.sdk(&error))?.policy_version;
        let text = out.and_then(|version| version.document);
        let text = text.ok_or_else(|| self.senseless("iam:GetPolicyVersion", "it has no document"))?;
        let document = Document::parse(&text).map_err(|why| self.senseless("iam:GetPolicyVersion", &why))?;
        Ok(Found { version, document })
    }

    async fn versions(&self) -> Result<Vec<(u64, bool)>, ProviderError> {
        let call = self.call("iam:ListPolicyVersions");
        let pages = self.iam.list_policy_versions().policy_arn(self.arn.as_str()).into_paginator().items().send();
        let listed = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| call.sdk(&error))?;
        let versions: Option<Vec<_>> = listed
            .iter()
            .map(|version| Some((number(version.version_id.as_deref())?, version.is_default_version)))
            .collect();
        versions.ok_or_else(|| self.senseless("iam:ListPolicyVersions", "a version has no number"))
    }

    async fn write(&self, text: &str) -> Result<u64, ProviderError> {
        let call = self.call("iam:CreatePolicyVersion");
        let request = self.iam.create_policy_version().policy_arn(self.arn.as_str());
        let sent = request.policy_document(text).set_as_default(true).send().await;
        let version = sent.map_err(|error| call.sdk(&error))?.policy_version;
        number(version.and_then(|version| version.version_id).as_deref()).ok_or_else(|| {
            call.error(ErrorKind::Unknown, "the answer names no version; whether it was done is unknown")
        })
    }

    fn conflict(&self, why: impl std::fmt::Display) -> ProviderError {
        self.call("iam:CreatePolicyVersion").error(ErrorKind::Conflict, why)
    }

    fn senseless(&self, action: &'static str, why: &str) -> ProviderError {
        self.call(action).error(ErrorKind::Unknown, format!("the answer makes no sense: {why}"))
    }

    fn call(&self, action: &'static str) -> Call<'_> {
        Call { account: &self.account, action, on: self.arn.as_str(), caller: self.credentials.words() }
    }
}

impl Memory {
    /// Forgets foreign denials that are ours now, and those older than any session.
    fn forget(&mut self, now: Timestamp, wanted: &BTreeSet<String>) {
        let horizon = now.checked_sub(MAX_SESSION.saturating_add(ENTRY_GRACE)).unwrap_or(now);
        self.foreign.retain(|suffix, at| *at > horizon && !wanted.contains(suffix));
    }
}

/// The number in a version id such as `v7`.
fn number(version: Option<&str>) -> Option<u64> {
    version?.strip_prefix('v')?.parse().ok()
}

#[cfg(test)]
#[path = "revoke_tests.rs"]
mod tests;
