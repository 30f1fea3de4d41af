use grantd_provider_api::{Persistence, Revocation};

use super::*;
use crate::testing::{ISSUER, config, entitlement, shipped_map};

fn planned(capability: &str, audience: &str) -> Result<Plan, ProviderError> {
    plan(&config().accounts["services"], ISSUER, &entitlement(capability, audience), &shipped_map())
}

#[test]
fn p12_a_plan_shows_everything_that_the_token_will_say() {
    let plan = planned("oidc-audience:token", "https://billing.example.com").unwrap();
    assert_eq!(
        plan.native,
        json!({
            "issuer": ISSUER,
            "audience": "https://billing.example.com",
            "subject": "acme:{kind}:{name}",
            "claims": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "grantd"],
            "max_lifetime_seconds": 300,
            "exchange": false,
        })
    );
    assert_eq!(
        (plan.cloud, plan.account.as_str(), plan.targets.as_slice()),
        (Cloud::Oidc, "services", &[ISSUER.to_owned()][..])
    );
    assert_eq!(
        (plan.ending, &plan.revocation, plan.persistence),
        (Ending::Verifier, &Revocation::ExpiryOnly, Persistence::None)
    );
    let words = plan.words.join("\n");
    for there in
        ["https://billing.example.com", ISSUER, "acme:{kind}:{name}", "300 s", "cannot be taken back", "expiring"]
    {
        assert!(words.contains(there), "{there}: {words}");
    }
    assert_eq!(Native::of(&plan).unwrap().subject_of("pipeline", "deploy"), "acme:pipeline:deploy");
    assert!(!words.contains("outlive"));
}

#[test]
fn what_can_be_exchanged_is_asked_for_as_such() {
    let plan = planned("oidc-audience:exchange", "sts.amazonaws.com").unwrap();
    assert_eq!(plan.persistence, Persistence::CanCreate);
    assert!(plan.words.join("\n").contains("may outlive the lease"));
    for (capability, audience, word) in [
        ("oidc-audience:token", "sts.amazonaws.com", "oidc-audience:exchange"),
        ("oidc-audience:exchange", "https://billing.example.com", "oidc-audience:token"),
        ("oidc-audience:token", "https://other.example.com", "no tokens for"),
        ("oidc-audience:token", "https://billing.example.com/", "no tokens for"),
        ("oidc-audience:sign", "https://billing.example.com", "not in the entitlement map"),
    ] {
        let error = planned(capability, audience).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn what_a_token_cannot_say_is_refused() {
    let account = &config().accounts["services"];
    let good = entitlement("oidc-audience:token", "https://billing.example.com");
    let mut prefix = good.clone();
    prefix.narrowing.prefix = Some("a/".to_owned());
    let mut networks = good.clone();
    networks.narrowing.source_networks = vec!["10.0.0.0/8".to_owned()];
    let mut elsewhere = good.clone();
    elsewhere.resource.cloud = Cloud::Aws;
    let mut kind = good;
    kind.resource.kind = "object-storage".to_owned();
    let error = plan(account, ISSUER, &prefix, &shipped_map()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    for bad in [networks, elsewhere, kind] {
        assert_eq!(plan(account, ISSUER, &bad, &shipped_map()).unwrap_err().kind, ErrorKind::Unsupported, "{bad:?}");
    }
}

#[test]
fn a_foreign_plan_is_not_taken_for_one_of_ours() {
    let mut plan = planned("oidc-audience:token", "https://billing.example.com").unwrap();
    plan.native = json!({ "issuer": ISSUER });
    assert_eq!(Native::of(&plan).unwrap_err().kind, ErrorKind::Config);
}
