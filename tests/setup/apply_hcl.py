"""Makes in MiniStack exactly what a Terraform file says, and nothing it does not say. It knows the resources that grantd
prints; any other is an error.

Usage: apply_hcl.py ENDPOINT FILE [VARIABLE=VALUE ...]. Prints the names of what it made as JSON.
"""

import json
import re
import sys

import boto3
import hcl2

REFERENCE = re.compile(r"^\$\{([a-z_]+)\.([a-z0-9_]+)(?:\[0\])?\.([a-z]+)\}$")
VARIABLE = re.compile(r"^\$\{var\.([a-z0-9_]+)\}$")
SWITCH = re.compile(r"^\$\{var\.([a-z0-9_]+) \? 1 : 0\}$")
# What has to exist before what refers to it.
ORDER = [
    "aws_iam_user",
    "aws_iam_policy",
    "aws_iam_role",
    "aws_iam_role_policy_attachment",
    "aws_iam_user_policy",
    "aws_iam_role_policy",
    "aws_cloudwatch_event_rule",
    "aws_cloudwatch_event_target",
]


def main(endpoint, path, *given):
    with open(path) as file:
        parsed = hcl2.load(file)
    variables = {name: body.get("default") for block in parsed["variable"] for name, body in block.items()}
    for name, _, value in (text.partition("=") for text in given):
        assert name in variables, f"{name} is no variable of the file"
        variables[name] = json.loads(value)
    missing = [name for name, value in variables.items() if value is None]
    assert not missing, f"no value for {missing}"
    regions = {body["alias"]: body["region"] for block in parsed["provider"] for body in [block["aws"]]}
    accounts = [body["allowed_account_ids"] for block in parsed["provider"] for body in [block["aws"]]]
    root = boto3.Session("test", "test", region_name="eu-west-1")
    account = root.client("sts", endpoint_url=endpoint).get_caller_identity()["Account"]
    assert all(ids == [account] for ids in accounts), f"the file is for {accounts}, and this is {account}"
    iam = root.client("iam", endpoint_url=endpoint)
    resources = [(kind, name, body) for block in parsed["resource"] for kind, named in block.items() for name, body in named.items()]
    unknown = {kind for kind, _, _ in resources} - set(ORDER)
    assert not unknown, f"nobody knows how to make {unknown}"
    made = {}

    def value(text):
        if not isinstance(text, str):
            return text
        if found := REFERENCE.match(text):
            kind, name, member = found.groups()
            return made[kind, name][member]
        if found := VARIABLE.match(text):
            return variables[found[1]]
        assert "${" not in text, f"{text} is not understood"
        return text

    for kind, name, body in sorted(resources, key=lambda one: ORDER.index(one[0])):
        if "count" in body and not variables[SWITCH.match(body["count"])[1]]:
            continue
        region = regions[re.match(r"^\$\{aws\.([a-z0-9_]+)\}$", body["provider"])[1]]
        known = {"provider", "count", "depends_on", "lifecycle"}
        arguments = {key: value(text) for key, text in body.items() if key not in known}
        made[kind, name] = make(kind, arguments, iam, root, endpoint, region)
    print(json.dumps(sorted(f"{kind}.{name}" for kind, name in made)))


def make(kind, arguments, iam, root, endpoint, region):
    take = lambda key: arguments.pop(key)  # noqa: E731
    path = arguments.pop("path", "/")
    if kind == "aws_iam_user":
        result = iam.create_user(UserName=take("name"), Path=path)["User"]
        result = {"name": result["UserName"], "arn": result["Arn"]}
    elif kind == "aws_iam_policy":
        policy = json.loads(take("policy"))
        found = iam.create_policy(PolicyName=take("name"), Path=path, PolicyDocument=json.dumps(policy))["Policy"]
        result = {"name": found["PolicyName"], "arn": found["Arn"]}
    elif kind == "aws_iam_role":
        trust = json.loads(take("assume_role_policy"))
        extra = {}
        if "permissions_boundary" in arguments:
            extra["PermissionsBoundary"] = take("permissions_boundary")
        found = iam.create_role(
            RoleName=take("name"),
            Path=path,
            AssumeRolePolicyDocument=json.dumps(trust),
            MaxSessionDuration=take("max_session_duration"),
            **extra,
        )["Role"]
        result = {"name": found["RoleName"], "arn": found["Arn"]}
    elif kind == "aws_iam_role_policy_attachment":
        iam.attach_role_policy(RoleName=take("role"), PolicyArn=take("policy_arn"))
        result = {}
    elif kind == "aws_iam_user_policy":
        policy = json.dumps(json.loads(take("policy")))
        iam.put_user_policy(UserName=take("user"), PolicyName=take("name"), PolicyDocument=policy)
        result = {}
    elif kind == "aws_iam_role_policy":
        policy = json.dumps(json.loads(take("policy")))
        iam.put_role_policy(RoleName=take("role"), PolicyName=take("name"), PolicyDocument=policy)
        result = {}
    elif kind == "aws_cloudwatch_event_rule":
        events = root.client("events", endpoint_url=endpoint, region_name=region)
        pattern = json.dumps(json.loads(take("event_pattern")))
        result = {"name": take("name")}
        events.put_rule(Name=result["name"], Description=take("description"), EventPattern=pattern)
    else:
        events = root.client("events", endpoint_url=endpoint, region_name=region)
        failed = events.put_targets(Rule=take("rule"), Targets=[{"Id": "topic", "Arn": take("arn")}])
        assert not failed["FailedEntryCount"], failed
        result = {}
    assert not arguments, f"{kind}: nobody knows what {arguments} mean"
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
