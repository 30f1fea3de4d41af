//! What bootstrap prints is what the daemon needs; the doctor finds what is wrong and takes nothing for good that it could
//! not see; and revocation is proved, measured and reckoned with.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use grantd_testkit::{Finished, Rule, aws_environment, repository_root};
use grantd_tests::{Credentials, Setup, User, World, eventually};
use serde_json::{Value, json};

const BASE: &str = "arn:aws:iam::123456789012:user/grantd-base";

/// Where no metadata service is: the host's own is not to be asked.
const NOWHERE: &str = "127.0.0.1:1";

/// A world whose configuration names roles, a boundary and a revoker that nobody has made yet.
// MiniStack judges iam:GetRole by a role's name without its path, so that the one role has none here.
fn unmade() -> World {
    let world = World::prepared(&Setup::default());
    let text = fs::read_to_string(world.config()).unwrap();
    let (before, _) = text.split_once("[[aws.account.role]]").unwrap();
    let text = format!(
        "{before}revoker = {{ role_arn = \"arn:aws:iam::123456789012:role/fresh/revoker\" }}\n\
         [[aws.account.role]]\narn = \"arn:aws:iam::123456789012:role/fresh-reader\"\n\
         boundary = \"arn:aws:iam::123456789012:policy/fresh/boundary\"\ntags = true\nexternal_id = \"grantd-main\"\n"
    );
    world.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    world
}

/// Makes what `hcl` says.
fn apply(world: &World, hcl: &str, variables: &[&str]) -> Finished {
    let file = world.scene.write("config/grantd.tf", hcl, User::Root, 0o644);
    let script = repository_root().join("tests/setup/apply_hcl.py").display().to_string();
    let (endpoint, file) = (world.stack.url(), file.display().to_string());
    let mut arguments = vec!["-W", "ignore", &script, &endpoint, &file];
    arguments.extend(variables);
    let made = world.root().run(aws_environment().unwrap().join("bin/python"), &arguments);
    assert!(made.success(), "{made}\n{hcl}");
    made
}

/// Does something in the cloud as its root.
fn meddle(world: &World, code: &str) -> Finished {
    let root =
        Credentials { access_key_id: "test".to_owned(), secret_access_key: "test".to_owned(), session_token: None };
    let prelude = "import boto3, json\niam = boto3.client('iam')\n\
                   def document(*s): return json.dumps({'Version': '2012-10-17', 'Statement': list(s)})\n\
                   def allow(actions, on): return {'Effect': 'Allow', 'Action': actions, 'Resource': on}\n";
    let done = world.root().cloud(&world.stack.url()).credentials(&root).python(&format!("{prelude}{code}"));
    assert!(done.success(), "{done}");
    done
}

/// What the doctor says: its exit code, and each check as `about check` with its standing.
fn examined(world: &World) -> (i32, Vec<Value>) {
    let ran = world.root().grantctl(&["--json", "doctor", "--metadata", NOWHERE]);
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.last().is_some_and(|event| event["event"] == "done"), "{ran}");
    (ran.status.code().unwrap(), events)
}

fn finding<'a>(events: &'a [Value], check: &str, about: &str) -> &'a Value {
    let matches = |event: &&Value| event["check"] == check && event["about"].as_str().unwrap().ends_with(about);
    let found: Vec<&Value> = events.iter().filter(|event| event["event"] == "finding").filter(matches).collect();
    assert_eq!(found.len(), 1, "{check} of {about} in {events:#?}");
    found[0]
}

fn standing(events: &[Value], check: &str, about: &str) -> String {
    finding(events, check, about)["standing"].as_str().unwrap().to_owned()
}

fn writes(world: &World) -> usize {
    world.proxy.records().iter().filter(|record| record.action == "CreatePolicyVersion").count()
}

