//! `doctor`: whether an account is as the configuration says and as revocation needs it. It changes nothing: it reads, and
//! has tokens made, which by themselves open nothing and are dropped.
//!
//! What may not be looked at is told as not checked; it is never taken for good.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::Method;
use grantd_provider_api::{ErrorKind, Finding, ProviderError, Secret, Standing};
use jiff::fmt::rfc2822;
use serde::Deserialize;
use uuid::Uuid;

use crate::account::Account;
use crate::arm::Assignment;
use crate::config::SlotConfig;
use crate::credential::{Claims, claims, scope_of, slot as slot_credential};
use crate::delegation;
use crate::error::Call;
use crate::names::marked_lease;
use crate::pim;
use crate::session::shown;

/// How far the cloud's clock and ours may be apart: assertions live for a minute.
const SKEW: Duration = Duration::from_secs(30);

/// What hands out roles.
const ASSIGN: &str = "microsoft.authorization/roleassignments/write";

#[derive(Deserialize)]
struct Definition {
    properties: DefinitionProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionProperties {
    role_name: String,
    permissions: Vec<Permission>,
}

#[derive(Deserialize)]
struct Permission {
    #[serde(default)]
    actions: Vec<String>,
}

/// Looks an account over.
pub(crate) async fn examine(account: &Account) -> Vec<Finding> {
    let mut findings = Vec::new();
    let base = base(account, &mut findings).await;
    clock(account, &mut findings).await;
    for slot in &account.config.slots {
        token_of(account, slot, &mut findings).await;
        alone(account, slot, &mut findings).await;
    }
    backstop(account, &mut findings);
    match base {
        Some(base) => delegated(account, base.oid, &mut findings).await,
        None => {
            let about = about(account);
            findings.push(Finding::not_checked(
                about,
                "base.delegation",
                "the base has no token, so it is not known who it is",
            ));
        }
    }
    findings
}

fn about(account: &Account) -> String {
    format!("account \"{}\"", account.config.name)
}

fn of_slot(account: &Account, slot: &SlotConfig) -> String {
    format!("account \"{}\", slot {}", account.config.name, slot.client_id)
}

async fn claims_of(
    account: &Account,
    credential: &dyn TokenCredential,
    words: &str,
) -> Result<Option<Claims>, ProviderError> {
    let audience = account.config.endpoints.resource_manager_audience();
    let call = Call { account: &account.config.name, action: "get a token for", on: audience, caller: words };
    let scope = scope_of(audience);
    let scopes = [scope.as_str()];
    let asked = tokio::time::timeout(account.timeouts.operation, credential.get_token(&scopes, None)).await;
    let late = || call.error(ErrorKind::Unreachable, "no answer in time");
    let made = asked.map_err(|_| late())?.map_err(|error| call.no_token(&error))?;
    Ok(claims(&Secret::new(made.token.secret().to_owned())))
}

/// Whether the daemon itself gets a token, and whose that is.
async fn base(account: &Account, findings: &mut Vec<Finding>) -> Option<Claims> {
    let check = "base.token";
    let words = account.arm.caller();
    match claims_of(account, account.base.as_ref(), words).await {
        Ok(Some(found)) if found.tid == account.config.tenant => {
            findings.push(Finding::ok(
                about(account),
                check,
                format!("{words} gets tokens, as principal {}", found.oid),
            ));
            Some(found)
        }
        Ok(_) => {
            let found = format!("the token of {words} is not of tenant {}", account.config.tenant);
            findings.push(Finding::bad(about(account), check, Standing::Problem, found, "correct tenant and base"));
            None
        }
        Err(error) => {
            let fix = "nothing can be issued or taken back until this works";
            findings.push(Finding::bad(about(account), check, Standing::Problem, error.message, fix));
            None
        }
    }
}

/// How far the clocks are apart, by the date of an answer.
async fn clock(account: &Account, findings: &mut Vec<Finding>) {
    let Some(subscription) = account.config.subscriptions.first() else { return };
    let (check, path) =
        ("clock", format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/permissions"));
    let call = account.arm.call("read the time of", &path);
    let answer = account.arm.send(&call, Method::Get, &path, &[], None).await;
    let date = answer.as_ref().ok().and_then(|answer| {
        let text = answer.headers().get_optional_str(&"date".into())?;
        Some(rfc2822::parse(text).ok()?.timestamp())
    });
    findings.push(match date {
        None => Finding::not_checked(about(account), check, "azure did not tell its time"),
        Some(date) => {
            let apart = account.clock.now().duration_since(date).abs();
            if Duration::try_from(apart).is_ok_and(|apart| apart <= SKEW) {
                Finding::ok(
                    about(account),
                    check,
                    format!("this machine's clock and azure's are {} s apart", apart.as_secs()),
                )
            } else {
                let found = format!("this machine's clock and azure's are {} s apart", apart.as_secs());
                Finding::bad(about(account), check, Standing::Problem, found, "check time synchronisation")
            }
        }
    });
}

/// Whether a slot takes the daemon's word, and is the principal that the configuration says.
async fn token_of(account: &Account, slot: &SlotConfig, findings: &mut Vec<Finding>) {
    let (about, check) = (of_slot(account, slot), "slot.token");
    let words = format!("slot {}", slot.client_id);
    let made = slot_credential(&account.config, slot.client_id, &slot.subject, &account.http, &account.assertions);
    let found = match made {
        Ok(credential) => claims_of(account, credential.as_ref(), &words).await,
        Err(error) => Err(error),
    };
    findings.push(match found {
        Ok(Some(found)) if found.oid == slot.object_id && found.tid == account.config.tenant => {
            Finding::ok(about, check, "it takes the daemon's word, and is the principal that is configured")
        }
        Ok(found) => {
            let whose = found.map_or_else(|| "nobody's that can be told".to_owned(), |found| found.oid.to_string());
            let fix = format!("write object_id = \"{whose}\", or correct client_id");
            let text = format!("its tokens are {whose}, and not those of object_id {}", slot.object_id);
            Finding::bad(about, check, Standing::Problem, text, fix)
        }
        Err(error) => {
            Finding::bad(about, check, Standing::Problem, error.message, "apply what grantctl bootstrap azure prints")
        }
    });
}

/// Whether anything but leases stands on a slot.
async fn alone(account: &Account, slot: &SlotConfig, findings: &mut Vec<Finding>) {
    let (about, check) = (of_slot(account, slot), "slot.assignments");
    let mut foreign = Vec::new();
    for subscription in &account.config.subscriptions {
        match account.arm.assignments(*subscription, slot.object_id).await {
            Ok(found) => {
                let asked = match requested(account, *subscription, slot, findings).await {
                    Some(asked) => asked,
                    None => return,
                };
                let ours = |one: &Assignment| {
                    let marked = one.properties.description.as_deref().and_then(marked_lease).is_some();
                    marked || asked.contains(&one.id.to_ascii_lowercase())
                };
                foreign.extend(found.into_iter().filter(|one| !ours(one)).map(|one| shown(&one.id).to_owned()));
            }
            Err(error) => {
                findings.push(Finding::not_checked(about, check, error.message));
                return;
            }
        }
    }
    findings.push(match foreign.first() {
        None => Finding::ok(about.clone(), check, "nothing is assigned to it but by leases"),
        Some(first) => {
            let found = format!("{} role assignments on it are not grantd's: {first}", foreign.len());
            let fix = format!("az role assignment delete --ids {first}");
            Finding::bad(about.clone(), check, Standing::Problem, found, fix)
        }
    });
    let why =
        "membership in groups is for Microsoft Graph to tell, for which grantd has no right: a slot must be in none";
    findings.push(Finding::not_checked(about, "slot.groups", why));
}

/// What Azure made of leases' requests, by its names in lowercase; none when that could not be seen, which is told then.
async fn requested(
    account: &Account,
    subscription: Uuid,
    slot: &SlotConfig,
    findings: &mut Vec<Finding>,
) -> Option<BTreeSet<String>> {
    if !account.config.pim_backstop {
        return Some(BTreeSet::new());
    }
    match pim::standing(&account.arm, subscription, slot.object_id).await {
        Ok(all) => {
            let marked =
                |request: &pim::Request| request.properties.justification.as_deref().and_then(marked_lease).is_some();
            Some(all.into_iter().filter(|(_, request)| marked(request)).map(|(id, _)| id).collect())
        }
        Err(error) => {
            let about = of_slot(account, slot);
            findings.push(match error.kind {
                ErrorKind::Refused | ErrorKind::Config => {
                    let fix =
                        "apply what grantctl bootstrap azure prints, and see to the licence, or turn pim_backstop off";
                    Finding::bad(about, "slot.backstop", Standing::Problem, error.message, fix)
                }
                _ => Finding::not_checked(about, "slot.backstop", error.message),
            });
            None
        }
    }
}

/// What the price of a backstop is.
fn backstop(account: &Account, findings: &mut Vec<Finding>) {
    if account.config.pim_backstop {
        let found = "with pim_backstop the base can make schedule requests, and no condition bounds those: whoever takes the \
                     daemon over can assign any role to anybody";
        let fix = "have an alarm on schedule requests for others than the slots, or turn pim_backstop off";
        findings.push(Finding::bad(about(account), "base.backstop", Standing::Warning, found, fix));
    }
}

/// Whether the base can hand out more than it is to.
async fn delegated(account: &Account, base: Uuid, findings: &mut Vec<Finding>) {
    let (about, check) = (about(account), "base.delegation");
    let slots: BTreeSet<Uuid> = account.config.slots.iter().map(|slot| slot.object_id).collect();
    for subscription in &account.config.subscriptions {
        let found = match account.arm.assignments(*subscription, base).await {
            Ok(found) => found,
            // It needs that right for each vend, so this is no mere want of sight.
            Err(error) if error.kind == ErrorKind::Refused => {
                let fix = "apply what grantctl bootstrap azure prints";
                findings.push(Finding::bad(about.clone(), check, Standing::Problem, error.message, fix));
                continue;
            }
            Err(error) => {
                findings.push(Finding::not_checked(about.clone(), check, error.message));
                continue;
            }
        };
        let mut bounded = false;
        for one in found {
            let scope = shown(&one.properties.scope).to_owned();
            let role = match definition(account, &one.properties.role_definition_id).await {
                Ok(role) => role,
                Err(error) => {
                    findings.push(Finding::not_checked(about.clone(), check, error.message));
                    continue;
                }
            };
            let actions = role.properties.permissions.iter().flat_map(|permission| &permission.actions);
            if !actions.into_iter().any(|action| reaches(action)) {
                continue;
            }
            let title = shown_title(&role.properties.role_name);
            let condition = one.properties.condition.as_deref().unwrap_or_default();
            match delegation::judge(condition, &slots, &account.config.of_base) {
                Ok(None) => {}
                Ok(Some(roles)) => {
                    bounded = true;
                    let text = format!("by {title} on {scope} it assigns {} roles to the slots alone", roles.len());
                    findings.push(Finding::ok(about.clone(), check, text));
                }
                Err(why) => {
                    let text = format!("the base has {title} on {scope}: {why}");
                    let fix = "replace it by what grantctl bootstrap azure prints";
                    findings.push(Finding::bad(about.clone(), check, Standing::Problem, text, fix));
                }
            }
        }
        if !bounded {
            let text = format!(
                "in subscription {subscription} the base has no right to assign roles that is bound as it must be"
            );
            let fix = "apply what grantctl bootstrap azure prints";
            findings.push(Finding::bad(about.clone(), check, Standing::Problem, text, fix));
        }
    }
}

async fn definition(account: &Account, id: &str) -> Result<Definition, ProviderError> {
    let call = account.arm.call("read the role definition", shown(id));
    if shown(id) != id {
        return Err(call.error(ErrorKind::Unknown, "its name makes no sense"));
    }
    let answer = account.arm.send(&call, Method::Get, id, &[], None).await?;
    if u16::from(answer.status()) != 200 {
        return Err(call.refused(answer.status().into(), answer.body().as_ref()));
    }
    serde_json::from_slice(answer.body().as_ref())
        .map_err(|_| call.error(ErrorKind::Unknown, "the answer makes no sense"))
}

/// Whether an action with wildcards covers handing out roles.
fn reaches(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    match action.split_once('*') {
        None => action == ASSIGN,
        Some((head, tail)) => {
            let rest = ASSIGN.strip_prefix(head);
            rest.is_some_and(|rest| tail.contains('*') || rest.ends_with(tail))
        }
    }
}

/// A role's title, if it can be nothing else (promise P9).
fn shown_title(title: &str) -> &str {
    let plain = title.len() <= 128 && title.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_().".contains(&b));
    if plain { title } else { "a role" }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
