//! `grantctl doctor --prove azure` and `--prove gcp`, where changes are felt late: what is measured is kept and reckoned with.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{ISSUER, Stage};
use crate::{azure, gcp};

/// Proves revocation in an account; gives the milliseconds after which it was felt.
fn proved(stage: &Stage, cloud: &str, account: &str, action: &str) -> u64 {
    let arguments = ["--json", "doctor", "--prove", cloud, "--account", account];
    let proved = stage.root().limit(Duration::from_secs(120)).grantctl(&arguments);
    assert!(proved.success(), "{proved}");
    let proof: Value = serde_json::from_str(proved.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&proof["event"], &proof["action"]), (&json!("proof"), &json!(action)), "{proof}");
    assert!(!proved.stdout.contains("ya29.") && !proved.stdout.contains("eyJ"), "a token is shown");
    proof["felt_milliseconds"].as_u64().unwrap()
}

/// What `status` says of an account's propagation.
fn reckoned(stage: &Stage, account: &str) -> Value {
    let status = stage.root().curl("GET", "/v1/status", None).body;
    let accounts = status["accounts"].as_array().unwrap().clone();
    accounts.into_iter().find(|one| one["account"] == account).unwrap()["propagation"].clone()
}

fn is_kept(stage: &Stage, account: &str, felt: u64) {
    let shown = reckoned(stage, account);
    for name in ["measured_milliseconds", "expected_milliseconds", "worst_milliseconds"] {
        assert_eq!(shown[name], felt, "{shown}");
    }
    assert_eq!((stage.audited("doctor.prove"), stage.audited("doctor.proved")), (1, 1));
}

#[test]
fn p4_revocation_on_azure_is_proved_and_what_it_took_is_reckoned_with() {
    let fake = azure::tenant();
    let mut stage = azure::stage(&fake, true);
    let (_, printed) = stage.bootstrap(&["azure"]);
    fake.publish(ISSUER, stage.keys());
    azure::apply(&fake, &printed);
    fake.delay_effect(Duration::from_secs(4));
    let felt =
        proved(&stage, "azure", "second", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read");
    assert!(felt >= 4_000, "{felt}");
    is_kept(&stage, "second", felt);
    // The neighbour is over as well, and nothing stands any more.
    stage.eventually("both slots are empty", || {
        [7, 9].iter().all(|slot| fake.assignments_of(azure::id(*slot)).is_empty())
    });
    stage.restart();
    is_kept(&stage, "second", felt);
    // Nothing is called confirmed before that, and policy is told how late the end can be.
    let answer = stage.vend("logs");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(reckoned(&stage, "azure-main")["worst_milliseconds"], 0, "each account has its own");
}

#[test]
fn p4_revocation_on_google_cloud_is_proved_and_what_it_took_is_reckoned_with() {
    let fake = gcp::cloud();
    let mut stage = gcp::stage(&fake, false);
    let (_, printed) = stage.bootstrap(&["gcp"]);
    gcp::apply(&fake, &printed, &stage.keys());
    fake.control("setup", &json!({ "delay": 4.0 }));
    // The set-up itself is felt late, too.
    stage.eventually("the set-up is felt", || stage.problems().is_empty());
    let felt = proved(&stage, "gcp", "prod", "storage.objects.list");
    assert!(felt >= 4_000, "{felt}");
    is_kept(&stage, "prod", felt);
    stage.eventually("no lease is bound any more", || fake.bindings("alpha").is_empty());
    stage.restart();
    is_kept(&stage, "prod", felt);
    // What has less life left than that is left to expire: a removal would be felt later. That today is a better day is no
    // reason to hope.
    fake.control("setup", &json!({ "delay": 0.0 }));
    let (lease, state) = stage.vend_and_end("alpha", 4);
    assert_eq!(state, "expiring", "{lease}");
    stage.wait_for(&lease, "expired");
}
