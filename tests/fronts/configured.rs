//! Clients outside of `exec` that were configured by `grantctl configure`: they start grantctl by themselves.

use std::time::Duration;

use grantd_testkit::{Finished, clouds_environment};
use grantd_tests::{Caller, Scene, User, World};
use serde_json::Value;

use crate::stage;
use crate::vendor::{Cloud, Vendor};

/// Has the Kubernetes client read the cluster's kubeconfig and the one that `configure` wrote; prints its credential.
const KUBERNETES: &str = "
import sys, kubernetes
kubernetes.config.load_kube_config(config_file=sys.argv[1])
print(kubernetes.client.Configuration.get_default_copy().get_api_key_with_prefix('BearerToken'))
";

const CLUSTER: &str = "
apiVersion: v1
kind: Config
current-context: prod
clusters: [{name: prod, cluster: {server: 'https://cluster.example'}}]
contexts: [{name: prod, context: {cluster: prod, user: grantd}}]
";

fn kubernetes(scene: &Scene, written: &str) -> Finished {
    let cluster = scene.write("home/gt-alice/.kube/config", CLUSTER, User::Alice, 0o600);
    let python = clouds_environment().expect("the clients are installed").join("bin/python");
    let files = format!("{}:{written}", cluster.display());
    let alice = scene.caller(User::Alice).limit(Duration::from_secs(60));
    alice.run(python, &["-W", "ignore", "-c", KUBERNETES, &files])
}

/// As alice, with what she finds the daemon by.
fn configure(caller: &Caller<'_>, arguments: &[&str]) {
    let line: Vec<&str> = ["configure"].iter().chain(arguments).copied().collect();
    let done = caller.grantctl(&line);
    assert!(done.success(), "{done}");
}

#[test]
fn the_kubernetes_client_starts_the_plugin_and_shows_why_there_is_no_token() {
    let (scene, vendor): (Scene, Vendor) = stage(Cloud::Gcp, 900);
    configure(&scene.caller(User::Alice), &["kubernetes"]);
    let written = scene.home(User::Alice).join(".kube/grantd-grantd.yaml").display().to_string();
    let token = vendor.secrets(1).remove(0);
    for _ in 0..2 {
        let client = kubernetes(&scene, &written);
        assert_eq!(client.stdout.trim(), format!("Bearer {token}"), "{client}");
    }
    assert_eq!(vendor.issued(), 1, "the live lease is handed out again");
    vendor.revoke("laptop lost");
    let refused = kubernetes(&scene, &written);
    assert!(refused.stderr.contains("grant-aaaa is revoked: laptop lost"), "{refused}");
    assert!(!refused.stdout.contains("t0ken"), "{refused}");
}

#[test]
fn a_token_for_eks_is_taken_by_sts_for_the_cluster_it_was_made_for_alone() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let made =
        world.alice().grantctl(&["kubectl-token", "--grant", &grant, "--cluster", "prod-1", "--region", "eu-west-1"]);
    assert!(made.success(), "{made}");
    let document: Value = serde_json::from_str(&made.stdout).unwrap();
    let lease = &world.audited("lease.issued")[0];
    let lease = world.lease(lease["lease"].as_str().unwrap());
    let until = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(until(&document["status"]["expirationTimestamp"]) <= until(&lease["access_until"]), "{document}");
    // As the authenticator in the cluster asks: it adds the header with its own name.
    let ask = |cluster: &str| {
        let code = format!(
            "import base64, urllib.request, urllib.error\n\
             token = '{}'.removeprefix('k8s-aws-v1.')\n\
             url = base64.urlsafe_b64decode(token + '=' * (-len(token) % 4)).decode()\n\
             host = 'sts.eu-west-1.amazonaws.com'\n\
             url = url.replace('https://' + host, '{}')\n\
             request = urllib.request.Request(url, headers={{'Host': host, 'x-k8s-aws-id': '{cluster}'}})\n\
             try:\n    print(urllib.request.urlopen(request).read().decode())\n\
             except urllib.error.HTTPError as error:\n    print(error.code, error.read().decode())\n",
            document["status"]["token"].as_str().unwrap(),
            world.stack.url(),
        );
        world.alice().python(&code).stdout
    };
    let taken = ask("prod-1");
    assert!(taken.contains("GetCallerIdentityResult") && taken.contains("assumed-role/grantd-target-"), "{taken}");
    let other = ask("prod-2");
    assert!(other.starts_with("403 "), "{other}");
}

#[test]
fn an_aws_profile_that_configure_wrote_reads_its_bucket() {
    let world = World::new();
    let _grant = world.grant(&world.alice(), "alpha");
    configure(&world.alice(), &["aws", "--resource", "alpha"]);
    let alice = || world.alice().cloud(&world.stack.url()).env("AWS_PROFILE", "grantd");
    let read = alice().aws(&["s3", "cp", "s3://alpha/hello.txt", "-"]);
    assert_eq!((read.status.code(), read.stdout.as_str()), (Some(0), "hello from alpha\n"), "{read}");
    let other = alice().aws(&["s3", "cp", "s3://beta/hello.txt", "-"]);
    assert!(!other.success() && other.stderr.contains("403"), "{other}");
}
