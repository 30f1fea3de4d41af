//! The deny document as an inline policy of one role, where the configuration says so: `iam:PutRolePolicy` instead of a
//! boundary.
//!
//! It has no versions. A foreign write is noticed by comparing what is read with what was written last; what somebody
//! wrote between our reading and our writing is lost, so there must be one writer. When nothing is denied the policy
//! stays and refuses nobody: to delete it would take another right, `iam:DeleteRolePolicy`, with which a stolen daemon
//! could strip the role, and a policy that is always there is easier to watch.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{ErrorKind, ProviderError};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::arn::Arn;
use crate::document::{Document, Kind, characters, decoded};
use crate::limits::{INLINE_POLICIES_CHARACTERS, LINE_CHARACTERS, places};
use crate::revoke::{Backend, Found, Iam, Ready, Written};

/// The name of the inline policy, on every role.
pub(crate) const POLICY_NAME: &str = "grantd-revocations";

/// How long what the role's other inline policies take is believed.
const MEASURE_AGAIN: Duration = Duration::from_secs(3_600);

/// The version of a policy that is not there.
const ABSENT: &str = "none";

/// A role's inline policy.
#[derive(Debug)]
pub(crate) struct Inline {
    iam: Iam,
    role: Arn,
    /// The characters set aside for it in the configuration.
    characters: usize,
    room: Mutex<Room>,
}

/// What the other inline policies leave, and when that was found out.
#[derive(Debug, Default)]
struct Room {
    left: Option<usize>,
    measured_at: Option<Timestamp>,
}

#[async_trait]
impl Backend for Inline {
    fn limit(&self) -> usize {
        self.left()
    }

    fn capacity(&self, lines: usize) -> u32 {
        places(self.characters.min(self.left()).saturating_sub(lines.max(1).saturating_mul(LINE_CHARACTERS)))
    }

    async fn read(&self) -> Result<Found, ProviderError> {
        self.measure().await;
        match self.policy(POLICY_NAME).await {
            Ok(text) => {
                let document =
                    Document::parse(Kind::Inline, &text).map_err(|why| self.iam.senseless(GET, &self.role, &why))?;
                Ok(Found { version: version_of(&text), document })
            }
            // Nothing was written yet, or the role is gone: then writing says so.
            Err(error) if error.kind == ErrorKind::NotFound => {
                Ok(Found { version: ABSENT.to_owned(), document: Document::empty(Kind::Inline) })
            }
            Err(error) => Err(error),
        }
    }

    async fn make_ready(&self, over: &Found) -> Result<Ready, ProviderError> {
        // The last look before writing: there is no version that would tell afterwards.
        if self.read().await?.version == over.version {
            return Ok(Ready::default());
        }
        let why = "another writer wrote while we were reading: ask again with a fresh list";
        Err(self.iam.call(PUT, &self.role).error(ErrorKind::Conflict, why))
    }

    async fn write(&self, _: Ready, text: &str) -> Result<Written, ProviderError> {
        let call = self.iam.call(PUT, &self.role);
        let request = self.iam.client.put_role_policy().role_name(self.role.name()).policy_name(POLICY_NAME);
        match request.policy_document(text).send().await {
            Ok(_) => Ok(Written { version: version_of(text), between: None }),
            Err(error) => {
                let code = aws_smithy_types::error::metadata::ProvideErrorMetadata::code(&error);
                if code.is_some_and(|code| code.starts_with("LimitExceeded")) {
                    self.forget_room();
                    return Err(call.error(
                        ErrorKind::Capacity,
                        format!(
                            "the role's inline policies together would pass {INLINE_POLICIES_CHARACTERS} characters, \
                             {} of them {POLICY_NAME}: move the others into managed policies",
                            characters(text)
                        ),
                    ));
                }
                Err(call.sdk(&error))
            }
        }
    }
}

const GET: &str = "iam:GetRolePolicy";
const PUT: &str = "iam:PutRolePolicy";
const LIST: &str = "iam:ListRolePolicies";

impl Inline {
    /// The policy of `role`, for which `characters` are set aside.
    pub fn new(iam: Iam, role: Arn, characters: usize) -> Self {
        Self { iam, role, characters, room: Mutex::default() }
    }

    fn left(&self) -> usize {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).left.unwrap_or(INLINE_POLICIES_CHARACTERS)
    }

    fn forget_room(&self) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).measured_at = None;
    }

    /// Finds out what the role's other inline policies leave. Revoking does not wait for an answer: it is only told
    /// that there may be less room than was set aside.
    async fn measure(&self) {
        let now = self.iam.clock.now();
        {
            let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = |at: Timestamp| at.checked_add(MEASURE_AGAIN).is_ok_and(|until| now < until);
            if room.measured_at.is_some_and(fresh) {
                return;
            }
        }
        let (account, role) = (&self.iam.account, &self.role);
        match self.taken_by_others().await {
            Ok(taken) => {
                let left = INLINE_POLICIES_CHARACTERS.saturating_sub(taken);
                if left < self.characters {
                    tracing::error!(
                        account, %role, taken, left, set_aside = self.characters,
                        "the role's other inline policies leave less room than is set aside for revocations, so fewer \
                         sessions are issued: set inline_characters to what is left, or move them into managed policies"
                    );
                }
                let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
                *room = Room { left: Some(left), measured_at: Some(now) };
            }
            Err(error) => tracing::error!(
                account, %role, %error,
                "what the role's other inline policies leave for revocations is not known"
            ),
        }
    }

    async fn taken_by_others(&self) -> Result<usize, ProviderError> {
        let call = self.iam.call(LIST, &self.role);
        let pages = self.iam.client.list_role_policies().role_name(self.role.name()).into_paginator().items().send();
        let names = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| call.sdk(&error))?;
        let mut taken: usize = 0;
        for name in names.iter().filter(|name| *name != POLICY_NAME) {
            let text = match self.policy(name).await {
                Ok(text) => text,
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            taken = taken.saturating_add(characters(&text));
        }
        Ok(taken)
    }

    /// The text of one inline policy.
    async fn policy(&self, name: &str) -> Result<String, ProviderError> {
        let request = self.iam.client.get_role_policy().role_name(self.role.name()).policy_name(name);
        let out = request.send().await.map_err(|error| self.iam.call(GET, &self.role).sdk(&error))?;
        decoded(&out.policy_document).map_err(|why| self.iam.senseless(GET, &self.role, &why))
    }
}

/// A word for what a policy says, however it is laid out: where there are no versions, its digest.
fn version_of(text: &str) -> String {
    let same = serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string());
    let digest = Sha256::digest(same.as_bytes());
    digest.iter().take(8).fold("sha256:".to_owned(), |word, byte| format!("{word}{byte:02x}"))
}

#[cfg(test)]
#[path = "inline_tests.rs"]
mod tests;
