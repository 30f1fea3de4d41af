use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::query::percent_encoded;

const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";
const SLOT: &str = "00000000-0000-4000-8000-00000005107a";

/// The first of Entra's error codes, or 0 for a token.
fn asked(fake: &FakeAzure, tenant: &str, client: &str, scope: &str, assertion: &str) -> i64 {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
        ("scope", scope),
    ];
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
    let Reply::Answer(answer) = fake.fake.token(tenant, body.join("&").as_bytes()) else { panic!("no answer") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    match body["access_token"].is_string() {
        true => 0,
        false => body["error_codes"][0].as_i64().unwrap(),
    }
}

#[test]
fn each_flaw_of_an_assertion_is_refused_by_its_own_number() {
    let (issuer, stranger) = (TestIssuer::new("https://issuer.test"), TestIssuer::new("https://issuer.test"));
    let fake = FakeAzure::start(FakeAzureSettings::sample(&issuer)).unwrap();
    let now = fake.fake.now();
    let claims = |changes: Value| {
        let mut claims = json!({
            "iss": "https://issuer.test", "sub": "slot-0", "aud": "api://AzureADTokenExchange", "nbf": now, "exp": now + 60,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let scope = "https://storage.azure.com/.default";
    for (changes, code) in [
        (json!({}), 0),
        (json!({ "aud": "api://other" }), 700_212),
        (json!({ "aud": ["api://AzureADTokenExchange"] }), 700_212),
        (json!({ "iss": "https://other.test" }), 700_211),
        (json!({ "sub": "slot-1" }), 700_213),
        (json!({ "exp": now - 301 }), 700_024),
        (json!({ "nbf": now + 400, "exp": now + 460 }), 700_024),
    ] {
        assert_eq!(asked(&fake, TENANT, SLOT, scope, &issuer.sign(&claims(changes.clone()))), code, "{changes}");
    }
    let good = issuer.sign(&claims(json!({})));
    assert_eq!(asked(&fake, TENANT, SLOT, scope, &stranger.sign(&claims(json!({})))), 50_013);
    assert_eq!(asked(&fake, TENANT, SLOT, scope, "no token"), 50_027);
    assert_eq!(asked(&fake, "common", SLOT, scope, &good), 90_002);
    assert_eq!(asked(&fake, TENANT, TENANT, scope, &good), 700_016);
    assert_eq!(asked(&fake, TENANT, SLOT, "https://storage.azure.com", &good), 1_002_012);
    assert_eq!(asked(&fake, TENANT, SLOT, "https://other.test/.default", &good), 500_011);
}
