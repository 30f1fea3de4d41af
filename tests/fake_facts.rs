//! The fake STS is good enough for real clients: an unmodified boto3 works on it and reads its refusals.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use grantd_testkit::{FakeSts, FakeStsSettings};
use grantd_tests::{Credentials, Scene, User};

#[test]
fn boto3_issues_sessions_and_manages_policy_versions_on_the_fake() {
    let fake = FakeSts::start(FakeStsSettings::default()).unwrap();
    let scene = Scene::bare();
    let credentials = Credentials {
        access_key_id: "AKIAGRANTDBASE000000".to_owned(),
        secret_access_key: "any".to_owned(),
        session_token: None,
    };
    let finished = scene.caller(User::Alice).cloud(&fake.url()).credentials(&credentials).python(
        r#"
import boto3, datetime, json
from botocore.exceptions import ClientError

sts, iam = boto3.client("sts"), boto3.client("iam")
role, arn = (f"arn:aws:iam::123456789012:{what}" for what in ("role/grantd-target-1", "policy/grantd-boundary-1"))
answer = sts.assume_role(RoleArn=role, RoleSessionName="job-aaaaaaaaaa", DurationSeconds=900)
left = answer["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
assert 890 < left.total_seconds() <= 901, left
assert answer["PackedPolicySize"] == 0 and answer["AssumedRoleUser"]["AssumedRoleId"].endswith(":job-aaaaaaaaaa")
assert sts.get_caller_identity()["Account"] == "123456789012"

document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)["PolicyVersion"]
assert (made["VersionId"], made["IsDefaultVersion"]) == ("v2", True), made
assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v2", "v1"]
assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == document
iam.delete_policy_version(PolicyArn=arn, VersionId="v1")

def code(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]

long = json.dumps({"Version": "2012-10-17", "Statement": document["Statement"] * 60})
assert code(sts.assume_role, RoleArn=role, RoleSessionName="ab", Policy=long) == (400, "ValidationError")
assert code(sts.assume_role, RoleArn=role + "x", RoleSessionName="ab") == (403, "AccessDenied")
assert code(iam.get_policy_version, PolicyArn=arn, VersionId="v1") == (404, "NoSuchEntity")
print("done")
"#,
    );
    assert_eq!(finished.stdout, "done\n", "{finished}");
    assert_eq!(fake.issued(), 1);
}
