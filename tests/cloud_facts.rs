//! What MiniStack is relied on for, and where it is not AWS. A new version that changes one of these must not pass
//! unseen: the tests that prove revocation and scope stand on them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use grantd_testkit::{Account, Fault, FaultProxy, MiniStack, Rule, Sight, probe};
use grantd_tests::{Credentials, Scene, User};

struct Stage {
    scene: Scene,
    cloud: MiniStack,
    account: Account,
}

impl Stage {
    fn new() -> Self {
        let scene = Scene::bare();
        let cloud = MiniStack::start(scene.path()).unwrap();
        let account = Account::prepare(&cloud.url()).unwrap();
        Self { scene, cloud, account }
    }

    /// Runs `code` behind the prelude as the base identity; it must end by printing `done`.
    fn holds(&self, code: &str) {
        self.holds_at(&self.cloud.url(), code);
    }

    fn holds_at(&self, endpoint: &str, code: &str) {
        let base = Credentials::from(&self.account.base);
        let finished = self
            .scene
            .caller(User::Alice)
            .cloud(endpoint)
            .credentials(&base)
            .python(&format!("{PRELUDE}{code}print('done')\n"));
        assert_eq!(finished.stdout, "done\n", "{finished}");
    }
}

const PRELUDE: &str = r#"
import boto3, datetime, json, time
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"
ROLE_1, ROLE_2 = (f"arn:aws:iam::{ACCOUNT}:role/grantd-target-{n}" for n in (1, 2))
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/grantd-boundary-1"
ACTIONS = ["s3:GetObject", "s3:ListBucket"]
LAX = Config(parameter_validation=False)
sts, iam = boto3.client("sts", config=LAX), boto3.client("iam")

def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, separators=(",", ":"))

