//! The fronts of `grantctl exec` before the adapters themselves: what a vendor's own client reads is what its cloud allows.

use std::time::Duration;

use grantd_testkit::FakeGoogle;
use grantd_tests::eventually;
use serde_json::{Value, json};

use crate::command::Command;
use crate::stage::{Cloud, Clouds};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What it looks like when the cloud refuses.
fn refusal(cloud: Cloud) -> Value {
    match cloud {
        Cloud::Aws => json!({ "refused": 403, "code": "AccessDenied" }),
        Cloud::Azure => json!({ "refused": 403, "code": "AuthorizationPermissionMismatch" }),
        Cloud::Gcp => json!({ "refused": 403, "code": "Forbidden" }),
    }
}

fn is_read(answer: &Value, place: &str) -> bool {
    answer["text"].as_str().is_some_and(|text| text.trim_end() == format!("hello from {place}"))
}

#[test]
fn each_vendors_client_reads_what_was_granted_and_is_refused_on_anything_else() {
    let clouds = Clouds::new("0s");
    for (cloud, kinds) in [
        (Cloud::Aws, &["aws"][..]),
        (Cloud::Azure, &["azure", "azure_site", "azure_machine"]),
        (Cloud::Gcp, &["gcp", "gcp_metadata"]),
    ] {
        let grant = clouds.grant(cloud, "reports");
        let (granted, other) = cloud.places();
        for kind in kinds {
            // Found by what it is for, of several grants.
            let resource = format!("reports-{}", cloud.name());
            let mut command = Command::start(&clouds, cloud, kind, &["--resource", &resource]);
            for _ in 0..3 {
                let answer = command.reads(granted);
                assert!(is_read(&answer, granted), "{kind}: {answer}; {}", command.said());
                assert_eq!(command.reads(other), refusal(cloud), "{kind}");
            }
            let lease = clouds.leases_of(&grant).pop().unwrap();
            command.leave();
            let over = clouds.wait_confirmed(&lease);
            assert_eq!(over["reason"], "completed", "{over}");
        }
        assert_eq!(clouds.leases_of(&grant).len(), kinds.len(), "each reading was served from the live lease");
    }
}

#[test]
fn p3_a_client_that_runs_on_is_given_the_next_leases_token_and_the_last_one_opens_nothing() {
    for (cloud, kind) in [(Cloud::Azure, "azure"), (Cloud::Gcp, "gcp")] {
        let clouds = Clouds::new("0s");
        // A slot rests until its token is dead, and there are four.
        clouds.azure.set_token_lifetime(12);
        let (granted, _) = cloud.places();
        let grant = clouds.grant(cloud, "reports");
        let mut command = Command::start(&clouds, cloud, kind, &["--grant", &grant, "--ttl", "10s"]);
        let mut before = command.token();
        for _ in 0..2 {
            eventually("it reads with the token of the next lease", LONG, || {
                let now = command.asks(&json!(["token"]))["token"].clone();
                now.is_string() && now != before.as_str() && is_read(&command.reads(granted), granted)
            });
            let old = std::mem::replace(&mut before, command.token());
            eventually("what it had before opens nothing", LONG, || match cloud {
                // Its token lives on, and nothing is bound to it any more.
                Cloud::Gcp => !clouds.token_reads(cloud, &old, granted),
                _ => clouds.lease(&clouds.leases_of(&grant)[0])["state"] == "revoked",
            });
        }
        assert!(clouds.leases_of(&grant).len() >= 3, "{}", command.said());
        command.leave();
    }
}

