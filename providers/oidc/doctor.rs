//! Looks over an account. Whether the issuer's keys are published is looked at where its keys are.

use std::collections::BTreeSet;

use grantd_provider_api::{Finding, ResourceRef, Standing};

use crate::config::{AccountConfig, Taker};
use crate::map::AUDIENCE;

/// Everything that was found. `resources` are those that the catalogue has in the account.
pub(crate) fn examine(account: &AccountConfig, resources: &[ResourceRef]) -> Vec<Finding> {
    let about = format!("account {}", account.name);
    let mut findings = Vec::new();
    let named = |taker: Taker| -> Vec<&str> {
        account.audiences.iter().filter(|(_, of)| **of == taker).map(|(audience, _)| audience.as_str()).collect()
    };
    let exchanged = named(Taker::TokenService);
    if !exchanged.is_empty() {
        findings.push(Finding::bad(
            &about,
            "audience.exchange",
            Standing::Warning,
            format!("tokens for {} are exchanged for credentials that may outlive their lease", exchanged.join(", ")),
            "keep what they are exchanged for short and narrow there, and trust one subject each",
        ));
    }
    let known: BTreeSet<&str> = resources.iter().map(|resource| resource.native.as_str()).collect();
    for resource in resources {
        let (native, check) = (&resource.native, "audience.configured");
        findings.push(match (resource.kind == AUDIENCE, account.audiences.contains_key(native)) {
            (true, true) => Finding::ok(native, check, "tokens are made for it when it is granted"),
            (true, false) => Finding::bad(
                native,
                check,
                Standing::Problem,
                "the catalogue has it, and the account makes no tokens for it",
                "add it to audiences of the account, or take it out of the catalogue",
            ),
            (false, _) => Finding::bad(
                native,
                check,
                Standing::Problem,
                format!("it is catalogued as {}, which nothing can be asked for on", resource.kind),
                format!("say type = \"{AUDIENCE}\" in the catalogue"),
            ),
        });
    }
    let unused: Vec<&str> =
        account.audiences.keys().map(String::as_str).filter(|audience| !known.contains(audience)).collect();
    if !unused.is_empty() {
        findings.push(Finding::bad(
            &about,
            "audience.catalogued",
            Standing::Warning,
            format!("nobody can ask for a token for {}: the catalogue does not have it", unused.join(", ")),
            "add it to the catalogue, or take it out of the account",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, entitlement};

    #[test]
    fn an_audience_that_is_on_one_side_alone_is_found() {
        let account = &config().accounts["services"];
        let resource = |native: &str| entitlement("oidc-audience:token", native).resource;
        let mut odd = resource("https://billing.example.com");
        odd.kind = "object-storage".to_owned();
        let findings = examine(account, &[resource("https://billing.example.com"), resource("https://gone"), odd]);
        let told: Vec<(&str, Standing)> = findings.iter().map(|found| (found.check, found.standing)).collect();
        assert_eq!(
            told,
            [
                ("audience.exchange", Standing::Warning),
                ("audience.configured", Standing::Ok),
                ("audience.configured", Standing::Problem),
                ("audience.configured", Standing::Problem),
                ("audience.catalogued", Standing::Warning),
            ]
        );
        assert!(findings[4].found.contains("sts.amazonaws.com"));
    }
}
