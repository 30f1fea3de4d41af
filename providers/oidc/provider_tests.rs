use grantd_provider_api::{DenyForm, Passport, Signed};

use super::*;
use crate::testing::{ISSUER, Minter, config, entitlement, shipped_map};

fn provider() -> OidcProvider {
    OidcProvider::new(config(), Arc::new(Minter::default())).unwrap()
}

fn entry() -> DenyEntry {
    DenyEntry {
        lease: "lease-aguhjfj3y5z7x4q5wmqyhz4fme".parse().unwrap(),
        session_name: "lease-aguhjfj3y5z7x4q5wmqyhz4fme".to_owned(),
        target: ISSUER.to_owned(),
        origin: None,
        form: DenyForm::Single,
    }
}

#[tokio::test]
async fn p4_no_denial_is_ever_claimed() {
    let provider = provider();
    let scope = provider.scopes().remove(0);
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    assert!(provider.deny(&scope, &[], now).await.unwrap().unchanged);
    let error = provider.deny(&scope, &[entry()], now).await.unwrap_err();
    assert!(error.kind == ErrorKind::Unsupported && error.message.contains("cannot be taken back"), "{error}");
    assert_eq!(provider.confirm(&scope, &[entry(), entry()]).await.unwrap(), [Confirmation::Absent; 2]);
    assert_eq!(provider.marked(&scope).await.unwrap(), []);
    let elsewhere = DenyScope { cloud: Cloud::Aws, ..scope };
    assert_eq!(provider.deny(&elsewhere, &[], now).await.unwrap_err().kind, ErrorKind::Config);
}

#[test]
fn what_an_account_can_do_is_data() {
    let provider = provider();
    let able = provider.capabilities("services").unwrap();
    assert_eq!((able.min_ttl.as_secs(), able.max_ttl.as_secs()), (5, 300));
    assert_eq!(provider.capabilities("gone").unwrap_err().kind, ErrorKind::Config);
    let asked = entitlement("oidc-audience:token", "https://billing.example.com");
    let plan = provider.plan(&asked, &shipped_map()).unwrap();
    let targets = provider.targets(&plan).unwrap();
    assert_eq!(
        (targets.len(), targets[0].name.as_str(), targets[0].scope.clone()),
        (1, ISSUER, provider.scopes()[0].clone())
    );
    assert_eq!((provider.harmless(&plan), provider.health().len()), (None, 1));
    let moved = Plan { targets: vec!["https://elsewhere".to_owned()], ..plan };
    assert_eq!(provider.targets(&moved).unwrap(), []);
}

#[derive(Debug)]
struct Short;

impl Passports for Short {
    fn url(&self) -> &str {
        ISSUER
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn sign(&self, _: &Passport<'_>) -> Result<Signed, ProviderError> {
        unreachable!()
    }
}

#[test]
fn p3_what_cannot_be_signed_for_cannot_be_configured() {
    assert_eq!(OidcProvider::new(config(), Arc::new(Short)).unwrap_err().kind, ErrorKind::Config);
}
