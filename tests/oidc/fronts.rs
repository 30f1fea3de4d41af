//! Tokens in the hands of the clouds' own clients, unmodified: how each fetches one, what it gets for it, and what becomes of
//! that when the grant is over.

use std::fs;
use std::path::Path;
use std::time::Duration;

use grantd_testkit::{
    FakeApplication, FakeAzure, FakeAzureSettings, FakeFederation, FakeGoogle, MiniStack, Signer, TestIssuer,
    aws_environment, azure_environment, gcp_environment,
};
use grantd_tests::{User, eventually};
use serde_json::{Value, json};

use crate::world::{BILLING, FEDERATION, ISSUER, Setup, World};

/// Who may exchange what the holder of a grant is handed: a policy that somebody wrote on purpose, in the place of the shipped
/// one.
const EXCHANGE: &str = r#"
@id("exchange")
@max_duration("8h")
@max_ttl("5m")
permit (principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
when { context.self_subject && context.capability.name == "oidc-audience:exchange" };
"#;

const SUBJECT: &str = "grantd:pipeline:deploy";

fn world(audience: &str) -> World {
    World::new(&Setup {
        account: format!("audiences = [\"{BILLING}\"]\nexchange_audiences = [\"{audience}\"]"),
        policy: Some(EXCHANGE),
        lasting: true,
        resources: vec![("there", audience.to_owned())],
        ..Setup::default()
    })
}

fn granted(world: &World) -> String {
    let answer = world.request(User::Alice, "there", json!({ "capability": "oidc-audience:exchange" }));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

fn socket(world: &World) -> String {
    world.scene.socket().display().to_string()
}

/// What google-auth comes to with the credential file, as `GOOGLE_APPLICATION_CREDENTIALS` names it.
const GOOGLE: &str = "
import google.auth, google.auth.exceptions, google.auth.transport.requests, json, sys
from google.cloud import storage
scopes = ['https://www.googleapis.com/auth/cloud-platform']
try:
    credentials, _ = google.auth.default(scopes=scopes)
    client = storage.Client(project='acme-prod', credentials=credentials,
                            client_options={'api_endpoint': sys.argv[1] + '/storage.googleapis.com'})
    print(json.dumps({'kind': type(credentials).__module__, 'read': client.bucket('alpha').blob('in/hello.txt').download_as_text()}))
except google.auth.exceptions.GoogleAuthError as error:
    print(json.dumps({'refused': str(error)}))
";

fn google(world: &World, fake: &FakeGoogle, file: &Path, more: &[(&str, &str)]) -> Value {
    let mut caller = world.alice().env("GRANTD_SOCKET", socket(world));
    caller = caller.env("GOOGLE_APPLICATION_CREDENTIALS", file.display().to_string());
    // Otherwise the library asks Google for it, and not the fake.
    caller = caller.env("GOOGLE_CLOUD_PROJECT", FakeGoogle::PROJECT);
    for (name, value) in more {
        caller = caller.env(name, *value);
    }
    let done = caller.run(gcp_environment().unwrap().join("bin/python"), &["-W", "ignore", "-c", GOOGLE, fake.url()]);
    assert!(done.success(), "{done}");
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn googles_libraries_start_a_command_for_a_token_and_exchange_it() {
    let pool = FakeGoogle::audience();
    let audience = format!("https:{pool}");
    let world = world(&audience);
    let fake = FakeGoogle::with_account(&Signer::new(FEDERATION).unwrap()).unwrap();
    let trust = |issuer: &str, keys: Value| {
        let mut provider = FakeGoogle::provider(issuer, &keys);
        provider["attributeCondition"] = json!(format!("assertion.sub == '{SUBJECT}'"));
        fake.control("setup", &json!({ "providers": { pool.as_str(): provider } }));
    };
    trust(ISSUER, world.key_set("oidc"));
    let bucket = "//storage.googleapis.com/projects/_/buckets/alpha";
    let binding = json!({ "role": "roles/storage.objectViewer", "members": [FakeGoogle::principal(SUBJECT)] });
    fake.control("setup", &json!({ "policies": { bucket: { "bindings": [binding] } } }));

    let file = world.scene.home(User::Alice).join("gcp.json");
    let place = file.display().to_string();
    let sts = format!("{}/sts.googleapis.com/v1/token", fake.url());
    let configured = world.alice().grantctl(&[
        "configure",
        "gcp",
        "--audience",
        &pool,
        "--token-url",
        &sts,
        "--resource",
        "there",
        "--file",
        &place,
    ]);
    assert!(
        configured.success() && configured.stdout.contains("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"),
        "{configured}"
    );

    let allowed = ("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1");
    let unasked = google(&world, &fake, &file, &[]);
    assert!(unasked["refused"].as_str().unwrap().contains("explicitly allowed"), "{unasked}");
    // Without a grant the library shows why, in grantd's words.
    let none = google(&world, &fake, &file, &[allowed]);
    let said = none["refused"].as_str().unwrap();
    assert!(said.contains("unsuccessful response") && said.contains("code: 4") && said.contains("grant"), "{said}");

    let grant = granted(&world);
    let read = google(&world, &fake, &file, &[allowed]);
    assert_eq!(read, json!({ "kind": "google.auth.pluggable", "read": "hello from alpha\n" }));
    // A cloud that trusts the other issuer of the same daemon takes no such token, whatever keys it knows.
    trust(FEDERATION, world.key_set("federation"));
    assert!(google(&world, &fake, &file, &[allowed])["refused"].as_str().unwrap().contains("signature"));
    trust(FEDERATION, world.key_set("oidc"));
    assert!(google(&world, &fake, &file, &[allowed])["refused"].as_str().unwrap().contains("issuer"));

    trust(ISSUER, world.key_set("oidc"));
    let revoked = world.root().grantctl(&["revoke", &grant, "--reason", "a test is done"]);
    assert!(revoked.success(), "{revoked}");
    assert!(google(&world, &fake, &file, &[allowed])["refused"].as_str().unwrap().contains("code: 4"));
}

/// A token from azure-identity, read twice with a renewal of the file in between.
const AZURE: &str = "
import json, os, sys, time
from azure.identity import WorkloadIdentityCredential
from azure.core.exceptions import ClientAuthenticationError
os.environ['REQUESTS_CA_BUNDLE'] = sys.argv[1]
file = os.environ['AZURE_FEDERATED_TOKEN_FILE']
assert file == os.environ['GRANTD_TOKEN_FILE']
def took():
    try:
        WorkloadIdentityCredential(disable_instance_discovery=True).get_token('https://storage.azure.com/.default')
        return 'token'
    except ClientAuthenticationError as error:
        return str(error)
first, mode = open(file).read(), oct(os.stat(file).st_mode & 0o777)
told = [took()]
for _ in range(400):
    if open(file).read() != first:
        break
    time.sleep(0.1)
told.append(took())
print(json.dumps({'told': told, 'renewed': open(file).read() != first, 'mode': mode, 'file': file, 'last': open(file).read()}))
";

fn tenant(world: &World, subject: &str) -> (FakeAzure, FakeAzureSettings) {
    let mut settings = FakeAzureSettings::sample(&TestIssuer::new(FEDERATION));
    let client = settings.applications[1].clone();
    let federated = vec![FakeFederation { issuer: ISSUER.to_owned(), subject: subject.to_owned() }];
    settings.applications[1] = FakeApplication { federated, ..client };
    let fake = FakeAzure::start(settings.clone()).unwrap();
    fake.publish(ISSUER, world.key_set("oidc"));
    world.scene.write("config/azure-ca.pem", fake.authority_pem(), User::Root, 0o644);
    (fake, settings)
}

#[test]
fn azures_workload_identity_reads_a_file_that_is_renewed_and_gone_at_the_end() {
    // Microsoft Entra takes RS256 alone.
    let world = World::new(&Setup {
        algorithm: "RS256",
        account: "exchange_audiences = [\"api://AzureADTokenExchange\"]\n".to_owned(),
        policy: Some(EXCHANGE),
        lasting: true,
        resources: vec![("there", "api://AzureADTokenExchange".to_owned())],
    });
    let (fake, settings) = tenant(&world, SUBJECT);
    let grant = granted(&world);
    let python = azure_environment().unwrap().join("bin/python").display().to_string();
    let ca = world.scene.config().join("azure-ca.pem").display().to_string();
    let run = |fake: &FakeAzure| {
        let caller = world.alice().limit(Duration::from_secs(90));
        let caller = caller
            .env("AZURE_TENANT_ID", settings.tenant.to_string())
            .env("AZURE_CLIENT_ID", settings.applications[1].client_id.to_string())
            .env("AZURE_AUTHORITY_HOST", fake.url())
            .env("AZURE_CLIENT_SECRET", "ambient");
        let command = ["exec", "--grant", &grant, "--ttl", "12s", "--", &python, "-W", "ignore", "-c", AZURE, &ca];
        let done = caller.grantctl(&command);
        assert!(done.success(), "{done}");
        assert!(done.stderr.contains("AZURE_CLIENT_SECRET") && !done.stderr.contains("AZURE_CLIENT_ID"), "{done}");
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let seen = run(&fake);
    assert_eq!(
        (&seen["told"], &seen["renewed"], &seen["mode"]),
        (&json!(["token", "token"]), &json!(true), &json!("0o600"))
    );
    assert!(!Path::new(seen["file"].as_str().unwrap()).exists(), "it is gone with the command");
    // The lease went back with the command, as far as a token can.
    let leases: Vec<String> =
        world.audited("lease.issued").iter().map(|record| record["lease"].as_str().unwrap().to_owned()).collect();
    assert!(leases.len() >= 2, "{leases:?}");
    let last = world.lease(leases.last().unwrap());
    assert!(["expiring", "expired"].contains(&last["state"].as_str().unwrap()), "{last}");

    // An application that trusts another subject gives nothing for it.
    drop(fake);
    let (other, _) = tenant(&world, "grantd:service:indexer");
    let refused = run(&other);
    assert!(refused["told"][0].as_str().unwrap().contains("AADSTS"), "{refused}");
}

/// A session from boto3's web identity provider.
const AWS: &str = "
import boto3, json, os
session = boto3.Session()
credentials = session.get_credentials()
print(json.dumps({'method': credentials.method, 'key': credentials.get_frozen_credentials().access_key[:4],
                  'file': os.environ['AWS_WEB_IDENTITY_TOKEN_FILE']}))
";

/// MiniStack verifies no token: what is tried is that boto3 finds file and role and sends what is in the file.
#[test]
fn botos_web_identity_reads_the_file_and_becomes_the_role_that_the_user_chose() {
    let world = world("sts.amazonaws.com");
    let stack = MiniStack::start(&world.scene.log()).unwrap();
    let setup = "import boto3, json\nboto3.client('iam').create_role(RoleName='jobs', AssumeRolePolicyDocument=json.dumps({\
                 'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Principal': {'Federated': \
                 'arn:aws:iam::123456789012:oidc-provider/tokens.example.com/jobs'}, 'Action': \
                 'sts:AssumeRoleWithWebIdentity'}]}))";
    let admin = grantd_tests::Credentials {
        access_key_id: "test".into(),
        secret_access_key: "test".into(),
        session_token: None,
    };
    let made = world.root().cloud(&stack.url()).credentials(&admin).python(setup);
    assert!(made.success(), "{made}");
    let grant = granted(&world);
    let python = aws_environment().unwrap().join("bin/python").display().to_string();
    let caller = world.alice().cloud(&stack.url());
    let caller = caller
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/jobs")
        .env("AWS_SECRET_ACCESS_KEY", "ambient")
        .env("AWS_ACCESS_KEY_ID", "AKIAAMBIENT");
    let done =
        caller.grantctl(&["exec", "--grant", &grant, "--format", "file", "--", &python, "-W", "ignore", "-c", AWS]);
    assert!(done.success(), "{done}");
    let seen: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&seen["method"], &seen["key"]), (&json!("assume-role-with-web-identity"), &json!("ASIA")));
    assert!(!Path::new(seen["file"].as_str().unwrap()).exists());
}

#[test]
fn an_agent_keeps_a_token_in_a_file_for_who_reads_files() {
    let world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let file = world.scene.home(User::Alice).join("token");
    let place = file.display().to_string();
    let mut agent = world.alice().env("GRANTD_SOCKET", socket(&world)).command(world.scene.bin("grantctl"));
    agent.args(["agent", "--grant", &grant, "--file", &place, "--format", "token", "--ttl", "12s"]);
    let mut agent = agent.spawn().unwrap();
    let read = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the file is there", Duration::from_secs(15), || !read().is_empty());
    let first = read();
    assert_eq!(world.verified(&first, BILLING)["claims"]["sub"], SUBJECT);
    eventually("it is renewed in time", Duration::from_secs(30), || read() != first);
    assert_eq!(world.verified(&read(), BILLING)["claims"]["sub"], SUBJECT);
    let revoked = world.root().grantctl(&["revoke", &grant, "--reason", "a test is done"]);
    assert!(revoked.success(), "{revoked}");
    eventually("the file is gone", Duration::from_secs(30), || !file.exists());
    assert_eq!(agent.wait().unwrap().code(), Some(13), "the grant was revoked");
}
