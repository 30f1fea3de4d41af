use grantd_provider_api::Plan;
use jiff::Timestamp;

use super::*;
use crate::testing::{ISSUER, Minter, config, entitlement, shipped_map};

const NOW: &str = "2026-11-22T12:00:00.6Z";
const LEASE: &str = "lease-aguhjfj3y5z7x4q5wmqyhz4fme";

fn plan() -> Plan {
    let asked = entitlement("oidc-audience:token", "https://billing.example.com");
    crate::plan::plan(&config().accounts["services"], ISSUER, &asked, &shipped_map()).unwrap()
}

fn request<'a>(plan: &'a Plan, until: &str, task: &'a [(&'static str, &'a str)]) -> IssueRequest<'a> {
    let bearer = Bearer { grant: "grant-a", resource: "billing", kind: "pipeline", name: "deploy", task };
    IssueRequest {
        lease: LEASE.parse().unwrap(),
        slug: "deploy",
        plan,
        target: ISSUER,
        now: NOW.parse().unwrap(),
        access_until: until.parse().unwrap(),
        tags: &[],
        source_identity: "deploy",
        bearer,
    }
}

#[test]
fn p3_a_token_ends_with_its_lease_and_says_whose_it_is() {
    let (minter, plan) = (Minter::default(), plan());
    let task = [("system", "github"), ("run", "42")];
    let request = request(&plan, "2026-11-22T12:05:00Z", &task);
    let (_, placed) = prepare(&config().accounts["services"], ISSUER, &request).unwrap();
    let issued = issue(&config().accounts["services"], &minter, &request).unwrap();
    let until: Timestamp = "2026-11-22T12:05:00Z".parse().unwrap();
    assert_eq!((placed.session_name.as_str(), placed.token_until), (LEASE, until));
    assert_eq!((issued.token_until, issued.native_id.as_str()), (until, "acme:pipeline:deploy"));
    let asked = minter.asked.lock().unwrap();
    let said = json!({
        "jti": LEASE, "aud": "https://billing.example.com", "sub": "acme:pipeline:deploy",
        "grantd": {
            "lease": LEASE, "grant": "grant-a", "resource": "billing",
            "subject": { "kind": "pipeline", "name": "deploy" },
            "claimed_task": { "system": "github", "run": "42" },
        },
    });
    assert_eq!(*asked, [(until, said)]);
    assert!(issued.facts.contains(&("key".to_owned(), "key-1".to_owned())));
    assert!(!format!("{:?}{:?}", issued.credential, issued.facts).contains("signed"), "p9");
}

#[test]
fn p3_a_longer_life_than_planned_is_refused_with_the_number() {
    let (account, plan) = (config().accounts.remove("services").unwrap(), plan());
    assert!(prepare(&account, ISSUER, &request(&plan, "2026-11-22T12:05:00Z", &[])).is_ok());
    let error = prepare(&account, ISSUER, &request(&plan, "2026-11-22T12:05:01Z", &[])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("300 s"), "{error}");
    // One that is configured shorter since counts.
    let shorter = AccountConfig { max_lifetime: std::time::Duration::from_secs(60), ..account };
    assert!(prepare(&shorter, ISSUER, &request(&plan, "2026-11-22T12:02:00Z", &[])).is_err());
}

#[test]
fn p12_a_token_is_of_the_issuer_and_for_the_audience_that_were_planned() {
    let (account, plan) = (config().accounts.remove("services").unwrap(), plan());
    let request = request(&plan, "2026-11-22T12:05:00Z", &[]);
    assert_eq!(prepare(&account, "https://elsewhere", &request).unwrap_err().kind, ErrorKind::Config);
    let elsewhere = IssueRequest { target: "https://elsewhere", ..request.clone() };
    assert_eq!(prepare(&account, ISSUER, &elsewhere).unwrap_err().kind, ErrorKind::Config);
    let mut without = account.clone();
    without.audiences.remove("https://billing.example.com");
    assert_eq!(prepare(&without, ISSUER, &request).unwrap_err().kind, ErrorKind::Config);
    // What was approved as a token for a service is none that can be exchanged.
    let mut exchanged = account;
    exchanged.audiences.insert("https://billing.example.com".to_owned(), Taker::TokenService);
    assert_eq!(prepare(&exchanged, ISSUER, &request).unwrap_err().kind, ErrorKind::Config);
}

#[test]
fn p2_what_was_not_signed_was_not_made() {
    let (minter, plan) = (Minter { broken: true, ..Minter::default() }, plan());
    let error =
        issue(&config().accounts["services"], &minter, &request(&plan, "2026-11-22T12:05:00Z", &[])).unwrap_err();
    assert!(!error.may_have_happened());
}
