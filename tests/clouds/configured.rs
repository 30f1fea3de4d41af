//! What `grantctl configure` writes or prints, in the hands of the clients that it is for.

use std::time::Duration;

use grantd_testkit::{Finished, clouds_environment};
use grantd_tests::{User, eventually};
use serde_json::Value;

use crate::stage::{Cloud, Clouds, id_of};

/// Lists the pods of a cluster, twice, as any program does that was written for Kubernetes; prints the token that it had.
const KUBERNETES: &str = "
import sys, kubernetes
for again in range(2):
    kubernetes.config.load_kube_config(config_file=sys.argv[1])
    pods = kubernetes.client.CoreV1Api().list_namespaced_pod('default').items
    print(*[pod.metadata.name for pod in pods])
print(kubernetes.client.Configuration.get_default_copy().get_api_key_with_prefix('BearerToken'))
";

/// A program under the name of a cloud's own tool: it reads an object with that cloud's own library.
fn tool(clouds: &Clouds, cloud: Cloud, name: &str) {
    let read = match cloud {
        // As az does, which does nothing before it is logged in, and remembers that in its directory.
        Cloud::Azure => {
            "import os, sys\n\
             login = os.path.join(os.environ['AZURE_CONFIG_DIR'], 'login')\n\
             if sys.argv[1:3] == ['login', '--identity']:\n\
             \x20   open(login, 'w').close()\n\
             \x20   sys.exit()\n\
             if not os.path.exists(login):\n\
             \x20   sys.exit(\"Please run 'az login' to setup account.\")\n\
             from azure.identity import DefaultAzureCredential\n\
             from azure.storage.blob import BlobClient\n\
             blob = BlobClient(storage, place, 'hello.txt', credential=DefaultAzureCredential(), retry_total=0)\n\
             print(blob.download_blob().readall().decode())\n"
        }
        // As gcloud does: with what stands in the file.
        _ => {
            "import os\n\
             from google.cloud import storage as gcs\n\
             from google.oauth2.credentials import Credentials\n\
             token = open(os.environ['CLOUDSDK_AUTH_ACCESS_TOKEN_FILE']).read()\n\
             client = gcs.Client(os.environ['CLOUDSDK_CORE_PROJECT'], Credentials(token),\n\
             \x20                   client_options={'api_endpoint': storage})\n\
             print(client.bucket(place).blob('in/hello.txt').download_as_bytes(retry=None).decode())\n"
        }
    };
    let (python, storage) = (cloud.python(), clouds.storage(cloud));
    let text = format!("#!{}\nimport sys\nstorage, place = '{storage}', sys.argv[1]\n{read}", python.display());
    clouds.scene.write(&format!("bin/{name}"), &text, User::Root, 0o755);
}

fn kubernetes(clouds: &Clouds, files: &[String]) -> Finished {
    let python = clouds_environment().expect("the clients are installed").join("bin/python");
    clouds.alice().limit(Duration::from_secs(60)).run(python, &["-W", "ignore", "-c", KUBERNETES, &files.join(":")])
}

#[test]
fn the_aliases_for_a_shell_start_each_clouds_tool_with_what_was_granted() {
    let clouds = Clouds::new("0s");
    for (cloud, name, word) in [(Cloud::Azure, "az", "azure"), (Cloud::Gcp, "gcloud", "gcp")] {
        tool(&clouds, cloud, name);
        let grant = clouds.grant(cloud, "reports");
        let (granted, other) = cloud.places();
        let grantctl = clouds.scene.bin("grantctl").display().to_string();
        // As in a person's .bashrc: on a line before the one that uses it.
        let script = format!(
            "shopt -s expand_aliases\neval \"$({grantctl} configure {word} --resource reports-{word})\"\n\
             {name} {granted}\n{name} {other} 2>&1 | tail -n 3\n"
        );
        let path = format!("{}:/usr/bin:/bin", clouds.scene.path().join("bin").display());
        let alice = clouds.alice().env("PATH", path).limit(Duration::from_secs(60));
        let done = alice.run("bash", &["-c", &script]);
        assert!(done.stdout.starts_with(&format!("hello from {granted}\n")), "{done}");
        assert!(done.stdout.contains("403") || done.stdout.contains("AuthorizationPermissionMismatch"), "{done}");
        assert!(!done.stdout.contains(&format!("hello from {other}")), "{done}");
        let leases = clouds.leases_of(&grant);
        assert_eq!(leases.len(), 2, "one for each command: {done}");
        leases.iter().for_each(|lease| drop(clouds.wait_confirmed(lease)));
    }
}

