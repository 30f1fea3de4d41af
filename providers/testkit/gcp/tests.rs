//! The fake refuses what Google refuses.
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::time::Duration;

use grantd_provider_api::{Assertion, Assertions as _};
use serde_json::json;

use super::*;
use crate::process::{guarded, run};

#[test]
fn googles_own_clients_work_on_the_fake_and_read_its_refusals() {
    let signer = Signer::new("https://issuer.example.com").unwrap();
    let fake = FakeGoogle::with_account(&signer).unwrap();
    let audience = format!("https:{}", FakeGoogle::audience());
    let asked = Assertion { audience: &audience, subject: "grantd", lifetime: Duration::from_secs(60), claims: &[] };
    let assertion = signer.mint(&asked).unwrap();
    let mut command = guarded(gcp_environment().unwrap().join("bin/python"));
    command.env_clear().arg(repository_root().join("providers/testkit/gcp/clients.py"));
    command.args([fake.url(), &FakeGoogle::audience()]);
    let finished = run(command, assertion.expose(), Duration::from_secs(60)).unwrap();
    assert_eq!(finished.stdout, "done\n", "{finished}");
    // What is recorded of them is what they send. Our own requests are held to the same record.
    let (sent, recorded) = (fake.shapes(), FakeGoogle::recorded_shapes());
    assert_eq!(sent, recorded, "requests.json has to be\n{}", serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn an_assertion_passes_for_its_audience_its_time_and_its_key_alone() {
    let signer = Signer::new("https://issuer.example.com").unwrap();
    let stranger = Signer::new("https://issuer.example.com").unwrap();
    let fake = FakeGoogle::with_account(&signer).unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let good = json!({
        "iss": "https://issuer.example.com", "sub": "grantd", "aud": format!("https:{}", FakeGoogle::audience()),
        "iat": now, "exp": now + 60,
    });
    let status = |token: &str| {
        let body = json!({
            "grantType": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": FakeGoogle::audience(),
            "scope": "https://www.googleapis.com/auth/cloud-platform", "subjectToken": token,
            "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
            "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
        });
        fake.send("POST", "/sts.googleapis.com/v1/token", None, Some(&body)).unwrap().0
    };
    assert_eq!(status(&signer.sign(&good).unwrap()), 200);
    assert_eq!(status(&stranger.sign(&good).unwrap()), 400);
    for (claim, value) in [
        ("iss", json!("https://other.example.com")),
        ("aud", json!("https://iam.googleapis.com/other")),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 90_000)),
        ("sub", json!("x".repeat(128))),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        assert_eq!(status(&signer.sign(&claims).unwrap()), 400, "{claim}");
    }
    let mut other = good.clone();
    other["sub"] = json!("somebody");
    assert_eq!(status(&signer.sign(&other).unwrap()), 403, "the attribute condition of the provider");
}
