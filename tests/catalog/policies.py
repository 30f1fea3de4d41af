"""AWS policies as parliament reads them: JSON list of policies on standard input, JSON list of lists of findings out.

RESOURCE_MISMATCH is left out: parliament wants all resources of an action in one statement, where a plan has one for each.
That the resources are the action's is held to newer data by iam.mjs."""

import json
import sys

import parliament


def findings(policy):
    found = parliament.analyze_policy_string(json.dumps(policy)).findings
    return sorted(f"{finding.issue}: {finding.detail}" for finding in found if finding.issue != "RESOURCE_MISMATCH")


json.dump([findings(policy) for policy in json.load(sys.stdin)], sys.stdout)
