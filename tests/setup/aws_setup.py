"""Makes the AWS account that the tests and the demo work on, in an empty MiniStack.

Usage: aws_setup.py ENDPOINT [inline] [by-token]. Prints what it made as JSON, the base identity's keys included.
"""

import json
import sys

import boto3
from botocore.config import Config


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def trust(principal, *actions):
    return document({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions)})


# The daemon as issuer, where it has no base identity.
ISSUER = "tokens.example.com"


def token_trust(account, subject, *more):
    return document({
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{ISSUER}"},
        "Action": ["sts:AssumeRoleWithWebIdentity", *more],
        "Condition": {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": subject}},
    })


def main(endpoint, may_put_role_policy=False, by_token=False):
    # MiniStack's root key. With it everything is allowed; nothing else uses it.
    root = boto3.Session("test", "test", region_name="eu-west-1")
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2, "mode": "standard"})
    iam = root.client("iam", endpoint_url=endpoint, config=config)
    s3 = root.client("s3", endpoint_url=endpoint, config=config)
    account = root.client("sts", endpoint_url=endpoint, config=config).get_caller_identity()["Account"]
    base = f"arn:aws:iam::{account}:user/grantd-base"

    buckets = ["alpha", "beta", "ledger", "vault"]
    for bucket in buckets:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        s3.put_object(Bucket=bucket, Key="hello.txt", Body=f"hello from {bucket}\n".encode())

    iam.create_user(UserName="grantd-base")
    keys = iam.create_access_key(UserName="grantd-base")["AccessKey"]

    # Only the second role lets sessions carry tags and a source identity; the first refuses the whole call.
    trusts = {
        "grantd-target-1": trust(base, "sts:AssumeRole"),
        "grantd-target-2": trust(base, "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"),
    }
    if by_token:
        iam.create_open_id_connect_provider(
            Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
        )
        trusts = {
            "grantd-target-1": token_trust(account, "grantd:main", "sts:TagSession", "sts:SetSourceIdentity"),
            # It trusts the issuer, and another subject of it.
            "grantd-target-2": token_trust(account, "grantd:other"),
        }
    roles, boundaries = [], []
    for name, trusted in trusts.items():
        # A boundary never grants: it begins as Allow *, and revocations add denies to it.
        boundary = iam.create_policy(
            PolicyName=name.replace("target", "boundary"), PolicyDocument=document(allow("*", "*"))
        )["Policy"]["Arn"]
        role = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=trusted, PermissionsBoundary=boundary, MaxSessionDuration=3600
        )["Role"]["Arn"]
        # Broad on purpose: it is the session policy that must narrow it.
        iam.put_role_policy(RoleName=name, PolicyName="everything-on-s3", PolicyDocument=document(allow("s3:*", "*")))
        roles.append(role)
        boundaries.append(boundary)
    untrusting = iam.create_role(
        RoleName="untrusting", AssumeRolePolicyDocument=trust("arn:aws:iam::999999999999:root", "sts:AssumeRole")
    )["Role"]["Arn"]

    # What the daemon may do, and nothing else. It may ask for the untrusting role, so that it is the role's trust
    # policy that refuses it.
    versions = ["CreatePolicyVersion", "DeletePolicyVersion", "GetPolicyVersion", "ListPolicyVersions"]
    # Only where sessions are revoked in an inline policy of their role: it could widen the role.
    inline = ["PutRolePolicy", "GetRolePolicy", "ListRolePolicies"]
    iam.put_user_policy(
        UserName="grantd-base",
        PolicyName="grantd",
        PolicyDocument=document(
            allow("sts:AssumeRole", [*roles, untrusting]),
            allow(["sts:TagSession", "sts:SetSourceIdentity"], roles),
            allow([f"iam:{action}" for action in versions], boundaries),
            *([allow([f"iam:{action}" for action in inline], roles)] if may_put_role_policy else []),
        ),
    )
    if by_token:
        iam.create_role(RoleName="grantd-revoker", AssumeRolePolicyDocument=token_trust(account, "grantd:main:revoker"))
        reads = allow(["iam:GetRole", "iam:ListEntitiesForPolicy"], "*")
        iam.put_role_policy(
            RoleName="grantd-revoker",
            PolicyName="grantd",
            PolicyDocument=document(allow([f"iam:{action}" for action in versions], boundaries), reads),
        )
    made = {
        "account_id": account,
        "buckets": buckets,
        "role_arns": roles,
        "boundary_arns": boundaries,
        "untrusting_role_arn": untrusting,
        "access_key_id": keys["AccessKeyId"],
        "secret_access_key": keys["SecretAccessKey"],
    }
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1], "inline" in sys.argv[2:], "by-token" in sys.argv[2:])
