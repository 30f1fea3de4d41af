//! Looks over an account: whether it is as configured, and as issuing and taking back need it. Changes nothing.
//! Whom the pool lets in is [its own room](crate::pool).

use grantd_provider_api::{ErrorKind, Finding, ProviderError, ResourceRef, Standing};
use jiff::SignedDuration;

use crate::account::Account;
use crate::config::BaseConfig;
use crate::http::{Ask, Body};
use crate::policy::Policy;
use crate::pool;
use crate::probe::own_permissions;
use crate::resource::Resource;

/// The attribute that bounds what an administrator may grant (IAM, "Set limits on granting roles").
const MODIFIED: &str = "iam.googleapis.com/modifiedGrantsByRole";

/// What lets the daemon see whom its pool lets in, and do nothing (IAM roles reference).
const POOL_VIEWER: &str = "roles/iam.workloadIdentityPoolViewer";

/// Everything that was found.
pub(crate) async fn examine(account: &Account, resources: &[ResourceRef]) -> Vec<Finding> {
    let about = format!("account \"{}\"", account.config().name);
    let mut findings = Vec::new();
    let link = &account.link;
    findings.push(clock(account, &about).await);
    match link.base.token().await {
        Ok(_) => findings.push(Finding::ok(
            &about,
            "base.exchange",
            format!("Google gives a token to {}", link.base.words()),
        )),
        Err(error) => {
            let fix = match account.config().base {
                BaseConfig::Assertion { .. } => {
                    "set the pool up as grantctl bootstrap prints it, and publish the issuer's key set where it says"
                }
                BaseConfig::Metadata { .. } => {
                    "give the machine a service account, and let the daemon reach the metadata server"
                }
            };
            findings.push(Finding::bad(&about, "base.exchange", Standing::Problem, error.message, fix));
            findings.push(Finding::not_checked(&about, "policies", "without a token nothing can be read"));
            return findings;
        }
    }
    pool::examine(account, &mut findings).await;
    for project in &account.config().projects {
        project_policy(account, project, &mut findings).await;
    }
    for email in &account.config().service_accounts {
        findings.push(service_account(account, email).await);
    }
    for resource in resources {
        examine_resource(account, resource, &mut findings).await;
    }
    findings
}

async fn clock(account: &Account, about: &str) -> Finding {
    let (link, check) = (&account.link, "clock");
    let call = link.call("the time of", "sts.googleapis.com", "the daemon");
    let url = format!("{}/v1/token", account.config().service("sts.googleapis.com"));
    let before = link.clock.now();
    // A request without a body is refused, and the refusal bears the time.
    let ask =
        Ask { method: reqwest::Method::POST, url, token: None, headers: &[], body: Body::Json(serde_json::json!({})) };
    match link.http.exchange(&call, ask).await {
        Ok(answer) => match answer.date {
            Some(theirs) => {
                let off = theirs.duration_since(before).abs();
                let allowed = SignedDuration::try_from(link.clock_skew).unwrap_or_default();
                if off <= allowed {
                    return Finding::ok(
                        about,
                        check,
                        format!(
                            "Google's clock and this machine's differ by {} s at most",
                            off.as_secs().saturating_add(1)
                        ),
                    );
                }
                let found =
                    format!("Google's clock and this machine's differ by {} s: access ends by Google's", off.as_secs());
                Finding::bad(about, check, Standing::Problem, found, "check time synchronisation")
            }
            None => Finding::not_checked(about, check, "the answer bears no time"),
        },
        Err(error) => Finding::not_checked(about, check, error.message),
    }
}

/// Whether what the daemon may grant in a project is bounded.
async fn project_policy(account: &Account, project: &str, findings: &mut Vec<Finding>) {
    let name = format!("//cloudresourcemanager.googleapis.com/projects/{project}");
    let Ok(resource) = name.parse::<Resource>() else { return };
    let check = "admin.constrained";
    match account.link.read(&resource).await {
        Ok(policy) => findings.push(constrained(account, &name, &policy)),
        Err(error) => {
            let why = format!(
                "the project's policy cannot be read ({}), so what the daemon may grant is not known",
                error.message
            );
            findings.push(Finding::not_checked(&name, check, why));
        }
    }
    findings.push(Finding::not_checked(
        &name,
        "members.constrained",
        "whether Google refuses members that are not of the pool cannot be asked without writing a policy: see that the \
         organisation policy iam.managed.allowedPolicyMembers is in force, which grantctl bootstrap prints",
    ));
}