#[test]
fn p4_a_revoked_client_is_refused_by_its_front_at_once_and_by_the_cloud_before_that_is_said() {
    let clouds = Clouds::new("3s");
    // What is written is felt a second later, as in the clouds.
    clouds.azure.delay_effect(Duration::from_secs(1));
    clouds.google.control("setup", &json!({ "delay": 1.0 }));
    for (cloud, kind) in [(Cloud::Azure, "azure_site"), (Cloud::Gcp, "gcp"), (Cloud::Aws, "aws")] {
        let (granted, _) = cloud.places();
        let grant = clouds.grant(cloud, "reports");
        let mut command = Command::start(&clouds, cloud, kind, &["--grant", &grant]);
        let answer = command.reads(granted);
        assert!(is_read(&answer, granted), "it is let in when it is handed its credential: {answer}");
        let held = command.token();
        let lease = clouds.leases_of(&grant).pop().unwrap();
        clouds.revoke(&grant, "laptop lost");
        let mut confirmed = false;
        eventually("the revocation is confirmed", LONG, || {
            let lease = clouds.lease(&lease);
            confirmed = lease["revocation"] == "confirmed";
            assert_eq!(confirmed, lease.get("worst_case_until").is_none(), "{lease}");
            if confirmed && cloud != Cloud::Aws {
                assert!(!clouds.token_reads(cloud, &held, granted), "confirmed, and it still reads");
            }
            confirmed
        });
        eventually("it is told", LONG, || command.said().contains("access is over"));
        // Some clients go on with a token that they have for as long as it was said to hold, and are refused with it.
        let answer = command.reads(granted);
        assert!(answer["refused"] == 403 || answer["error"].is_string(), "{kind}: {answer}");
        let asked = command.asks(&json!(["token"]));
        let error = asked["error"].as_str();
        assert!(error.is_some_and(|error| error.contains("laptop lost")), "{kind}: the client shows why: {asked}");
        command.leave();
    }
}

#[test]
fn gclouds_file_holds_the_live_token_and_is_gone_with_the_command() {
    let clouds = Clouds::new("0s");
    let (granted, other) = Cloud::Gcp.places();
    let grant = clouds.grant(Cloud::Gcp, "reports");
    let arguments = ["--grant", &grant, "--format", "file", "--ttl", "10s"];
    let mut command = Command::start(&clouds, Cloud::Gcp, "gcp", &arguments);
    let file = command.asks(&json!(["environment"]))["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"].as_str().unwrap().to_owned();
    let content = |command: &mut Command| command.asks(&json!(["file", file])).as_str().unwrap().to_owned();
    let first = content(&mut command);
    assert_eq!(first, command.token(), "it is that of the front");
    assert!(clouds.token_reads(Cloud::Gcp, &first, granted) && !clouds.token_reads(Cloud::Gcp, &first, other));
    eventually("it is renewed in its place", LONG, || {
        let now = content(&mut command);
        now != first && clouds.token_reads(Cloud::Gcp, &now, granted)
    });
    eventually("the one before opens nothing", LONG, || !clouds.token_reads(Cloud::Gcp, &first, granted));
    let last = content(&mut command);
    // gcloud asks whose its token is, and has the lease for an account.
    let whose = command.asks(&json!(["whose"]));
    let lease = clouds.leases_of(&grant).pop().unwrap();
    assert_eq!(
        (&whose["active"], &whose["username"]),
        (&json!(true), &json!(FakeGoogle::principal(&lease))),
        "{whose}"
    );
    command.leave();
    assert!(!std::fs::exists(&file).unwrap());
    eventually("nor does the last", LONG, || !clouds.token_reads(Cloud::Gcp, &last, granted));
}

#[test]
fn the_metrics_tell_what_the_issuer_signed_for_each_cloud_and_for_whom_to_nobody() {
    let clouds = Clouds::new("0s");
    for cloud in [Cloud::Azure, Cloud::Gcp] {
        let grant = clouds.grant(cloud, "reports");
        let vended = clouds.alice().grantctl(&["vend", &grant, "--format", "json"]);
        assert!(vended.success(), "{vended}");
    }
    let answer = clouds.root().curl("GET", "/v1/metrics", None);
    let text = answer.body.as_str().unwrap();
    let count = |audience: &str| -> f64 {
        let name = format!("grantd_issuer_tokens_minted_total{{issuer=\"federation\",audience=\"{audience}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    assert!(count("azure") >= 2.0 && count("gcp") >= 2.0, "the daemon's own, and the session's: {text}");
    assert_eq!((count("aws"), count("other")), (0.0, 0.0), "aws is asked by a key here");
    for word in ["slot-", "grantd:", "lease-", "AzureADTokenExchange", "iam.googleapis.com", "issuer.test"] {
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("grantd_issuer") && line.contains(word)).collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
}
