use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::Clock as _;
use grantd_testkit::Signer;

use super::*;
use crate::testing::{TestClock, adapter};

#[test]
fn the_pool_and_each_service_account_are_swept() {
    let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
    let gcp = adapter("http://127.0.0.1:1", &signer, "", "0s");
    let names: Vec<String> = gcp.scopes().into_iter().map(|scope| scope.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(gcp.scopes().iter().all(|scope| gcp.capacity(scope).is_ok()));
    let capabilities = gcp.capabilities("prod").unwrap();
    assert_eq!((capabilities.min_ttl, capabilities.max_ttl), (Duration::from_secs(1), Duration::from_secs(3600)));
    assert!(gcp.capabilities("other").is_err());
}

#[test]
fn p11_a_silent_account_is_not_asked_again_at_once() {
    let clock = TestClock::at("2026-11-22T12:00:00Z");
    let signer: Arc<dyn Assertions> = Arc::new(Signer::new("https://issuer.example.com").unwrap());
    let config = crate::testing::config("");
    let http = Http::new(&config).unwrap();
    let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let account = Account::new(config.accounts["prod"].clone(), &config, &http, &as_clock, &signer);
    let silent: Result<(), _> = Err(ProviderError::new(ErrorKind::Unknown, "no answer"));
    for _ in 0..5 {
        account.admit().unwrap();
        account.record(Purpose::Issue, &silent);
    }
    assert_eq!(account.admit().unwrap_err().kind, ErrorKind::Unreachable);
    clock.advance(Duration::from_secs(5));
    account.admit().unwrap();
    assert!(account.admit().is_err(), "only one may try");
    account.record(Purpose::Issue, &Ok(()));
    account.admit().unwrap();
    assert_eq!(account.health().last_error, None);
    assert_eq!(clock.now().to_string(), "2026-11-22T12:00:05Z");
}
