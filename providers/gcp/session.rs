//! One session: what it will be, computed before anything exists, and the calls that make it.
//!
//! The token comes first: without a binding it is good for nothing, so that every failure until then proves that nothing was
//! made. The bindings come last.

use std::time::Duration;

use grantd_provider_api::{
    Carrier, Credential, ErrorKind, Expiry, IssueRequest, Issued, LeaseId, Placement, ProviderError, Trial,
};
use jiff::Timestamp;

use crate::account::Account;
use crate::config::{AccountConfig, Config};
use crate::limits::MAX_TOKEN;
use crate::link::nothing_done;
use crate::plan::Native;
use crate::policy::{Condition, Wanted};
use crate::probe;
use crate::resource::Resource;
use crate::sts::{self, Token};
use crate::writer::Change;

/// How long to wait between two looks whether the access is felt: at first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// A session that was checked against every documented limit, and can be made.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub native: Native,
    pub name: String,
    pub member: String,
    /// When the bindings end.
    pub until: Timestamp,
    /// How long a token that can be told so is to live.
    pub lifetime: Duration,
    pub token_until: Timestamp,
    /// What is written, by policy.
    pub wanted: Vec<(Resource, Vec<Wanted>)>,
}

/// Computes the session of `request`. Pure.
pub(crate) fn prepare(
    config: &Config,
    account: &AccountConfig,
    request: &IssueRequest<'_>,
) -> Result<Prepared, ProviderError> {
    let native = Native::of(request.plan)?;
    check_target(account, &native, request)?;
    let until = end_of(account, native.expiry, request)?;
    let left = until.duration_since(request.now);
    let lifetime = Duration::try_from(left).unwrap_or_default();
    if lifetime > MAX_TOKEN {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!(
                "{} s of access is more than the {} s that a token of Google lives: ask for less",
                lifetime.as_secs(),
                MAX_TOKEN.as_secs()
            ),
        ));
    }
    let lifetime = Duration::from_secs(lifetime.as_secs().saturating_add(u64::from(lifetime.subsec_nanos() > 0)));
    let (member, titled, life) = match native.carrier {
        Carrier::Principal => (account.principal_of(request.lease), None, MAX_TOKEN),
        Carrier::ServiceAccount => (format!("serviceAccount:{}", request.target), Some(request.lease), lifetime),
    };
    let slack = config.timeouts.operation.saturating_add(config.clock_skew).saturating_add(life);
    let too_far = |_| ProviderError::new(ErrorKind::Unsupported, "the session would end beyond all calendars");
    let mut wanted = Vec::new();
    for policy in native.policies()? {
        let here = native.bindings.iter().filter(|binding| binding.policy == policy.to_string());
        let all = here.map(|binding| Wanted {
            role: binding.role.clone(),
            member: member.clone(),
            condition: (native.expiry == Expiry::Cloud)
                .then(|| Condition::until(binding.condition.as_deref(), until, titled)),
        });
        let all = all.collect();
        wanted.push((policy, all));
    }
    let policies: Vec<String> = wanted.iter().map(|(policy, _)| policy.to_string()).collect();
    Ok(Prepared {
        name: session_name(request.lease, &policies),
        member,
        until,
        lifetime,
        token_until: request.now.checked_add(slack).map_err(too_far)?,
        wanted,
        native,
    })
}

impl Prepared {
    /// What is known of the session before it exists.
    pub fn placement(&self) -> Placement {
        Placement { session_name: self.name.clone(), token_until: self.token_until }
    }
}

/// The name of a session says all that is needed to take it back: whose it is, and in which policies it stands.
fn session_name(lease: LeaseId, policies: &[String]) -> String {
    format!("{lease} on {}", policies.join(", "))
}

/// The policies that a session stands in.
///
/// # Errors
/// `Config` when it is no name of ours.
pub(crate) fn policies_of(session_name: &str) -> Result<Vec<Resource>, ProviderError> {
    let wrong = || ProviderError::new(ErrorKind::Config, format!("{session_name:?} is no session of the gcp adapter"));
    let (_, policies) = session_name.split_once(" on ").ok_or_else(wrong)?;
    policies.split(", ").map(|policy| policy.parse().map_err(|_| wrong())).collect()
}

fn check_target(account: &AccountConfig, native: &Native, request: &IssueRequest<'_>) -> Result<(), ProviderError> {
    let config = |text: String| Err(ProviderError::new(ErrorKind::Config, text));
    if request.plan.account != account.name {
        return config("the plan is for another account".to_owned());
    }
    let planned = request.plan.targets.iter().any(|target| target == request.target);
    let configured = match native.carrier {
        Carrier::Principal => request.target == account.pool_principal(),
        Carrier::ServiceAccount => account.service_accounts.iter().any(|email| email == request.target),
    };
    if planned && configured {
        return Ok(());
    }
    config(format!("account \"{}\": {} is not both in the plan and configured", account.name, request.target))
}

