//! Taking sessions back: their role assignments are removed, and it is seen that they are gone (promise P4).
//!
//! There is no document to render: what a lease has is named by the lease alone, so removing it touches no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use grantd_provider_api::{Confirmation, DenyEntry, ErrorKind, Mark, ProviderError, RevokeReceipt};
use uuid::Uuid;

use crate::account::Account;
use crate::arm::{Assignment, Removed};
use crate::names::{assignments_of, is_assignment, is_request, marked_lease};
use crate::pim;

/// What was seen to be gone, by slot. Losing it costs one needless removal of each.
#[derive(Debug, Default)]
pub(crate) struct Gone(Mutex<BTreeMap<String, BTreeSet<String>>>);

/// Removes the assignments of `entries`. Every one is tried, whatever becomes of another.
///
/// # Errors
/// The first that was met.
pub(crate) async fn deny(
    account: &Account,
    gone: &Gone,
    slot: &str,
    entries: &[DenyEntry],
) -> Result<RevokeReceipt, ProviderError> {
    let (mut failed, mut removed, mut absent) = (None, 0_usize, BTreeSet::new());
    let seen = gone.of(slot);
    for entry in entries {
        let ids = match assignments_of(&entry.session_name) {
            Ok(ids) => ids,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        for id in ids {
            match remove(account, id, seen.contains(id)).await {
                Ok(outcome) => {
                    absent.insert(id.to_owned());
                    removed = removed.saturating_add(usize::from(outcome == Removed::Now));
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
    }
    let version = format!("{} absent", absent.len());
    gone.keep(slot, absent);
    match failed {
        Some(error) => Err(error),
        None => Ok(RevokeReceipt { version, unchanged: removed == 0, collapsed: Vec::new(), collapse_at: None }),
    }
}

/// What was removed once is only looked at: each removal is an entry in the subscription's activity log.
async fn remove(account: &Account, id: &str, seen_gone: bool) -> Result<Removed, ProviderError> {
    if is_request(id) {
        let gone = seen_gone && pim::is_gone(&account.arm, id).await?;
        return if gone { Ok(Removed::Before) } else { pim::remove(&account.arm, id).await };
    }
    if seen_gone && account.arm.assignment(id).await?.is_none() {
        return Ok(Removed::Before);
    }
    account.arm.remove(id).await
}

/// Whether the assignments of `entries` are gone.
///
/// # Errors
/// Any; then nothing is known.
pub(crate) async fn confirm(account: &Account, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
    let mut answers = Vec::new();
    for entry in entries {
        let mut answer = Confirmation::InForce;
        for id in assignments_of(&entry.session_name)? {
            let gone = match is_request(id) {
                true => pim::is_gone(&account.arm, id).await?,
                false => account.arm.assignment(id).await?.is_none(),
            };
            if !gone {
                answer = Confirmation::Absent;
            }
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Assignments of a slot that bear our mark, in every configured subscription.
///
/// # Errors
/// Any; then nothing is known.
pub(crate) async fn marked(account: &Account, slot: &str) -> Result<Vec<Mark>, ProviderError> {
    let principal = principal(slot)?;
    let mut marks: Vec<Mark> = Vec::new();
    for subscription in &account.config.subscriptions {
        for found in account.arm.assignments(*subscription, principal).await? {
            if let Some(mark) = mark_of(&found)
                && !marks.contains(&mark)
            {
                marks.push(mark);
            }
        }
        if account.config.pim_backstop {
            let requests = pim::standing(&account.arm, *subscription, principal).await?;
            marks.extend(requests.into_values().filter_map(|request| mark_of_request(&request)));
        }
    }
    Ok(marks)
}

/// Removes what [`marked`] told of.
///
/// # Errors
/// The first that was met; every one is tried.
pub(crate) async fn remove_marked(account: &Account, slot: &str, marks: &[Mark]) -> Result<(), ProviderError> {
    let principal = principal(slot)?.to_string();
    let mut failed = None;
    for mark in marks {
        if is_request(&mark.name) {
            let outcome = match pim::request(&account.arm, &mark.name).await {
                Ok(Some(found)) if mark_of_request(&found).as_ref() == Some(mark) => {
                    let own = found.properties.principal_id.eq_ignore_ascii_case(&principal);
                    if own { pim::remove(&account.arm, &mark.name).await.map(|_| ()) } else { Ok(()) }
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                failed.get_or_insert(error);
            }
            continue;
        }
        let outcome = match account.arm.assignment(&mark.name).await {
            // It is looked at once more: only what still bears the mark, on this slot, is ours to remove.
            Ok(Some(found)) if mark_of(&found).as_ref() == Some(mark) => {
                let own = found.properties.principal_id.eq_ignore_ascii_case(&principal);
                if own { account.arm.remove(&mark.name).await.map(|_| ()) } else { Ok(()) }
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn mark_of(found: &Assignment) -> Option<Mark> {
    let lease = marked_lease(found.properties.description.as_deref()?)?;
    is_assignment(&found.id).then(|| Mark { lease, name: found.id.clone() })
}

fn mark_of_request(found: &pim::Request) -> Option<Mark> {
    let lease = marked_lease(found.properties.justification.as_deref()?)?;
    is_request(&found.id).then(|| Mark { lease, name: found.id.clone() })
}

/// The principal of a deny scope: a slot that is configured, or once was.
pub(crate) fn principal(slot: &str) -> Result<Uuid, ProviderError> {
    Uuid::try_parse(slot).map_err(|_| {
        ProviderError::new(ErrorKind::Config, format!("{slot:?} is no slot: a slot is named by its object_id"))
    })
}

impl Gone {
    fn of(&self, slot: &str) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(slot).cloned().unwrap_or_default()
    }

    fn keep(&self, slot: &str, absent: BTreeSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.to_owned(), absent);
    }
}

#[cfg(test)]
#[path = "revoke_tests.rs"]
mod tests;