#[test]
fn what_bootstrap_prints_is_all_that_the_daemon_needs_and_no_more() {
    let mut world = unmade();
    // Nothing of it exists yet, and the daemon starts all the same.
    world.start();
    let print = || world.root().grantctl(&["bootstrap", "aws", "--base", BASE]);
    let printed = print();
    assert!(printed.success(), "{printed}");
    assert_eq!(printed.stdout, print().stdout);
    let topic = "grantd_main_alarm_topic=\"arn:aws:sns:us-east-1:123456789012:alarm\"";
    let made = apply(&world, &printed.stdout, &[topic, "grantd_main_doctor=true"]);
    for thing in ["aws_iam_role.grantd_main_role_fresh_reader", "aws_iam_policy.grantd_main_boundary_boundary"] {
        assert!(made.stdout.contains(thing), "{made}");
    }
    assert!(made.stdout.contains("aws_cloudwatch_event_rule.grantd_main_versions"), "{made}");

    // Sessions are vended, narrowed and revoked with it.
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, held) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let (neighbour, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    assert!(world.lease(&lease)["target"].as_str().unwrap().ends_with("role/fresh-reader"));
    assert!(world.can_read(&held, "alpha"));
    assert!(!world.can_read(&held, "beta"));
    let sessions = [world.session_of(&lease), world.session_of(&neighbour)];
    assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.allowed(&sessions), [false, true]);

    // The role can do what can be asked for on the catalogue and nothing else, whatever the session policy says; the
    // base itself can do neither that nor what the revoker can.
    let base = Credentials::from(&world.account.base);
    let tried = world.root().cloud(&world.stack.url()).credentials(&base).python(
        "import boto3\nfrom botocore.config import Config\nfrom botocore.exceptions import ClientError\n\
         PATH = Config(s3={'addressing_style': 'path'})\n\
         def code(call, **arguments):\n    try:\n        call(**arguments)\n        return 'ok'\n    \
         except ClientError as error:\n        return error.response['Error']['Code']\n\
         found = boto3.client('sts').assume_role(RoleArn='arn:aws:iam::123456789012:role/fresh-reader',\n    \
         RoleSessionName='raw', ExternalId='grantd-main')['Credentials']\n\
         raw = boto3.Session(found['AccessKeyId'], found['SecretAccessKey'], found['SessionToken'])\n\
         s3, own = raw.client('s3', config=PATH), boto3.client('s3', config=PATH)\n\
         print(code(s3.get_object, Bucket='alpha', Key='hello.txt'), code(s3.get_object, Bucket='beta', Key='hello.txt'),\n    \
         code(s3.create_bucket, Bucket='gamma'), code(raw.client('iam').list_users),\n    \
         code(s3.put_bucket_policy, Bucket='alpha', Policy='{}'), code(own.get_object, Bucket='alpha', Key='hello.txt'),\n    \
         code(boto3.client('iam').create_policy_version, PolicyArn='arn:aws:iam::123456789012:policy/fresh/boundary',\n        \
         PolicyDocument='{}'))",
    );
    let denied = "AccessDenied ".repeat(5);
    assert_eq!(tried.stdout.trim(), format!("ok ok {}", denied.trim()), "{tried}");

    // And the doctor, who may look now, finds nothing wrong with it.
    let (code, events) = examined(&world);
    for check in ["role.assume", "role.tags", "role.boundary", "role.max_session", "role.trust"] {
        assert_eq!(standing(&events, check, "role/fresh-reader"), "ok", "{events:#?}");
    }
    for check in ["boundary.document", "boundary.attached", "boundary.revocations"] {
        assert_eq!(standing(&events, check, "policy/fresh/boundary"), "ok", "{events:#?}");
    }
    for check in ["base.identity", "clock"] {
        assert_eq!(standing(&events, check, "\"main\""), "ok", "{events:#?}");
    }
    let problems = || events.iter().filter(|event| event["standing"] == "problem");
    assert_eq!(code, if problems().next().is_some() { 12 } else { 0 }, "{events:#?}");
    assert!(problems().all(|event| event["about"] == "host"), "{events:#?}");
    assert_eq!(world.audited("bootstrap.print").len(), 2);
}

