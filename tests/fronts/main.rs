//! Google's and Microsoft's own clients, unmodified, at the fronts of `grantctl exec`, and what is refused there.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that breaks must say so"
)]

mod command;
mod configured;
mod vendor;

use std::fs;
use std::time::Duration;

use command::Command;
use grantd_tests::{Scene, User, eventually};
use serde_json::{Value, json};
use vendor::{Cloud, Vendor};

const LONG: i64 = 900;

fn stage(cloud: Cloud, life: i64) -> (Scene, Vendor) {
    let scene = Scene::new();
    let vendor = Vendor::start(&scene.socket(), cloud, life);
    (scene, vendor)
}

/// Something of every cloud that a user has lying about, and the environment that leads to it.
fn lie_about(scene: &Scene) {
    let adc = r#"{"type":"authorized_user","client_id":"u","client_secret":"u","refresh_token":"u"}"#;
    scene.write("home/gt-alice/.config/gcloud/application_default_credentials.json", adc, User::Alice, 0o600);
    scene.write("home/gt-alice/.azure/azureProfile.json", "{\"subscriptions\":[]}", User::Alice, 0o600);
}

const AMBIENT: [(&str, &str); 6] = [
    ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/theirs.json"),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN", "theirs"),
    ("AZURE_CLIENT_SECRET", "theirs"),
    ("AZURE_CLIENT_ID", "theirs"),
    ("AZURE_TENANT_ID", "theirs"),
    ("MSI_ENDPOINT", "http://127.0.0.1:9/"),
];

#[test]
fn googles_clients_find_the_token_whatever_their_user_has_lying_about() {
    let (scene, vendor) = stage(Cloud::Gcp, LONG);
    lie_about(&scene);
    let mut command = Command::start(&scene, &[], &AMBIENT);
    let token = vendor.secrets(1).remove(0);
    let by_default = command.asks(&json!(["gcp_default", "adc"]));
    assert_eq!(by_default["token"], token, "{by_default}");
    assert_eq!(
        (&by_default["kind"], &by_default["project"]),
        (&json!("google.auth.identity_pool"), &json!("shop-prod"))
    );
    // To the second, give or take that of the client's own clock reading.
    let until = |answer: &Value| answer["until"].as_i64().unwrap() - vendor.until(1);
    assert!((-2..=1).contains(&until(&by_default)), "{by_default}");
    let by_metadata = command.asks(&json!(["gcp_metadata"]));
    assert_eq!(by_metadata["token"], token, "{by_metadata}");
    assert_eq!(by_metadata["account"], "lease-0001");
    assert_eq!((&by_metadata["project"], &by_metadata["universe"]), (&json!("shop-prod"), &json!("googleapis.com")));
    assert!((-2..=1).contains(&until(&by_metadata)), "{by_metadata}");
    // Without the file too: then the metadata server is what they find.
    command.asks(&json!(["unset", "GOOGLE_APPLICATION_CREDENTIALS"]));
    let found = command.asks(&json!(["gcp_default", "found"]));
    assert_eq!((&found["token"], &found["kind"]), (&json!(token), &json!("google.auth.compute_engine.credentials")));
    for _ in 0..3 {
        assert_eq!(command.asks(&json!(["gcp_default", "adc"]))["token"], token);
    }
    assert_eq!(vendor.issued(), 1, "each refresh is served from the live lease");
    assert!(command.said().contains("kept from the command: AZURE_CLIENT_ID"), "{}", command.said());
    command.leave();
    assert_eq!(vendor.states(), ["revoked"]);
}

#[test]
fn googles_clients_show_why_there_is_no_token() {
    let (scene, vendor) = stage(Cloud::Gcp, LONG);
    let mut command = Command::start(&scene, &[], &[]);
    let identity = command.asks(&json!(["gcp_identity", "https://service.example"]));
    assert!(identity["error"].is_string(), "{identity}");
    vendor.revoke("laptop lost");
    eventually("it is told", Duration::from_secs(20), || command.said().contains("access is over"));
    for way in [json!(["gcp_default", "adc"]), json!(["gcp_metadata"])] {
        let answer = command.asks(&way);
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(error.starts_with("RefreshError") || error.starts_with("OAuthError"), "{error}");
        assert!(error.contains("grant-aaaa is revoked: laptop lost"), "{error}");
        assert!(!error.contains("t0ken"), "{error}");
    }
}

