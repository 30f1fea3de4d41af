//! `doctor`: whom the workload identity pool lets in, and as whom. Every principal of a lease is one of the pool's, so whoever
//! else can become one has what a lease has.

use std::collections::BTreeMap;

use grantd_provider_api::{ErrorKind, Finding, ProviderError, Standing};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::account::Account;
use crate::bootstrap::attribute_condition;
use crate::config::AccountConfig;
use crate::http::Ask;

/// What becomes the principal's subject, and what it is made of.
const SUBJECT: (&str, &str) = ("google.subject", "assertion.sub");

/// What to do about nearly all of it.
const FIX: &str = "apply what grantctl bootstrap gcp prints";

/// A provider of a pool, as far as it matters here (IAM API, `projects.locations.workloadIdentityPools.providers`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PoolProvider {
    name: String,
    state: String,
    disabled: bool,
    attribute_mapping: BTreeMap<String, String>,
    attribute_condition: String,
    oidc: Option<Oidc>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Oidc {
    issuer_uri: String,
    allowed_audiences: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    workload_identity_pool_providers: Vec<PoolProvider>,
    next_page_token: String,
}

/// Looks at the configured provider, and whether the pool has others.
pub(crate) async fn examine(account: &Account, findings: &mut Vec<Finding>) {
    let config = account.config();
    let about = config.sts_audience();
    let check = "pool.provider";
    match read::<PoolProvider>(account, about.trim_start_matches("//iam.googleapis.com/"), &about).await {
        Ok(found) => {
            let wrong = wrong_with(&found, config, account.link.base.issuer());
            if wrong.is_empty() {
                let text =
                    "it takes this daemon's word for leases and the daemon alone, and makes nothing else of them";
                findings.push(Finding::ok(&about, check, text));
            }
            findings.extend(wrong.into_iter().map(|why| Finding::bad(&about, check, Standing::Problem, why, FIX)));
        }
        Err(error) => findings.push(unseen(&about, check, &error, "iam.workloadIdentityPoolProviders.get")),
    }
    findings.push(others(account).await);
}

/// Another provider of the same pool makes principals under the same names.
async fn others(account: &Account) -> Finding {
    let config = account.config();
    let audience = config.sts_audience();
    let pool = audience.rsplit_once("/providers/").map_or(audience.as_str(), |(pool, _)| pool);
    let check = "pool.providers";
    let path = format!("{}/providers", pool.trim_start_matches("//iam.googleapis.com/"));
    match read::<Listed>(account, &path, pool).await {
        Ok(listed) if !listed.next_page_token.is_empty() => {
            Finding::not_checked(pool, check, "the pool has more providers than are told at once")
        }
        Ok(listed) => {
            let all = listed.workload_identity_pool_providers;
            let ids = all.iter().map(|one| one.name.rsplit('/').next().unwrap_or_default());
            let foreign: Vec<&str> = ids.filter(|id| *id != config.provider).collect();
            if foreign.is_empty() {
                return Finding::ok(pool, check, "it has no provider but the configured one");
            }
            let shown: Vec<&str> = foreign.iter().map(|id| plain(id)).collect();
            let found = format!(
                "the pool has other providers ({}): whom they let in under the name of a lease has what the lease has",
                shown.join(", ")
            );
            Finding::bad(pool, check, Standing::Problem, found, "delete them: the pool is grantd's alone")
        }
        Err(error) => unseen(pool, check, &error, "iam.workloadIdentityPoolProviders.list"),
    }
}

/// Everything that is not as bootstrap prints it. Pure.
fn wrong_with(found: &PoolProvider, config: &AccountConfig, issuer: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if found.disabled || !matches!(found.state.as_str(), "" | "ACTIVE") {
        wrong.push("it is disabled or deleted, so nothing can be issued".to_owned());
    }
    let oidc = found.oidc.clone().unwrap_or_default();
    if oidc.issuer_uri != issuer {
        wrong.push(format!("it takes the word of {}, and this daemon is {issuer}", plain(&oidc.issuer_uri)));
    }
    let ours = config.assertion_audience();
    if !oidc.allowed_audiences.is_empty() && !oidc.allowed_audiences.contains(&ours) {
        wrong.push(format!("it does not take assertions for {ours}, which the daemon makes"));
    }
    if let Some(other) = oidc.allowed_audiences.iter().find(|audience| **audience != ours) {
        wrong.push(format!("it takes assertions that are for {}: tokens for somebody else pass here", plain(other)));
    }
    match found.attribute_mapping.get(SUBJECT.0).map(|text| text.trim()) {
        Some(text) if text == SUBJECT.1 => {}
        Some(text) => wrong.push(format!(
            "it makes the principal of {} and not of {}: whose a principal is does not follow from the lease",
            plain(text),
            SUBJECT.1
        )),
        None => wrong.push(format!("it does not map {}", SUBJECT.0)),
    }
    if let Some(name) = found.attribute_mapping.keys().find(|name| *name != SUBJECT.0) {
        wrong.push(format!(
            "it maps {} too: a lease then has whatever is granted to all principals with that attribute",
            plain(name)
        ));
    }
    let wanted = attribute_condition(config);
    let even = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    if found.attribute_condition.trim().is_empty() {
        wrong.push(
            "it has no attribute condition: every subject that the issuer signs for becomes a principal".to_owned(),
        );
    } else if even(&found.attribute_condition) != even(&wanted) {
        wrong.push(
            "its attribute condition is not the one that grantctl bootstrap prints, so whom it lets in is not known here"
                .to_owned(),
        );
    }
    wrong
}

