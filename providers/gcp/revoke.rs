//! Taking sessions back: their bindings are removed, in one write a policy, and looked for until they are gone.

use std::collections::{BTreeMap, BTreeSet};

use grantd_provider_api::{Confirmation, DenyEntry, DenyScope, ErrorKind, LeaseId, Mark, ProviderError, RevokeReceipt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::account::{Account, ScopeKind};
use crate::http::Ask;
use crate::policy::Ours;
use crate::resource::Resource;
use crate::session::policies_of;
use crate::writer::{Change, Done};

/// What stands between a mark's member and its policy.
const IN: &str = " in ";

/// How many pages of a search are read.
const PAGES: usize = 50;

/// Removes everything of `entries`.
pub(crate) async fn deny(account: &Account, entries: &[DenyEntry]) -> Result<RevokeReceipt, ProviderError> {
    let mut etags = Vec::new();
    let mut written = false;
    let by_policy = by_policy(entries)?;
    let all = by_policy.into_iter().map(|(policy, leases)| async move {
        match account.change(&policy, Change::Remove(leases)).await {
            // What does not exist grants nothing.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Done { etag: "gone".to_owned(), written: false }),
            outcome => outcome,
        }
    });
    // Each policy is tried, whatever becomes of the others.
    let mut failure = None;
    for outcome in join(all).await {
        match outcome {
            Ok(done) => {
                written |= done.written;
                etags.push(done.etag);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(RevokeReceipt {
            version: if etags.is_empty() { "none".to_owned() } else { etags.join(" ") },
            unchanged: !written,
            collapsed: Vec::new(),
            collapse_at: None,
        }),
    }
}

/// Looks whether nothing of `entries` stands any more.
pub(crate) async fn confirm(account: &Account, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
    let pool = account.config().subject_prefix();
    let mut standing: BTreeSet<LeaseId> = BTreeSet::new();
    for policy in by_policy(entries)?.into_keys() {
        match account.link.read(&policy).await {
            Ok(found) => standing.extend(found.ours(&pool).into_iter().map(|ours| ours.lease)),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let state = |gone: bool| if gone { Confirmation::InForce } else { Confirmation::Absent };
    Ok(entries.iter().map(|entry| state(!standing.contains(&entry.lease))).collect())
}

/// What stands in the policies of a scope and still grants something. What has ended by itself is tidied away on the way:
/// no living lease can own it.
pub(crate) async fn marked(account: &Account, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
    let kind = account.scope(&scope.name)?;
    let pool = account.config().subject_prefix();
    let policies = match &kind {
        ScopeKind::Policies(policies) => policies.iter().cloned().collect(),
        ScopeKind::Pool | ScopeKind::ServiceAccount(_) => {
            let mut policies = account.known_policies();
            if account.config().asset_search {
                policies.extend(search(account, &kind).await?);
            }
            policies
        }
    };
    let mut marks = Vec::new();
    for policy in policies {
        let found = match account.link.read(&policy).await {
            Ok(found) => found.ours(&pool),
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            // Others may let a service account in where the daemon has no say; what it wrote it can read.
            Err(error) if error.kind == ErrorKind::Refused && matches!(kind, ScopeKind::ServiceAccount(_)) => {
                tracing::warn!(%policy, %error, "a policy that names a pooled service account cannot be looked into");
                continue;
            }
            Err(error) => return Err(error),
        };
        let now = account.link.clock.now();
        let (dead, alive): (Vec<Ours>, Vec<Ours>) =
            found.into_iter().partition(|ours| ours.until.is_some_and(|until| until <= now));
        if !dead.is_empty()
            && let Err(error) = account.change(&policy, Change::Tidy).await
        {
            tracing::warn!(%policy, %error, "bindings that have ended could not be tidied away; trying again later");
        }
        let within = |ours: &Ours| match &kind {
            ScopeKind::Policies(_) => true,
            ScopeKind::Pool => ours.member.starts_with(&pool),
            ScopeKind::ServiceAccount(email) => ours.member == format!("serviceAccount:{email}"),
        };
        let named = alive.into_iter().filter(within).map(|ours| (ours.lease, ours.member));
        let each: BTreeSet<(LeaseId, String)> = named.collect();
        marks.extend(each.into_iter().map(|(lease, member)| Mark { lease, name: format!("{member}{IN}{policy}") }));
    }
    Ok(marks)
}

/// Removes what [`marked`] told of.
pub(crate) async fn remove(account: &Account, marks: &[Mark]) -> Result<(), ProviderError> {
    let mut by_policy: BTreeMap<Resource, Vec<LeaseId>> = BTreeMap::new();
    for mark in marks {
        let policy = mark.name.rsplit_once(IN).and_then(|(_, policy)| policy.parse().ok());
        let policy: Resource = policy.ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("{:?} is no mark of the gcp adapter", mark.name))
        })?;
        by_policy.entry(policy).or_default().push(mark.lease);
    }
    for (policy, leases) in by_policy {
        match account.change(&policy, Change::Remove(leases)).await {
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn by_policy(entries: &[DenyEntry]) -> Result<BTreeMap<Resource, Vec<LeaseId>>, ProviderError> {
    let mut all: BTreeMap<Resource, Vec<LeaseId>> = BTreeMap::new();
    for entry in entries {
        for policy in policies_of(&entry.session_name)? {
            all.entry(policy).or_default().push(entry.lease);
        }
    }
    Ok(all)
}

/// Drives all to their end, at once, and gives their outputs in order.
pub(crate) async fn join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *output = Some(done),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    results: Vec<Found>,
    next_page_token: String,
}

#[derive(Debug, Deserialize)]
struct Found {
    resource: String,
}

/// The policies in the account's projects that name a principal of the pool, or the service account, as Cloud Asset
/// Inventory knows them: it is minutes behind, and what was bound since the start is known without it.
async fn search(account: &Account, kind: &ScopeKind) -> Result<BTreeSet<Resource>, ProviderError> {
    let phrase = match kind {
        ScopeKind::ServiceAccount(email) => email.clone(),
        // The daemon's own principal is of the pool too, and what it may do is no lease's.
        _ => format!("{}lease", account.config().subject_prefix()),
    };
    let query = format!("policy:\"{phrase}\"");
    let mut all = BTreeSet::new();
    for project in &account.config().projects {
        let mut page_token = String::new();
        for _ in 0..PAGES {
            let on = format!("projects/{project}");
            let call = account.link.call("cloudasset.searchAllIamPolicies", &on, account.link.base.words());
            let mut url = format!(
                "{}/v1/{on}:searchAllIamPolicies?query={}&pageSize=500",
                account.config().service("cloudasset.googleapis.com"),
                utf8_percent_encode(&query, NON_ALPHANUMERIC),
            );
            if !page_token.is_empty() {
                url.push_str("&pageToken=");
                url.extend(utf8_percent_encode(&page_token, NON_ALPHANUMERIC));
            }
            let token = account.link.base.token().await?;
            let body = account.link.http.fetch(&call, Ask::get(url, Some(&token))).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|_| call.senseless("it is no list of policies"))?;
            for found in page.results {
                match found.resource.parse() {
                    Ok(resource) => {
                        all.insert(resource);
                    }
                    Err(_) => {
                        tracing::warn!(%project, "a policy of a kind that is not served here names principals of ours")
                    }
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "revoke_tests.rs"]
mod tests;
