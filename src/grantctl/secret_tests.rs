//! Tests of the credential and of the forms that every cloud has.

use serde_json::{Value, json};

use super::*;

fn secret(body: Value) -> Secret {
    Secret::from(serde_json::from_value::<CredentialBody>(body).unwrap())
}

fn aws() -> Secret {
    secret(json!({ "type": "aws", "access_key_id": "ASIA", "secret_access_key": "s'k", "session_token": "tok",
        "expiration": "2026-11-22T09:05:00Z", "region": "eu-west-1" }))
}

fn azure() -> Secret {
    secret(json!({ "type": "azure", "tenant": "t-1", "client_id": "c-1", "subscription": "s-1",
        "tokens": [{ "audience": "https://storage.azure.com", "token": "jwt-1" },
            { "audience": "https://vault.azure.net/", "token": "jwt-2" }],
        "expiration": "2026-11-22T09:05:00Z" }))
}

fn gcp() -> Secret {
    secret(json!({ "type": "gcp", "access_token": "ya29", "principal": "principal://p", "project": "prj",
        "expiration": "2026-11-22T09:05:00Z" }))
}

fn token() -> Secret {
    secret(json!({ "type": "token", "token": "a.b.c", "audience": "https://billing", "issuer": "https://tokens",
        "subject": "grantd:pipeline:deploy", "expiration": "2026-11-22T09:05:00Z" }))
}

#[test]
fn lines_for_a_shell_are_those_that_the_clouds_tools_read() {
    assert_eq!(
        *aws().env("lease-b"),
        "export AWS_ACCESS_KEY_ID='ASIA'\nexport AWS_SECRET_ACCESS_KEY='s'\\''k'\nexport AWS_SESSION_TOKEN='tok'\n\
         export AWS_CREDENTIAL_EXPIRATION='2026-11-22T09:05:00Z'\nexport AWS_REGION='eu-west-1'\n\
         export AWS_DEFAULT_REGION='eu-west-1'\nexport GRANTD_LEASE='lease-b'\n"
    );
    assert_eq!(
        *gcp().env("lease-b"),
        "export GOOGLE_OAUTH_ACCESS_TOKEN='ya29'\nexport CLOUDSDK_AUTH_ACCESS_TOKEN='ya29'\n\
         export GOOGLE_CLOUD_PROJECT='prj'\nexport CLOUDSDK_CORE_PROJECT='prj'\nexport GRANTD_LEASE='lease-b'\n"
    );
    assert_eq!(
        *token().env("lease-b"),
        "export GRANTD_TOKEN='a.b.c'\nexport GRANTD_TOKEN_AUDIENCE='https://billing'\n\
         export GRANTD_TOKEN_EXPIRATION='2026-11-22T09:05:00Z'\nexport GRANTD_LEASE='lease-b'\n"
    );
    let azure = azure();
    let lines = azure.env("lease-b");
    for line in [
        "export AZURE_TENANT_ID='t-1'",
        "export ARM_SUBSCRIPTION_ID='s-1'",
        "export AZURE_ACCESS_TOKEN='jwt-1'",
        "export AZURE_ACCESS_TOKEN_STORAGE_AZURE_COM='jwt-1'",
        "export AZURE_ACCESS_TOKEN_VAULT_AZURE_NET='jwt-2'",
    ] {
        assert!(lines.lines().any(|there| there == line), "{line}");
    }
}

#[test]
fn a_document_holds_all_there_is() {
    let read = |secret: Secret| serde_json::from_slice::<Value>(&secret.document().unwrap()).unwrap();
    assert_eq!(read(aws())["Version"], 1);
    assert_eq!(read(azure())["tokens"][1], json!({ "audience": "https://vault.azure.net/", "token": "jwt-2" }));
    assert_eq!((&read(token())["token"], &read(token())["audience"]), (&json!("a.b.c"), &json!("https://billing")));
    assert_eq!((&read(gcp())["access_token"], &read(gcp())["project"]), (&json!("ya29"), &json!("prj")));
}

#[test]
fn a_form_of_another_cloud_is_refused_with_cloud_grant_and_command() {
    for (secret, cloud) in [(azure(), "Azure"), (gcp(), "Google Cloud"), (token(), "tokens of grantd's own")] {
        let failure = secret.aws().err().unwrap().failure("grant-aaaa", "credential-process");
        let line = failure.line().unwrap();
        assert_eq!(failure.exit(), Exit::Usage);
        for words in [cloud, "grant-aaaa is for", "clients of AWS", "grantctl exec --grant grant-aaaa -- COMMAND"] {
            assert!(line.contains(words), "{line}");
        }
    }
    assert!(aws().aws().is_ok());
}