async fn read<T: DeserializeOwned>(account: &Account, path: &str, on: &str) -> Result<T, ProviderError> {
    let link = &account.link;
    let call = link.call("look at", on, link.base.words());
    let token = link.base.token().await?;
    let url = format!("{}/v1/{path}", link.config.service("iam.googleapis.com"));
    let body = link.http.fetch(&call, Ask::get(url, Some(&token))).await?;
    serde_json::from_slice(&body).map_err(|_| call.senseless("it is no provider of a pool"))
}

fn unseen(about: &str, check: &'static str, error: &ProviderError, needed: &str) -> Finding {
    match error.kind {
        ErrorKind::NotFound => Finding::bad(about, check, Standing::Problem, error.message.clone(), FIX),
        _ => Finding::not_checked(about, check, format!("{} (it needs {needed})", error.message)),
    }
}

/// What somebody else wrote, if it can be nothing else (promise P9).
fn plain(text: &str) -> &str {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/' ()[]".contains(&b);
    if !text.is_empty() && text.len() <= 256 && text.bytes().all(known) { text } else { "something that is not shown" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    const ISSUER: &str = "https://issuer.example.com";

    fn good(account: &AccountConfig) -> PoolProvider {
        PoolProvider {
            name: "projects/1/locations/global/workloadIdentityPools/grantd/providers/grantd".to_owned(),
            state: "ACTIVE".to_owned(),
            attribute_mapping: BTreeMap::from([(SUBJECT.0.to_owned(), SUBJECT.1.to_owned())]),
            attribute_condition: attribute_condition(account),
            oidc: Some(Oidc { issuer_uri: ISSUER.to_owned(), allowed_audiences: Vec::new() }),
            disabled: false,
        }
    }

    #[test]
    fn a_provider_that_lets_in_more_is_told_with_how() {
        let account = config("").accounts.remove("prod").unwrap();
        assert!(wrong_with(&good(&account), &account, ISSUER).is_empty());
        let changed = |change: &dyn Fn(&mut PoolProvider)| {
            let mut found = good(&account);
            change(&mut found);
            wrong_with(&found, &account, ISSUER).join("; ")
        };
        let map = |found: &mut PoolProvider, name: &str, text: &str| {
            found.attribute_mapping.insert(name.to_owned(), text.to_owned());
        };
        let oidc = |found: &mut PoolProvider, issuer: &str, audiences: &[&str]| {
            let allowed_audiences = audiences.iter().map(|&one| one.to_owned()).collect();
            found.oidc = Some(Oidc { issuer_uri: issuer.to_owned(), allowed_audiences });
        };
        let ours = account.assertion_audience();
        for (said, says) in [
            (changed(&|found| found.disabled = true), "disabled"),
            (changed(&|found| found.state = "DELETED".to_owned()), "disabled or deleted"),
            (changed(&|found| found.oidc = None), "takes the word of"),
            (changed(&|found| oidc(found, "https://other.test", &[])), "https://other.test"),
            (changed(&|found| oidc(found, ISSUER, &["x"])), "does not take assertions for"),
            (changed(&|found| oidc(found, ISSUER, &[&ours, "x"])), "for x"),
            (changed(&|found| map(found, SUBJECT.0, "assertion.email")), "assertion.email"),
            (changed(&|found| found.attribute_mapping.clear()), "does not map"),
            (changed(&|found| map(found, "google.groups", "assertion.groups")), "google.groups"),
            (changed(&|found| found.attribute_condition.clear()), "no attribute condition"),
            (changed(&|found| found.attribute_condition = "true".to_owned()), "not the one"),
        ] {
            assert!(said.contains(says), "{says}: {said}");
        }
        // White space means nothing.
        assert_eq!(changed(&|found| found.attribute_condition = found.attribute_condition.replace(' ', "\n")), "");
    }
}