# The four statements of every session policy: allow, and deny all else by action, by resource and by time.
def four(bucket, seconds):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    late = {"DateGreaterThanEquals": {"aws:CurrentTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    return document(
        {"Effect": "Allow", "Action": ACTIONS, "Resource": resources},
        {"Effect": "Deny", "NotAction": ACTIONS, "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "NotResource": resources},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": late},
    )

def session(name, role=ROLE_1, **more):
    found = sts.assume_role(RoleArn=role, RoleSessionName=name, **more)["Credentials"]
    return boto3.Session(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

def code(call, **arguments):
    try:
        call(**arguments)
        return "ok"
    except ClientError as error:
        return error.response["Error"]["Code"]

def read(who, bucket="alpha", key="hello.txt"):
    return code(who.client("s3").get_object, Bucket=bucket, Key=key)

def deny(*suffixes):
    return document(
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*",
         "Condition": {"StringLike": {"aws:userid": [f"*-{suffix}" for suffix in suffixes]}}},
    )

def set_boundary(document):
    made = iam.create_policy_version(PolicyArn=BOUNDARY, PolicyDocument=document, SetAsDefault=True)
    return made["PolicyVersion"]["VersionId"]

def same(seen, expected):
    assert seen == expected, f"{seen!r} is not {expected!r}"

"#;

#[test]
fn a_session_policy_of_four_statements_narrows_by_action_resource_and_time() {
    Stage::new().holds(
        r#"
wide, narrow = session("wide-aaaaaaaaaa"), session("job-bbbbbbbbbb", Policy=four("alpha", 300))
same([read(wide), read(wide, "beta")], ["ok", "ok"])
same([read(narrow), read(narrow, "beta")], ["ok", "AccessDenied"])
s3 = narrow.client("s3")
same(code(s3.list_objects_v2, Bucket="alpha"), "ok")
same(code(s3.list_objects_v2, Bucket="beta"), "AccessDenied")
same(code(s3.put_object, Bucket="alpha", Key="x", Body=b""), "AccessDenied")
same(code(s3.list_buckets), "AccessDenied")
same(code(narrow.client("sts").assume_role, RoleArn=ROLE_2, RoleSessionName="chained"), "AccessDenied")
short = session("job-cccccccccc", Policy=four("alpha", 3))
same(read(short), "ok")
time.sleep(3.2)
same(read(short), "AccessDenied")
"#,
    );
}

#[test]
fn a_deny_in_the_boundary_refuses_exactly_that_session_at_once() {
    Stage::new().holds(
        r#"
one, two = session("job-aaaaaaaaaa", Policy=four("alpha", 300)), session("job-bbbbbbbbbb", Policy=four("alpha", 300))
other = session("job-aaaaaaaaaa", ROLE_2, Policy=four("alpha", 300))
same([read(one), read(two), read(other)], ["ok", "ok", "ok"])
same(set_boundary(deny("aaaaaaaaaa")), "v2")
same([read(one), read(two), read(other)], ["AccessDenied", "ok", "ok"])
# As on AWS, the identity can still be asked for: it is no proof of life.
same(one.client("sts").get_caller_identity()["Arn"].rsplit("/", 1)[1], "job-aaaaaaaaaa")
set_boundary(deny("bbbbbbbbbb"))
same([read(one), read(two)], ["ok", "AccessDenied"])
# A boundary never grants, and what it leaves out is refused.
set_boundary(document({"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}))
same([read(one), read(two), read(other)], ["AccessDenied", "AccessDenied", "ok"])
"#,
    );
}

#[test]
fn a_policy_has_five_versions_and_numbers_are_not_used_again() {
    Stage::new().holds(
        r#"
same([set_boundary(deny("aaaaaaaaaa")) for _ in range(4)], ["v2", "v3", "v4", "v5"])
try:
    set_boundary(deny("aaaaaaaaaa"))
    raise AssertionError("a sixth version")
except ClientError as error:
    same((error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]), (409, "LimitExceeded"))
listed = iam.list_policy_versions(PolicyArn=BOUNDARY)["Versions"]
# MiniStack lists the oldest first; AWS documents no order. Nobody may rely on one.
same(sorted((v["VersionId"], v["IsDefaultVersion"]) for v in listed), [(f"v{n}", n == 5) for n in range(1, 6)])
same(code(iam.delete_policy_version, PolicyArn=BOUNDARY, VersionId="v5"), "DeleteConflict")
same(code(iam.delete_policy_version, PolicyArn=BOUNDARY, VersionId="v1"), "ok")
same(code(iam.delete_policy_version, PolicyArn=BOUNDARY, VersionId="v1"), "NoSuchEntity")
same(set_boundary(deny("bbbbbbbbbb")), "v6")
found = iam.get_policy_version(PolicyArn=BOUNDARY, VersionId="v6")["PolicyVersion"]
same(found["Document"], json.loads(deny("bbbbbbbbbb")))
"#,
    );
}

#[test]
fn the_base_identity_can_do_nothing_else() {
    Stage::new().holds(
        r#"
base = boto3.Session()
everything = document({"Effect": "Allow", "Action": "*", "Resource": "*"})
same(read(base), "AccessDenied")
same(code(iam.list_roles), "AccessDenied")
same(code(iam.get_policy, PolicyArn=BOUNDARY), "AccessDenied")
same(code(iam.create_policy, PolicyName="own", PolicyDocument=everything), "AccessDenied")
same(code(iam.put_role_policy, RoleName="grantd-target-1", PolicyName="own", PolicyDocument=everything), "AccessDenied")
same(code(iam.delete_role_permissions_boundary, RoleName="grantd-target-1"), "AccessDenied")
elsewhere = f"arn:aws:iam::{ACCOUNT}:policy/elsewhere"
same(code(iam.create_policy_version, PolicyArn=elsewhere, PolicyDocument=everything), "AccessDenied")
same(code(session, name="ab", role=f"arn:aws:iam::{ACCOUNT}:role/untrusting"), "AccessDenied")
same(code(session, name="ab", role=f"arn:aws:iam::{ACCOUNT}:role/nonesuch"), "AccessDenied")
same(code(iam.create_policy_version, PolicyArn=BOUNDARY, PolicyDocument="nonsense"), "MalformedPolicyDocument")
"#,
    );
}

#[test]
fn tags_need_the_trust_policy() {
    Stage::new().holds(
        r#"
tags = [{"Key": "grantd:lease", "Value": "aaaaaaaaaa"}]
same(code(session, name="ab", role=ROLE_1, Tags=tags), "AccessDenied")
same(code(session, name="ab", role=ROLE_2, Tags=tags), "ok")
# AWS refuses this without sts:SetSourceIdentity; MiniStack does not look. The fake STS does.
same(code(session, name="ab", role=ROLE_1, SourceIdentity="me"), "ok")
"#,
    );
}

#[test]
fn signatures_tokens_and_expiry_are_checked() {
    Stage::new().holds(
        r#"
found = sts.assume_role(RoleArn=ROLE_1, RoleSessionName="job-aaaaaaaaaa")["Credentials"]
key, secret, token = found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]
same(read(boto3.Session(key, secret, token)), "ok")
same(read(boto3.Session(key, "wrong", token)), "SignatureDoesNotMatch")
same(read(boto3.Session(key, secret, "wrong")), "InvalidToken")
same(read(boto3.Session("AKIAXXXXXXXXXXXXXXXX", secret)), "InvalidAccessKeyId")
short = session("job-bbbbbbbbbb", DurationSeconds=2)
same(read(short), "ok")
time.sleep(2.5)
same(read(short), "ExpiredToken")
# Not there is not refused, whoever asks: a test of a refusal must name a bucket and a key that exist.
narrow = session("job-cccccccccc", Policy=four("alpha", 300))
same([read(narrow, "nonesuch"), read(narrow, "alpha", "nokey")], ["NoSuchBucket", "NoSuchKey"])
"#,
    );
}

/// What AWS refuses and MiniStack does not. The adapter must check these itself, and its tests hold it to them on the
/// fake STS. Should one of them fail here, MiniStack has become stricter and the fake may do less.
#[test]
fn limits_that_ministack_does_not_hold() {
    Stage::new().holds(
        r#"
for arguments in [{"name": "not a name!"}, {"name": "ab", "DurationSeconds": 2}, {"name": "ab", "DurationSeconds": 99999}]:
    same(code(session, **arguments), "ok")
many = [{"Key": f"k{n}", "Value": "v"} for n in range(51)]
same(code(session, name="ab", role=ROLE_2, Tags=many), "ok")
same(code(set_boundary, document=deny(*(f"{n:010}" for n in range(600)))), "ok")
same(sts.assume_role(RoleArn=ROLE_1, RoleSessionName="ab", Policy=four("alpha", 300)).get("PackedPolicySize"), 0)
# This one it holds.
same(code(session, name="ab", Policy=four("alpha", 300) + " " * 2048), "ValidationError")
"#,
    );
}

#[test]
fn the_ledger_has_sessions_that_nobody_heard_of_and_the_probe_tries_them() {
    let stage = Stage::new();
    let proxy = FaultProxy::start(stage.cloud.address()).unwrap();
    let lost = proxy.add(Rule::on("AssumeRole", Fault::DropAfter).skip(1).times(1)).unwrap();
    stage.holds_at(
        &proxy.url(),
        r#"
from botocore.exceptions import BotoCoreError
heard = session("job-aaaaaaaaaa", Policy=four("alpha", 300))
same(read(heard), "ok")
try:
    session("job-bbbbbbbbbb", Policy=four("alpha", 300))
    raise AssertionError("the answer was not lost")
except BotoCoreError:
    pass
short = session("job-cccccccccc", DurationSeconds=2)
"#,
    );
    assert_eq!(proxy.fired(lost), 1);
    let ledger = proxy.ledger();
    let names: Vec<&str> = ledger.iter().map(|session| session.session_name.as_str()).collect();
    assert_eq!(names, ["job-aaaaaaaaaa", "job-bbbbbbbbbb", "job-cccccccccc"]);

    stage.holds("set_boundary(deny('aaaaaaaaaa'))\ntime.sleep(2)\n");
    let seen = probe(&stage.cloud.url(), "alpha", "hello.txt", &ledger).unwrap();
    let refused = |code: &str| Sight::Refused(code.to_owned());
    assert_eq!(seen, [refused("AccessDenied"), Sight::Allowed, refused("ExpiredToken")]);
    assert!(seen[0].is_refusal() && !seen[1].is_refusal());

    let missing = probe(&stage.cloud.url(), "nonesuch", "hello.txt", &ledger[1..2]).unwrap();
    assert!(!missing[0].is_refusal(), "not found was taken for a refusal: {missing:?}");
    let unreachable = probe("http://127.0.0.1:1", "alpha", "hello.txt", &ledger[1..2]).unwrap();
    assert!(matches!(&unreachable[0], Sight::Unknown(_)), "{unreachable:?}");
}

#[test]
fn the_aws_cli_works_through_the_proxy_and_from_a_profile() {
    let stage = Stage::new();
    let proxy = FaultProxy::start(stage.cloud.address()).unwrap();
    let profile = stage.scene.path().join("base-profile");
    stage.account.write_profile(&profile, "base").unwrap();
    let caller = stage.scene.caller(User::Root).cloud(&proxy.url());
    let caller = caller.env("AWS_SHARED_CREDENTIALS_FILE", profile.display().to_string()).env("AWS_PROFILE", "base");
    let finished = caller.aws(&["sts", "get-caller-identity", "--output", "text", "--query", "Arn"]);
    assert_eq!(finished.stdout, "arn:aws:iam::123456789012:user/grantd-base\n", "{finished}");
    let refused = caller.aws(&["s3", "cp", "s3://alpha/hello.txt", "-"]);
    assert!(!refused.success() && refused.stderr.contains("403"), "{refused}");
    let actions: Vec<String> = proxy.records().into_iter().map(|record| record.action).collect();
    assert_eq!(actions, ["GetCallerIdentity", "HEAD /alpha/hello.txt"]);
}