/// When the bindings end: at the end of the access, or up to `share_expiry` before it, never after it.
fn end_of(account: &AccountConfig, expiry: Expiry, request: &IssueRequest<'_>) -> Result<Timestamp, ProviderError> {
    let step = match expiry {
        Expiry::Cloud => i64::try_from(account.share_expiry.as_secs()).unwrap_or(1).max(1),
        Expiry::Daemon => 1,
    };
    let seconds = request.access_until.as_second();
    let until = Timestamp::from_second(seconds.saturating_sub(seconds.rem_euclid(step))).unwrap_or(request.now);
    if until > request.now {
        return Ok(until);
    }
    Err(ProviderError::new(
        ErrorKind::Unsupported,
        format!(
            "access would end before it begins, since it ends at whole multiples of {step} s: ask for at least {step} s more"
        ),
    ))
}

/// Makes the session.
pub(crate) async fn issue(
    config: &Config,
    account: &Account,
    request: &IssueRequest<'_>,
) -> Result<Issued, ProviderError> {
    let prepared = prepare(config, account.config(), request)?;
    // Until here and while the token is made, nothing has any power.
    account.link.base.token().await?;
    let token = token(account, &prepared, request).await.map_err(nothing_done)?;
    if account.link.clock.now() >= prepared.until {
        return Err(ProviderError::new(ErrorKind::Unreachable, "making the token took longer than the access lasts"));
    }
    bind(account, &prepared).await?;
    let mut notes = Vec::new();
    if !felt(account, request, &token).await {
        let (expected, worst) = (account.config().propagation.expected, account.config().propagation.worst);
        notes.push(format!(
            "Google does not show this access yet: it takes {} s as a rule and {} s at worst, until then calls can be refused",
            expected.as_secs(),
            worst.as_secs()
        ));
    }
    if prepared.until < whole(request.access_until) {
        notes.push(format!("access ends at {}, so that leases can share a binding (share_expiry)", prepared.until));
    }
    if token.until < prepared.until {
        notes.push(format!("Google made a token that ends at {} already, before the lease does", token.until));
    }
    let principal = match prepared.native.carrier {
        Carrier::Principal => prepared.member.clone(),
        Carrier::ServiceAccount => request.target.to_owned(),
    };
    let facts = prepared.wanted.iter().flat_map(|(policy, all)| {
        all.iter().map(move |one| ("binding".to_owned(), format!("{} on {policy}", one.role)))
    });
    let mut facts: Vec<(String, String)> = facts.enumerate().map(|(n, (k, v))| (format!("{k}_{n}"), v)).collect();
    facts.push(("bindings_end".to_owned(), prepared.until.to_string()));
    Ok(Issued {
        token_until: token.until,
        native_id: principal.clone(),
        origin: None,
        facts,
        notes,
        credential: Credential::Gcp { access_token: token.secret, principal, project: project_of(account, &prepared) },
    })
}

async fn token(account: &Account, prepared: &Prepared, request: &IssueRequest<'_>) -> Result<Token, ProviderError> {
    let link = &account.link;
    match prepared.native.carrier {
        Carrier::Principal => link.base.federated(&request.lease.to_string()).await,
        Carrier::ServiceAccount => {
            let token = sts::impersonate(link, request.target, prepared.lifetime).await?;
            match &prepared.native.boundary {
                Some(boundary) => sts::bound(link, request.target, &token, boundary).await,
                None => Ok(token),
            }
        }
    }
}

/// Writes the bindings. Once one may stand, the session may exist.
async fn bind(account: &Account, prepared: &Prepared) -> Result<(), ProviderError> {
    let mut written = false;
    for (policy, wanted) in &prepared.wanted {
        match account.change(policy, Change::Add(wanted.clone())).await {
            Ok(_) => written = true,
            Err(error) if written => {
                return Err(ProviderError::new(
                    ErrorKind::Unknown,
                    format!("{}; other bindings of the lease stand already and are removed", error.message),
                ));
            }
            // A conflict that could not be solved is told as something else: nothing was written.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the session is let in within the configured time. Where nothing harmless can be tried, that is not known and
/// told as not yet.
async fn felt(account: &Account, request: &IssueRequest<'_>, token: &Token) -> bool {
    let mut wait = LOOK_AGAIN.0;
    let looking = async {
        loop {
            match probe::try_token(&account.link, request.plan, &token.secret).await {
                Ok(Trial::Allowed) => return true,
                Ok(Trial::Refused) => {}
                Err(error) => {
                    tracing::debug!(lease = %request.lease, %error, "the access cannot be tried");
                    return false;
                }
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LOOK_AGAIN.1);
        }
    };
    let limit = account.config().ready_within;
    !limit.is_zero() && tokio::time::timeout(limit, looking).await.unwrap_or(false)
}

fn project_of(account: &Account, prepared: &Prepared) -> String {
    let named = prepared.wanted.iter().find_map(|(policy, _)| policy.part("projects").map(str::to_owned));
    named.or_else(|| account.config().projects.first().cloned()).unwrap_or_default()
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
