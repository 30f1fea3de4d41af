use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::Clock as _;
use grantd_testkit::{FakeGoogle, Signer};

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
    let as_clock: Arc<dyn Clock> = clock.clone();
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

#[tokio::test]
async fn our_requests_are_those_of_googles_own_clients() {
    let stage = crate::testing::Stage::new("");
    let native = "//secretmanager.googleapis.com/projects/acme-prod/secrets/db";
    let roles = "[[capability.\"secret:read\".roles]]\nrole = \"roles/secretmanager.secretAccessor\"\n\
                 title = \"t\"\npermissions = [\"secretmanager.versions.access\"]\non = \"{native}\"";
    let map = crate::testing::map("secret:read", roles, "");
    let secret = stage.gcp.plan(&crate::testing::entitlement("secret:read", native, None), &map).unwrap();
    stage.issue(&secret, 300).await;
    let carried = crate::testing::map("object-storage:read", crate::testing::READ, "carrier = \"service_account\"");
    let wanted = crate::testing::entitlement("object-storage:read", crate::testing::ALPHA, None);
    let carried = stage.gcp.plan(&wanted, &carried).unwrap();
    stage.issue(&carried, 300).await;
    stage.gcp.examine("prod", &[]).await.unwrap();
    let recorded = FakeGoogle::recorded_shapes();
    let sent = stage.fake.shapes();
    let mut compared = 0;
    for (method, shape) in &sent {
        // The doctor asks STS for nothing, to see its clock.
        if let Some(theirs) = recorded.get(method) {
            compared += 1;
            assert_eq!(shape, theirs, "{method}");
        }
    }
    assert!(compared >= 8, "{:?}", sent.keys());
}
