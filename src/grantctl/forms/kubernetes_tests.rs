//! Tests of what Kubernetes' clients read.

use serde_json::Value;

use super::*;
use crate::testserver::{SECRETS, vended, vended_azure, vended_gcp, vended_token};

fn written(vended: &Value, cluster: &Cluster, now: &str) -> Result<Value, String> {
    let vended: grantd_wire::Vended = serde_json::from_value(vended.clone()).unwrap();
    let secret = Secret::from(vended.credential);
    let bytes = exec_credential(&secret, cluster, VERSIONS[0], now.parse().unwrap());
    let bytes = bytes.map_err(|failure| failure.line().unwrap().to_owned())?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn eks() -> Cluster {
    Cluster { name: Some("prod-1".to_owned()), region: None }
}

#[test]
fn p3_no_token_is_said_to_outlive_its_lease() {
    let gke = written(&vended_gcp(), &Cluster::default(), "2026-11-22T09:00:00Z").unwrap();
    assert_eq!((&gke["status"]["token"], &gke["kind"]), (&SECRETS[1].into(), &"ExecCredential".into()));
    let own = written(&vended_token(), &Cluster::default(), "2026-11-22T09:00:00Z").unwrap();
    assert_eq!(own["status"], gke["status"], "a token of the daemon's own is for a cluster, too");
    for (now, until) in
        [("2026-11-22T09:00:00Z", "2026-11-22T09:04:12Z"), ("2026-11-22T08:40:00.5Z", "2026-11-22T08:54:00Z")]
    {
        assert_eq!(written(&vended(), &eks(), now).unwrap()["status"]["expirationTimestamp"], until);
        assert_eq!(gke["status"]["expirationTimestamp"], "2026-11-22T09:04:12Z");
    }
}

#[test]
fn a_token_for_eks_is_a_signed_question_for_one_cluster_that_holds_for_a_minute() {
    let document = written(&vended(), &eks(), "2026-11-22T09:00:00Z").unwrap();
    let token = document["status"]["token"].as_str().unwrap().strip_prefix("k8s-aws-v1.").unwrap();
    let url = String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).unwrap()).unwrap();
    assert!(
        url.starts_with("https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&"),
        "{url}"
    );
    for there in
        ["X-Amz-Expires=60&", "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id", "X-Amz-Security-Token=", "X-Amz-Signature="]
    {
        assert!(url.contains(there), "{url}");
    }
    assert!(!url.contains(SECRETS[0]), "the secret key is in it");
    // What botocore 1.44.5 signs for `aws eks get-token` with these keys at this moment.
    let signature = "4ef8c9fae35823ae9a50c3edf794e46750a407cecd0620614fc49fb865130d70";
    assert!(url.ends_with(&format!("&X-Amz-Signature={signature}")), "{url}");
    let china = Cluster { region: Some("cn-north-1".to_owned()), ..eks() };
    let token = written(&vended(), &china, "2026-11-22T09:00:00Z").unwrap()["status"]["token"].clone();
    let url = BASE64URL_NOPAD.decode(token.as_str().unwrap().trim_start_matches("k8s-aws-v1.").as_bytes()).unwrap();
    assert!(url.starts_with(b"https://sts.cn-north-1.amazonaws.com.cn/?"));
}

#[test]
fn what_is_missing_for_a_cluster_is_named() {
    let now = "2026-11-22T09:00:00Z";
    assert!(written(&vended(), &Cluster::default(), now).unwrap_err().contains("--cluster"));
    let mut nowhere = vended();
    nowhere["credential"].as_object_mut().unwrap().remove("region");
    assert!(written(&nowhere, &eks(), now).unwrap_err().contains("--region"));
    let crooked = Cluster { name: Some("a b\r\nhost: evil".to_owned()), region: None };
    assert!(written(&vended(), &crooked, now).unwrap_err().contains("letters"));
    let none = written(&vended_azure(), &Cluster::default(), now).unwrap_err();
    assert!(
        none.contains("6dae42f8-4368-4678-94ff-3960e28e3630") && none.contains("https://vault.azure.net"),
        "{none}"
    );
    let mut aks = vended_azure();
    aks["credential"]["tokens"][1]["audience"] = "6dae42f8-4368-4678-94ff-3960e28e3630".into();
    assert_eq!(written(&aks, &Cluster::default(), now).unwrap()["status"]["token"], SECRETS[0]);
}