#[test]
fn microsofts_clients_get_the_token_of_each_audience_in_both_shapes() {
    let (scene, vendor) = stage(Cloud::Azure, LONG);
    lie_about(&scene);
    let mut command = Command::start(&scene, &[], &AMBIENT);
    let secrets = vendor.secrets(1);
    let mut asked = |shape: &str| {
        for (scope, token) in [
            ("https://storage.azure.com/.default", &secrets[0]),
            ("https://storage.azure.com//.default", &secrets[0]),
            ("https://vault.azure.net/.default", &secrets[1]),
        ] {
            for kind in ["ManagedIdentityCredential", "DefaultAzureCredential"] {
                let answer = command.asks(&json!(["azure", format!("{shape}{kind}{scope}"), kind, scope]));
                assert_eq!(answer["token"], *token, "{shape} {kind} {scope}: {answer}");
                let until = answer["until"].as_i64().unwrap() - vendor.until(1);
                assert!((-2..=1).contains(&until), "{answer}");
            }
        }
        let named = json!(["azure_named", shape, "ManagedIdentityCredential", "https://vault.azure.net/.default",
            { "client_id": "slot-1" }]);
        assert_eq!(command.asks(&named)["token"], secrets[1]);
        if shape == "site" {
            command.asks(&json!(["unset", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"]));
        }
    };
    asked("site");
    asked("machine");
    assert_eq!(vendor.issued(), 1, "each refresh is served from the live lease");
    assert_eq!(command.variable("ARM_SUBSCRIPTION_ID"), "sub-1");
    command.leave();
    assert_eq!(vendor.states(), ["revoked"]);
}

#[test]
fn microsofts_clients_show_which_audiences_there_are_and_why_there_is_no_token() {
    let (scene, vendor) = stage(Cloud::Azure, LONG);
    let mut command = Command::start(&scene, &[], &[]);
    let ask = |command: &mut Command, name: &str, scope: &str, named: Value| {
        let answer = command.asks(&json!(["azure_named", name, "ManagedIdentityCredential", scope, named]));
        answer["error"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let management = "https://management.azure.com/.default";
    let has = "it has https://storage.azure.com, https://vault.azure.net";
    let site = ask(&mut command, "site", management, json!({}));
    assert!(site.contains(has), "{site}");
    let other = ask(&mut command, "other", "https://vault.azure.net/.default", json!({ "client_id": "other" }));
    assert!(other.contains("identity other is not that of the lease, slot-1"), "{other}");
    command.asks(&json!(["unset", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"]));
    let machine = ask(&mut command, "machine", management, json!({}));
    assert!(machine.contains(has), "{machine}");
    vendor.revoke("laptop lost");
    eventually("it is told", Duration::from_secs(20), || command.said().contains("access is over"));
    let over = ask(&mut command, "over", "https://vault.azure.net/.default", json!({}));
    assert!(over.contains("grant-aaaa is revoked: laptop lost") && !over.contains("t0ken"), "{over}");
}

#[test]
fn a_command_that_runs_longer_than_its_lease_is_given_the_next_ones_token() {
    for cloud in [Cloud::Gcp, Cloud::Azure] {
        let (scene, vendor) = stage(cloud, 6);
        let mut command =
            Command::start(&scene, &["--format", if cloud == Cloud::Gcp { "file" } else { "front" }], &[]);
        let ask = match cloud {
            Cloud::Gcp => json!(["gcp_default", "adc"]),
            Cloud::Azure => json!(["azure", "a", "ManagedIdentityCredential", "https://vault.azure.net/.default"]),
        };
        let file = command.variable("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE");
        for n in 1..=3 {
            let token = vendor.secrets(n).pop().unwrap();
            eventually("the token is that of the next lease", Duration::from_secs(20), || {
                let answer = command.asks(&ask);
                assert!(answer["token"].is_string(), "{answer}");
                answer["token"] == token
            });
            if cloud == Cloud::Gcp {
                eventually("the file is kept current", Duration::from_secs(20), || {
                    let written = fs::read_to_string(&file).unwrap();
                    (n..=vendor.issued()).any(|n| vendor.secrets(n).contains(&written))
                });
            }
        }
        command.leave();
        assert!(!fs::exists(&file).unwrap());
        assert_eq!(vendor.states().pop(), Some("revoked"), "the last one is given back");
    }
}

#[test]
fn a_daemon_that_cannot_vend_is_told_of_with_its_reason_and_asked_again() {
    for cloud in [Cloud::Gcp, Cloud::Azure] {
        let (scene, vendor) = stage(cloud, 3);
        let mut command = Command::start(&scene, &[], &[]);
        let scope = "https://vault.azure.net/.default";
        let ask = match cloud {
            Cloud::Gcp => json!(["gcp_default", "adc"]),
            // Its own retries are for its own tests.
            Cloud::Azure => json!(["azure_named", "a", "ManagedIdentityCredential", scope, { "retry_total": 1 }]),
        };
        assert!(command.asks(&ask)["token"].is_string());
        vendor.out_of_order(Some("the audit cannot be written: disk full"));
        eventually("the live lease is over, and the client shows why", Duration::from_secs(40), || {
            let answer = command.asks(&ask);
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(
                answer["token"].is_string() || error.contains("the audit cannot be written: disk full"),
                "{answer}"
            );
            !error.is_empty()
        });
        vendor.out_of_order(None);
        eventually("there is a token again", Duration::from_secs(40), || command.asks(&ask)["token"].is_string());
    }
}

#[test]
fn p9_the_fronts_refuse_whoever_the_command_did_not_start_and_who_asks_in_another_way() {
    for cloud in [Cloud::Gcp, Cloud::Azure] {
        let (scene, vendor) = stage(cloud, LONG);
        let mut command = Command::start(&scene, &[], &[]);
        let asked: Vec<(String, &str, Value, Option<String>)> = match cloud {
            Cloud::Gcp => {
                let authority = command.variable("GCE_METADATA_HOST");
                let config = fs::read_to_string(command.variable("GOOGLE_APPLICATION_CREDENTIALS")).unwrap();
                let config: Value = serde_json::from_str(&config).unwrap();
                let key = fs::read_to_string(config["credential_source"]["file"].as_str().unwrap()).unwrap();
                let form = format!("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={key}");
                let path = "computeMetadata/v1/instance/service-accounts/default/token";
                vec![
                    (format!("http://{authority}/{path}"), "GET", json!({ "Metadata-Flavor": "Google" }), None),
                    (config["token_url"].as_str().unwrap().to_owned(), "POST", json!({}), Some(form)),
                ]
            }
            Cloud::Azure => {
                let (site, key) = (command.variable("IDENTITY_ENDPOINT"), command.variable("IDENTITY_HEADER"));
                let machine = command.variable("ARM_MSI_ENDPOINT");
                let resource = "resource=https://vault.azure.net";
                vec![
                    (
                        format!("{site}?api-version=2019-08-01&{resource}"),
                        "GET",
                        json!({ "X-IDENTITY-HEADER": key }),
                        None,
                    ),
                    (
                        format!("{machine}?api-version=2018-02-01&{resource}"),
                        "GET",
                        json!({ "Metadata": "true" }),
                        None,
                    ),
                ]
            }
        };
        for (url, method, headers, form) in asked {
            let served = command.asks(&json!(["ask", url, method, headers, form]));
            assert_eq!(served["status"], 200, "{served}");
            assert!(served["body"].as_str().unwrap().contains("t0ken"), "{served}");
            let mut rebound = headers.clone();
            rebound["Host"] = json!("rebound.example");
            let host = command.asks(&json!(["ask", url, method, rebound, form]));
            assert_eq!(host["status"], 403, "{host}");
            for user in [User::Alice, User::Bob, User::Root] {
                let mut arguments = vec!["-s".to_owned(), "-w".to_owned(), "\n%{http_code}".to_owned()];
                for (name, value) in headers.as_object().unwrap() {
                    arguments.extend(["-H".to_owned(), format!("{name}: {}", value.as_str().unwrap())]);
                }
                form.iter().for_each(|form| arguments.extend(["-d".to_owned(), form.clone()]));
                arguments.push(url.clone());
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let stranger = scene.caller(user).run("curl", &arguments);
                assert!(stranger.stdout.ends_with("\n403"), "{user:?}: {stranger}");
                assert!(!stranger.stdout.contains("t0ken"), "{stranger}");
            }
        }
        // Nothing of a credential is in the command's environment, and none in a file.
        let environment = command.asks(&json!(["environment"])).to_string();
        assert!(vendor.secrets(1).iter().all(|secret| !environment.contains(secret.as_str())));
        assert!(command.said().contains("refused a connection: only the command"), "{}", command.said());
    }
}

#[test]
fn nothing_is_started_with_a_form_that_the_cloud_does_not_have_and_the_lease_is_given_back() {
    let (scene, vendor) = stage(Cloud::Azure, LONG);
    let done = scene.caller(User::Alice).grantctl(&["exec", "--format", "file", "--", "true"]);
    assert_eq!(done.status.code(), Some(102), "{done}");
    assert!(done.stderr.contains("grant-aaaa is for Azure") && done.stderr.contains("was not started"), "{done}");
    assert_eq!(vendor.states(), ["revoked"]);
    let done = scene.caller(User::Alice).grantctl(&["credential-process"]);
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(2), ""), "{done}");
    assert_eq!(vendor.states(), ["revoked", "revoked"]);
}