#[test]
fn what_the_doctor_may_not_look_at_is_never_good() {
    let world = World::new();
    let (_, events) = examined(&world);
    for role in ["grantd-target-1", "grantd-target-2"] {
        assert_eq!(standing(&events, "role.assume", role), "ok");
        for check in ["role.boundary", "role.max_session", "role.trust"] {
            let found = finding(&events, check, role);
            assert_eq!(found["standing"], "not_checked", "{found}");
            assert!(found["found"].as_str().unwrap().contains("needs iam:GetRole"), "{found}");
        }
    }
    assert_eq!(standing(&events, "boundary.attached", "grantd-boundary-1"), "not_checked");
    let policy = finding(&events, "resource.policy", "s3:::alpha");
    assert_eq!(policy["standing"], "not_checked", "{policy}");
    assert!(policy["found"].as_str().unwrap().contains("needs s3:GetBucketPolicy"), "{policy}");
    assert_eq!(standing(&events, "boundary.document", "grantd-boundary-1"), "ok");
    assert_eq!(standing(&events, "host.state_modes", "host"), "ok");
    assert_eq!(standing(&events, "host.core_dumps", "host"), "ok");
    assert_eq!(world.audited("doctor.run").len(), 1);
    assert_eq!(world.audited("doctor.found").len(), 1);
    let changing = ["CreatePolicyVersion", "DeletePolicyVersion", "SetDefaultPolicyVersion"];
    assert!(!world.proxy.records().iter().any(|record| changing.contains(&record.action.as_str())));
    // The sessions by which it tries roles can do nothing.
    let tried = world.proxy.ledger();
    assert!(!tried.is_empty() && tried.iter().all(|session| session.session_name == "grantd-doctor"));
    assert!(world.allowed(&tried).iter().all(|allowed| !allowed));
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_change() {
    let world = World::new();
    meddle(
        &world,
        "iam.put_user_policy(UserName='grantd-base', PolicyName='look', PolicyDocument=document(\n    \
         allow(['iam:GetRole', 'iam:ListEntitiesForPolicy', 's3:GetBucketPolicy'], '*')))\n\
         boto3.client('s3').put_bucket_policy(Bucket='beta', Policy=json.dumps({'Version': '2012-10-17', 'Statement': [\n    \
         {'Effect': 'Deny', 'NotPrincipal': {'AWS': 'arn:aws:iam::123456789012:role/grantd-target-1'},\n    \
         'Action': 's3:PutObject', 'Resource': 'arn:aws:s3:::beta/*'}]}))\n\
         role = 'arn:aws:iam::123456789012:role/'\npolicy = 'arn:aws:iam::123456789012:policy/'\n\
         iam.delete_role_permissions_boundary(RoleName='grantd-target-1')\n\
         iam.attach_role_policy(RoleName='untrusting', PolicyArn=policy + 'grantd-boundary-2')\n\
         iam.update_assume_role_policy(RoleName='grantd-target-2', PolicyDocument=json.dumps({'Version': '2012-10-17',\n    \
         'Statement': [{'Effect': 'Allow', 'Action': ['sts:AssumeRole'], 'Principal': {'AWS': [\n        \
         'arn:aws:iam::123456789012:user/grantd-base', 'arn:aws:iam::123456789012:role/untrusting']}}]}))\n\
         iam.create_policy_version(PolicyArn=policy + 'grantd-boundary-1', SetAsDefault=True,\n    \
         PolicyDocument=document(allow('*', '*'), allow('s3:*', '*')))\n",
    );
    let (code, events) = examined(&world);
    assert_eq!(code, 12);
    for (check, about, expected, words) in [
        ("role.boundary", "grantd-target-1", "problem", "no permissions boundary"),
        ("role.boundary", "grantd-target-2", "ok", ""),
        ("role.trust", "grantd-target-1", "ok", ""),
        ("role.trust", "grantd-target-2", "warning", "role/untrusting"),
        ("boundary.attached", "grantd-boundary-1", "ok", ""),
        ("boundary.attached", "grantd-boundary-2", "problem", "role untrusting"),
        ("boundary.document", "grantd-boundary-1", "problem", "v2"),
        ("boundary.document", "grantd-boundary-2", "ok", ""),
        ("resource.policy", "s3:::alpha", "ok", ""),
        ("resource.policy", "s3:::beta", "problem", "NotPrincipal"),
    ] {
        let found = finding(&events, check, about);
        assert_eq!(found["standing"], expected, "{found}");
        assert!(found["found"].as_str().unwrap().contains(words), "{found}");
        assert_eq!(found["fix"].is_string(), expected != "ok", "{found}");
    }
    // For people it is the same in words, with what to change.
    let told = world.root().grantctl(&["doctor", "--account", "main", "--metadata", NOWHERE]);
    assert_eq!(told.status.code(), Some(12), "{told}");
    assert!(told.stdout.contains("as its permissions boundary") && told.stderr.contains("found"), "{told}");
    let none = world.root().grantctl(&["doctor", "--account", "nonesuch", "--metadata", NOWHERE]);
    assert_eq!(none.status.code(), Some(4), "{none}");

    // A revocation that somebody lifted.
    let grant = world.grant(&world.bob(), "alpha");
    let (lease, _) = World::vended(&world.vend(&world.bob(), &grant, json!({})));
    assert_eq!(world.bob().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    world.wait_for_lease(&lease, "revoked");
    meddle(
        &world,
        "iam.create_policy_version(PolicyArn='arn:aws:iam::123456789012:policy/grantd-boundary-1', SetAsDefault=True,\n    \
         PolicyDocument=document(allow('*', '*')))\n",
    );
    let (_, events) = examined(&world);
    assert_eq!(standing(&events, "boundary.revocations", "grantd-boundary-1"), "problem", "{events:#?}");
}

/// Of each service whose resources have policies that can deny: one that shuts every session out, and one that does not.
#[test]
fn the_doctor_reads_the_policy_of_everything_that_has_one() {
    let mut world = World::new();
    let deny = "{'Version': '2012-10-17', 'Statement': [{'Effect': 'Deny', 'Resource': '*', 'Action': [\
                'secretsmanager:GetSecretValue', 'kms:Decrypt', 'sqs:ReceiveMessage', 'ecr:BatchGetImage'], \
                'NotPrincipal': {'AWS': 'arn:aws:iam::123456789012:role/grantd-target-1'}}, {'Effect': 'Allow', \
                'Principal': {'AWS': 'arn:aws:iam::123456789012:root'}, 'Action': '*', 'Resource': '*'}]}";
    let made = meddle(
        &world,
        &format!(
            "deny = json.dumps({deny})\n\
             iam.put_user_policy(UserName='grantd-base', PolicyName='look', PolicyDocument=document(allow([\n    \
             'secretsmanager:GetResourcePolicy', 'kms:GetKeyPolicy', 'sqs:GetQueueAttributes', \
             'ecr:GetRepositoryPolicy'], '*')))\n\
             secrets, kms, sqs, ecr = (boto3.client(name) for name in ['secretsmanager', 'kms', 'sqs', 'ecr'])\n\
             for n in ['good', 'bad']:\n    \
             secret = secrets.create_secret(Name=n, SecretString='s')['ARN']\n    \
             key = kms.create_key()['KeyMetadata']['Arn']\n    \
             url = sqs.create_queue(QueueName=n)['QueueUrl']\n    \
             queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=['QueueArn'])['Attributes']['QueueArn']\n    \
             repository = ecr.create_repository(repositoryName=n)['repository']['repositoryArn']\n    \
             if n == 'bad':\n        \
             secrets.put_resource_policy(SecretId=secret, ResourcePolicy=deny)\n        \
             kms.put_key_policy(KeyId=key, PolicyName='default', Policy=deny)\n        \
             sqs.set_queue_attributes(QueueUrl=url, Attributes={{'Policy': deny}})\n        \
             ecr.set_repository_policy(repositoryName=n, policyText=deny)\n    \
             for kind, arn in [('secret', secret), ('kms-key', key), ('queue', queue), \
             ('container-registry', repository)]:\n        print(n, kind, arn)\n"
        ),
    );
    let path = world.policy().join("catalog.toml");
    let mut catalog = fs::read_to_string(&path).unwrap();
    let things: Vec<Vec<&str>> = made.stdout.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(things.len(), 8, "{made}");
    for thing in &things {
        let [which, kind, arn] = thing[..] else { panic!("{made}") };
        catalog.push_str(&format!(
            "\n[[resource]]\nname = \"{kind}-{which}\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"{kind}\"\nnative = \
             \"{arn}\"\nenvironment = \"test\"\ntier = \"low\"\nowners = [\"olga\"]\n"
        ));
    }
    fs::write(&path, catalog).unwrap();
    world.reload();
    let (code, events) = examined(&world);
    assert_eq!(code, 12, "{events:#?}");
    for thing in &things {
        let expected = if thing[0] == "bad" { "problem" } else { "ok" };
        let found = finding(&events, "resource.policy", thing[2]);
        assert_eq!(found["standing"], expected, "{thing:?}: {found}");
    }
}

#[test]
fn only_administrators_look_prove_and_set_up() {
    let world = World::new();
    let prove = json!({ "cloud": "aws" });
    world.alice().curl("GET", "/v1/doctor", None).is_problem(403, "not-yours", &["administrators"]);
    world.alice().curl("POST", "/v1/doctor/prove", Some(&prove)).is_problem(403, "not-yours", &["administrators"]);
    world.alice().curl("GET", "/v1/bootstrap/aws", None).is_problem(403, "not-yours", &["administrators"]);
    assert_eq!(world.audited("doctor.refused").len(), 2);
    assert_eq!(world.audited("bootstrap.refused").len(), 1);
    let asked = |action: &str| world.proxy.records().iter().any(|record| record.action == action);
    assert!(!asked("AssumeRole") && !asked("GetCallerIdentity") && !asked("GetRole"), "the cloud was asked");
    // What nobody may have without an approval is not for a proof either.
    let high = json!({ "cloud": "aws", "resource": "ledger" });
    world.root().curl("POST", "/v1/doctor/prove", Some(&high)).is_problem(409, "state", &["tier high"]);
    let lasting = json!({ "cloud": "aws", "resource": "alpha", "capability": "object-storage:admin" });
    world.root().curl("POST", "/v1/doctor/prove", Some(&lasting)).is_problem(404, "not-found", &["harmless"]);
    assert!(world.proxy.ledger().is_empty(), "a session was made");
}

#[test]
fn p4_revocation_is_proved_and_the_daemon_reckons_with_what_it_took() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let delay = world.proxy.add(Rule::delayed_effect(Duration::from_secs(4))).unwrap();
    let proved = world.root().limit(Duration::from_secs(120)).grantctl(&[
        "--json",
        "doctor",
        "--prove",
        "aws",
        "--resource",
        "alpha",
        "--can",
        "object-storage:read",
    ]);
    assert!(proved.success(), "{proved}");
    let proof: Value = serde_json::from_str(proved.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(proof["event"], "proof", "{proof}");
    let felt = proof["felt_milliseconds"].as_u64().unwrap();
    assert!(felt >= 4_000, "{proof}");
    assert_eq!((&proof["samples"], &proof["action"]), (&json!(1), &json!("s3:ListBucket")), "{proof}");
    assert!(world.proxy.fired(delay) > 0);
    world.proxy.clear();
    // Both sessions are over, and neither left the daemon.
    let ours = |world: &World| -> Vec<_> {
        let ledger = world.proxy.ledger();
        ledger.into_iter().filter(|session| session.session_name.starts_with("grantd-doctor-")).collect()
    };
    assert_eq!(ours(&world).len(), 2);
    eventually("both are refused", Duration::from_secs(30), || world.allowed(&ours(&world)) == [false, false]);
    assert!(!proved.stdout.contains("secret_access_key") && !proved.stdout.contains("session_token"));
    assert_eq!((world.audited("doctor.prove").len(), world.audited("doctor.proved").len()), (1, 1));

    // It is kept, shown and reckoned with, after a crash as before it.
    for _ in 0..2 {
        let shown = world.status()["accounts"][0]["propagation"].clone();
        assert_eq!(shown["measured_milliseconds"], felt, "{shown}");
        assert_eq!(
            (&shown["expected_milliseconds"], &shown["worst_milliseconds"]),
            (&json!(felt), &json!(felt)),
            "{shown}"
        );
        assert!(world.root().grantctl(&["status"]).stdout.contains("measured once"));
        eventually("nothing is left to be written", Duration::from_secs(30), || {
            world.status()["revocation"]["unconfirmed"] == 0
        });
        let before = writes(&world);
        let (short, _) = World::vended(&world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 4 })));
        let ended = world.alice().curl("POST", &format!("/v1/leases/{short}/complete"), None);
        assert_eq!(ended.body["state"], "expiring", "{ended:?}");
        world.wait_for_lease(&short, "expired");
        assert_eq!(writes(&world), before, "a deny was written that could not be felt in time");
        world.crash_and_restart();
    }
    // A faster cloud does not make it more hopeful.
    let again =
        world.root().limit(Duration::from_secs(120)).grantctl(&["doctor", "--prove", "aws", "--account", "main"]);
    assert!(again.success() && again.stdout.contains("2 measurements"), "{again}");
    assert_eq!(world.status()["accounts"][0]["propagation"]["measured_milliseconds"], felt);
}

#[test]
fn p2_a_proof_that_dies_with_the_daemon_is_cleaned_up_by_the_next_start() {
    let mut world = World::new();
    world.proxy.add(Rule::delayed_effect(Duration::from_secs(3_600))).unwrap();
    let socket = world.scene.socket().display().to_string();
    let mut asking = world.root().env("GRANTD_SOCKET", socket).command(world.scene.bin("grantctl"));
    let mut asking = asking
        .args(["doctor", "--prove", "aws", "--can", "object-storage:read"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("one of two is to be revoked", Duration::from_secs(30), || !world.audited("lease.end").is_empty());
    let sessions = world.proxy.ledger();
    assert_eq!(world.allowed(&sessions), [true, true]);
    world.take_daemon().kill9();
    assert!(!asking.wait().unwrap().success());
    world.proxy.clear();
    world.start();
    eventually("both are refused", Duration::from_secs(30), || world.allowed(&sessions) == [false, false]);
    let grants = world.root().curl("GET", "/v1/grants?all=true", None).body["grants"].as_array().unwrap().clone();
    assert_eq!(grants.len(), 2);
    assert!(grants.iter().all(|grant| grant["state"] == "revoked"), "{grants:#?}");
    assert!(world.audited("doctor.proved").is_empty());
}