#[test]
fn an_aws_profile_reads_its_bucket_beside_grants_of_other_clouds() {
    let clouds = Clouds::new("0s");
    for cloud in Cloud::ALL {
        let _ = clouds.grant(cloud, "reports");
    }
    let written = clouds.alice().grantctl(&["configure", "aws", "--resource", "reports-aws"]);
    assert!(written.success(), "{written}");
    let alice = || clouds.alice().env("AWS_PROFILE", "grantd");
    let read = alice().aws(&["s3", "cp", "s3://alpha/hello.txt", "-"]);
    assert_eq!((read.status.code(), read.stdout.as_str()), (Some(0), "hello from alpha\n"), "{read}");
    let other = alice().aws(&["s3", "cp", "s3://beta/hello.txt", "-"]);
    assert!(!other.success() && other.stderr.contains("403"), "{other}");
}

#[test]
fn the_kubernetes_client_lists_the_pods_of_a_managed_cluster_until_the_grant_is_revoked() {
    let clouds = Clouds::new("0s");
    let grant = id_of(&clouds.ask_for(Cloud::Azure, "cluster", "kubernetes-cluster:read"));
    let written = clouds.alice().grantctl(&["configure", "kubernetes", "--resource", "cluster-azure"]);
    assert!(written.success(), "{written}");
    // What the cluster's own people give out, without anybody's credential.
    let cluster = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
         clusters: [{{name: prod, cluster: {{server: '{}/cluster/prod', certificate-authority: '{}'}}}}]\n\
         contexts: [{{name: prod, context: {{cluster: prod, user: grantd}}}}]\n",
        clouds.azure.url(),
        clouds.scene.config().join("azure-ca.pem").display()
    );
    let cluster = clouds.scene.write("home/gt-alice/.kube/config", &cluster, User::Alice, 0o600);
    let plugin = clouds.scene.home(User::Alice).join(".kube/grantd-grantd.yaml");
    let files = [cluster, plugin].map(|path| path.display().to_string());
    let listed = kubernetes(&clouds, &files);
    assert!(listed.stdout.starts_with("prod-web-0\nprod-web-0\nBearer "), "{listed}");
    let held = listed.stdout.rsplit_once("Bearer ").unwrap().1.trim();
    let leases = clouds.leases_of(&grant);
    assert_eq!(leases.len(), 1, "the live lease is handed out again");
    clouds.revoke(&grant, "laptop lost");
    clouds.wait_confirmed(&leases[0]);
    // Without the plugin, with the token that it gave: the cluster asks Azure.
    let authority = clouds.scene.config().join("azure-ca.pem").display().to_string();
    let url = format!("{}/cluster/prod/api/v1/namespaces/default/pods", clouds.azure.url());
    let header = format!("Authorization: Bearer {held}");
    let done = clouds.alice().run("curl", &["--silent", "--cacert", &authority, "-H", &header, &url]);
    let said: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&said["code"], &said["reason"]), (&403.into(), &"Forbidden".into()), "{said}");
    let refused = kubernetes(&clouds, &files);
    assert!(refused.stderr.contains("you have no active grant on \"cluster-azure\""), "{refused}");
}

#[test]
fn the_token_for_a_cluster_of_google_cloud_is_that_of_the_live_lease() {
    let clouds = Clouds::new("0s");
    let grant = clouds.grant(Cloud::Gcp, "reports");
    let (granted, other) = Cloud::Gcp.places();
    let made = clouds.alice().grantctl(&["kubectl-token", "--resource", "reports-gcp"]);
    assert!(made.success(), "{made}");
    let document: Value = serde_json::from_str(&made.stdout).unwrap();
    let token = document["status"]["token"].as_str().unwrap();
    assert!(clouds.token_reads(Cloud::Gcp, token, granted) && !clouds.token_reads(Cloud::Gcp, token, other));
    let lease = clouds.lease(&clouds.leases_of(&grant)[0]);
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&document["status"]["expirationTimestamp"]) <= time(&lease["access_until"]), "{document} {lease}");
    clouds.revoke(&grant, "laptop lost");
    eventually("it opens nothing", Duration::from_secs(30), || !clouds.token_reads(Cloud::Gcp, token, granted));
    let refused = clouds.alice().grantctl(&["kubectl-token", "--grant", &grant]);
    assert!(refused.stderr.contains(&format!("{grant} is revoked: laptop lost")), "{refused}");
}