fn constrained(account: &Account, name: &str, policy: &Policy) -> Finding {
    let check = "admin.constrained";
    let BaseConfig::Assertion { subject } = &account.config().base else {
        return Finding::not_checked(name, check, "whose the token of the metadata server is, is not known here");
    };
    let member = format!("{}{subject}", account.config().subject_prefix());
    let own = policy.granted_to(&member);
    let reads = |role: &str| role.rsplit('/').next().is_some_and(|id| id.starts_with("grantd_reader"));
    let writes = |role: &str| !reads(role) && role != POOL_VIEWER;
    let free: Vec<&str> = own
        .iter()
        .filter(|(role, condition)| {
            writes(role)
                && !condition.as_deref().is_some_and(|text| text.contains(MODIFIED) && text.contains("hasOnly"))
        })
        .map(|(role, _)| role.as_str())
        .collect();
    if !free.is_empty() {
        let found = format!("the daemon has {} there without a limit on which roles it can grant", free.join(", "));
        let fix = "bind it under the condition that grantctl bootstrap prints (modifiedGrantsByRole … hasOnly)";
        return Finding::bad(name, check, Standing::Problem, found, fix);
    }
    if own.iter().any(|(role, _)| writes(role)) {
        return Finding::ok(name, check, "the daemon can grant the roles alone that its condition names");
    }
    Finding::not_checked(
        name,
        check,
        "the daemon has no role of its own in the project's policy; above it nothing was looked at",
    )
}

async fn service_account(account: &Account, email: &str) -> Finding {
    let check = "service_account.token";
    let project = email.split_once('@').and_then(|(_, rest)| rest.split_once('.')).map_or("-", |(project, _)| project);
    let name = format!("//iam.googleapis.com/projects/{project}/serviceAccounts/{email}");
    let Ok(resource) = name.parse::<Resource>() else {
        return Finding::not_checked(email, check, "its name is none");
    };
    let needed = "iam.serviceAccounts.getAccessToken";
    match own_permissions(&account.link, &resource, &[needed]).await {
        Ok(has) if has.iter().any(|one| one == needed) => Finding::ok(email, check, "the daemon can make tokens of it"),
        Ok(_) => {
            let fix = "grant roles/iam.serviceAccountTokenCreator on it to the daemon's principal";
            Finding::bad(email, check, Standing::Problem, format!("the daemon has not {needed} on it"), fix)
        }
        Err(error) => failed(email, check, &error),
    }
}

async fn examine_resource(account: &Account, given: &ResourceRef, findings: &mut Vec<Finding>) {
    let name = &given.native;
    let Ok(resource) = name.parse::<Resource>() else {
        let found = "it is no full resource name that has an allow policy here";
        findings.push(Finding::bad(name, "resource.name", Standing::Problem, found, "correct the catalogue"));
        return;
    };
    let policy = match account.link.read(&resource).await {
        Ok(policy) => policy,
        Err(error) => return findings.push(failed(name, "policy.read", &error)),
    };
    findings.push(Finding::ok(name, "policy.read", "its policy can be read"));
    let needed = resource.set_permission();
    findings.push(match own_permissions(&account.link, &resource, &[&needed]).await {
        Ok(has) if has.contains(&needed) => Finding::ok(name, "policy.write", format!("the daemon has {needed} on it")),
        Ok(_) => {
            let fix = "give the daemon its role in the project, as grantctl bootstrap prints it";
            Finding::bad(name, "policy.write", Standing::Problem, format!("the daemon has not {needed} on it"), fix)
        }
        Err(error) => failed(name, "policy.write", &error),
    });
    let (principals, conditions) = policy.counts();
    let now = account.link.clock.now();
    let ours = policy.ours(&account.config().subject_prefix());
    let dead = ours.iter().filter(|one| one.until.is_some_and(|until| until <= now)).count();
    let told =
        format!("{principals} principals and {conditions} conditional bindings, {} of them grantd's", ours.len());
    findings.push(if dead > 0 {
        let found = format!("{told}; {dead} have ended and only take room");
        Finding::bad(name, "policy.bindings", Standing::Warning, found, "the next write or sweep tidies them away")
    } else {
        Finding::ok(name, "policy.bindings", told)
    });
    let foreign = policy.marked_by_others(&account.config().subject_prefix());
    if !foreign.is_empty() {
        let found = format!("{} look like grantd's and are of another pool", foreign.join(", "));
        let fix = "find out which daemon writes there: this one will not touch them";
        findings.push(Finding::bad(name, "policy.foreign", Standing::Warning, found, fix));
    }
}

fn failed(about: &str, check: &'static str, error: &ProviderError) -> Finding {
    match error.kind {
        ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Config => {
            let fix =
                "see that it exists and that the daemon has its role in the project, as grantctl bootstrap prints it";
            Finding::bad(about, check, Standing::Problem, error.message.clone(), fix)
        }
        _ => Finding::not_checked(about, check, error.message.clone()),
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
