#!/usr/bin/env python3
"""Holds a capability map to what the cloud publishes of its roles.

Usage: roles.py azure MAP ROLES | roles.py gcp MAP ROLES

MAP is config/entitlements/<cloud>.toml. ROLES is the published list as JSON: of Azure the answer of `az role definition
list --query "[?roleType=='BuiltInRole']"`, of Google Cloud a list of roles with name, title and includedPermissions, as
`gcloud iam roles describe` gives each. The lists are not part of this repository, and no package has them; the map itself
records what was found in them: the role, its title and the permissions that are relied on.

Holds the lists of roles that the adapters refuse, providers/<cloud>/escalating.txt, to the same: whatever hands out access has to
be among them.

Prints each thing that is wrong, and fails if there is any."""

import json
import pathlib
import re
import sys
import tomllib

# Actions that no built-in role spells out, only covers by a wildcard or not at all. They are in the published list of the
# resource provider's operations ("Azure permissions", by category).
ONLY_OPERATIONS = {
    "microsoft.web/sites/functions/read",
    *(f"microsoft.dbfor{kind}/flexibleservers/{verb}/action"
      for kind in ("mysql", "postgresql") for verb in ("restart", "start", "stop")),
    *(f"microsoft.network/dnszones/{kind}read" for kind in ("", "all/", "recordsets/")),
    *(f"microsoft.network/dnszones/{kind}/read"
      for kind in ("a", "aaaa", "caa", "cname", "mx", "ns", "ptr", "soa", "srv", "txt")),
    *(f"microsoft.network/dnszones/{kind}/{verb}"
      for kind in ("a", "aaaa", "caa", "cname", "mx", "ptr", "srv", "txt") for verb in ("delete", "write")),
    *(f"microsoft.containerservice/managedclusters/{kind}/{verb}"
      for kind in ("apps/deployments", "apps/statefulsets", "batch/cronjobs", "batch/jobs", "configmaps", "services")
      for verb in ("delete", "write")),
}


PROVIDERS = pathlib.Path(__file__).resolve().parents[2] / "providers"

# What hands out access on Azure: roles, their definitions, and the ways around.
HANDS_OUT = [f"Microsoft.Authorization/{one}" for one in (
    "roleAssignments/write", "roleAssignmentScheduleRequests/write", "roleEligibilityScheduleRequests/write",
    "roleDefinitions/write", "elevateAccess/action", "denyAssignments/delete", "roleManagementPolicies/write")]

# What becomes a session or a key on Google Cloud.
MAKES_SESSIONS = {
    *(f"iam.serviceAccounts.{one}" for one in (
        "actAs", "getAccessToken", "getOpenIdToken", "implicitDelegation", "signBlob", "signJwt")),
    "iam.serviceAccountKeys.create", "iam.serviceAccountKeys.upload", "storage.hmacKeys.create",
}


def refused(cloud):
    """The roles that the adapter refuses: the first word of each line, and the rest."""
    lines = (PROVIDERS / cloud / "escalating.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def covers(pattern, action):
    """Whether an action of a role, which may have wildcards, covers this one. Case does not matter to Azure."""
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), action, re.IGNORECASE) is not None


def granted(definition, action, allowed, withheld):
    return any(
        any(covers(pattern, action) for pattern in block.get(allowed) or [])
        and not any(covers(pattern, action) for pattern in block.get(withheld) or [])
        for block in definition["permissions"]
    )


def azure(capabilities, definitions):
    by_id = {(role.get("name") if "roleType" in role else None) or role["id"]: role for role in definitions}
    by_id = {key.rsplit("/", 1)[-1].lower(): role for key, role in by_id.items()}
    kinds = (("permissions", "actions", "notActions"), ("data_permissions", "dataActions", "notDataActions"))
    spelt = {
        allowed: {action.lower() for role in definitions for block in role["permissions"]
                  for action in block.get(allowed) or [] if "*" not in action}
        for _, allowed, _ in kinds
    }
    for capability, role in each_role(capabilities):
        definition = by_id.get(role["role"].lower())
        if role["role"].startswith("custom:"):
            for key, allowed, _ in kinds:
                for action in role.get(key, []):
                    if action.lower() not in spelt[allowed] | ONLY_OPERATIONS:
                        yield f"{capability}: no built-in role names {action} among its {allowed}"
            continue
        if definition is None:
            yield f"{capability}: there is no built-in role {role['role']}"
            continue
        if definition["roleName"] != role["title"]:
            yield f"{capability}: {role['role']} has the title {definition['roleName']!r}, not {role['title']!r}"
        for key, allowed, withheld in kinds:
            for action in role.get(key, []):
                if not granted(definition, action, allowed, withheld):
                    yield f"{capability}: {role['title']} does not give {action}"
    known = refused("azure")
    for role_id, definition in by_id.items():
        if role_id not in known and any(granted(definition, one, "actions", "notActions") for one in HANDS_OUT):
            yield f"{definition['roleName']} ({role_id}) hands out access, and the adapter does not refuse it"


def gcp(capabilities, definitions):
    by_name = {role["name"]: role for role in definitions}
    every = {permission for role in definitions for permission in role.get("includedPermissions", [])}
    for capability, role in each_role(capabilities):
        if role.get("data_permissions"):
            yield f"{capability}: data_permissions are for Azure"
        if role["role"].startswith("custom:"):
            for permission in role["permissions"]:
                if permission not in every:
                    yield f"{capability}: no role has {permission}"
            continue
        definition = by_name.get(role["role"])
        if definition is None:
            yield f"{capability}: there is no role {role['role']}"
            continue
        if definition["title"] != role["title"]:
            yield f"{capability}: {role['role']} has the title {definition['title']!r}, not {role['title']!r}"
        for permission in role["permissions"]:
            if permission not in definition["includedPermissions"]:
                yield f"{capability}: {role['role']} does not have {permission}"
    known = refused("gcp")
    for name, definition in by_name.items():
        has = set(definition.get("includedPermissions", []))
        if has & MAKES_SESSIONS and known.get(name) != "sessions":
            yield f"{name} makes sessions or keys, and the adapter does not refuse it as such"
        elif any(one.endswith(".setIamPolicy") for one in has) and name not in known:
            yield f"{name} writes allow policies, and the adapter does not refuse it"


def each_role(capabilities):
    for capability, permission in sorted(capabilities.items()):
        for role in permission["roles"]:
            yield capability, role


def main():
    if len(sys.argv) != 4 or "" in sys.argv:
        sys.exit("\n".join(__doc__.splitlines()[2:3]) + "\n(with make: AZURE_ROLES=FILE GCP_ROLES=FILE)")
    cloud, map_file, roles_file = sys.argv[1:]
    with open(map_file, "rb") as file:
        capabilities = tomllib.load(file)["capability"]
    with open(roles_file, encoding="utf-8") as file:
        definitions = json.load(file)
    wrong = list({"azure": azure, "gcp": gcp}[cloud](capabilities, definitions))
    for line in wrong:
        print(line)
    checked = sum(len(permission["roles"]) for permission in capabilities.values())
    print(f"{cloud}: {checked} roles held to {len(definitions)} published ones, {len(wrong)} things wrong", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
