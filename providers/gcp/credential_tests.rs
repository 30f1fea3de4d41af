use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use grantd_provider_api::NoAssertions;
use grantd_testkit::{FakeGoogle, Signer};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::testing;

const CALL: Call<'static> = Call { account: "prod", action: "the token", on: "it", caller: "the daemon" };

/// A signer, and a fake that trusts it.
fn stage() -> (FakeGoogle, Arc<Signer>) {
    let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
    (FakeGoogle::with_account(&signer).unwrap(), signer)
}

fn account(text: &str) -> Arc<AccountConfig> {
    let config: Config = toml::from_str(text).unwrap();
    Arc::new(config.accounts["prod"].clone())
}

fn credential(endpoint: &str, assertions: Arc<dyn Assertions>, patience: Duration) -> Credential {
    Credential::new(&account(&testing::config_text(endpoint, "")), &assertions, patience)
}

fn exchanges(fake: &FakeGoogle) -> usize {
    fake.requests().iter().filter(|one| one["method"] == "sts.token").count()
}

fn fault(fake: &FakeGoogle, fault: &Value) {
    fake.control("setup", &json!({ "faults": [fault] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_and_kept() {
    let (fake, signer) = stage();
    let credential = credential(fake.url(), signer, Duration::from_secs(10));
    assert_eq!(exchanges(&fake), 0, "nothing is sent before it is needed");
    let first = credential.token(&CALL).await.unwrap();
    let second = credential.token(&CALL).await.unwrap();
    assert_eq!(first.expose(), second.expose());
    assert_eq!(exchanges(&fake), 1);
    let reader = FakeGoogle::principal(FakeGoogle::SUBJECT);
    assert!(fake.requests()[0]["body"]["audience"].as_str().is_some_and(|it| reader.contains(&it[2..40])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_once_is_asked_again() {
    let (fake, signer) = stage();
    let credential = credential(fake.url(), signer, Duration::from_secs(10));
    fault(&fake, &json!({ "path": "/v1/token", "status": 400, "body": { "error": "invalid_grant" } }));
    let error = credential.token(&CALL).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(
        error.message.contains("invalid_grant") && error.message.contains("does not take our assertion"),
        "{error}"
    );
    credential.token(&CALL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_server_is_told_and_asked_again() {
    let (fake, signer) = stage();
    let credential = credential(fake.url(), signer, Duration::from_secs(10));
    for (given, kind) in [
        (json!({ "path": "/v1/token", "status": 503 }), ErrorKind::Unknown),
        (json!({ "path": "/v1/token", "status": 429, "body": {} }), ErrorKind::Throttled),
        (json!({ "path": "/v1/token", "drop": true }), ErrorKind::Unknown),
        (json!({ "path": "/v1/token", "status": 200, "body": { "access_token": 7 } }), ErrorKind::Unknown),
    ] {
        fault(&fake, &given);
        assert_eq!(credential.token(&CALL).await.unwrap_err().kind, kind, "{given}");
        credential.token(&CALL).await.unwrap();
        *credential.session.lock().unwrap() = None;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_nothing_a_server_wrote_is_repeated() {
    let (fake, signer) = stage();
    let credential = credential(fake.url(), signer, Duration::from_secs(10));
    let secret = "ya29.c0ASRK0GZ-token";
    for body in [json!({ "error": secret }), json!({ "error": { "message": secret } }), json!(secret)] {
        for status in [400, 403, 500] {
            fault(&fake, &json!({ "path": "/v1/token", "status": status, "body": body }));
            let error = credential.token(&CALL).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_silent_server_is_given_up_with_its_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
    let credential = credential(&endpoint, signer, Duration::from_millis(300));
    let heard = std::thread::spawn(move || {
        let (mut stream, _): (TcpStream, _) = silent.accept().unwrap();
        let mut all = Vec::new();
        // Ends when the other side has closed.
        let _ = stream.read_to_end(&mut all);
        all
    });
    let error = credential.token(&CALL).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("no answer in time"), "{error}");
    assert!(heard.join().unwrap().starts_with(b"POST /sts.googleapis.com/v1/token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_no_connection() {
    let credential = credential(
        "http://127.0.0.1:1",
        Arc::new(Signer::new("https://issuer.example.com").unwrap()),
        Duration::from_secs(5),
    );
    let error = credential.token(&CALL).await.unwrap_err();
    assert!(error.message.contains("no connection"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_it_says_what_to_add() {
    let credential = credential("http://127.0.0.1:1", Arc::new(NoAssertions), Duration::from_secs(5));
    let error = credential.token(&CALL).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("add [issuer]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_server_gives_the_machines_own() {
    let (fake, _) = stage();
    fake.control("setup", &json!({ "metadata": "machine@acme-prod.iam.gserviceaccount.com" }));
    let text = testing::config_text(fake.url(), "").replace(
        "{ type = \"assertion\", subject = \"grantd\" }",
        &format!("{{ type = \"metadata\", endpoint = \"{}\", allow_metadata_reachable = true }}", fake.url()),
    );
    let assertions: Arc<dyn Assertions> = Arc::new(NoAssertions);
    let credential = Credential::new(&account(&text), &assertions, Duration::from_secs(10));
    let token = credential.token(&CALL).await.unwrap();
    assert!(!token.expose().is_empty());
    assert_eq!(exchanges(&fake), 0);
}
