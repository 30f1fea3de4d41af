"""Reads Terraform that grantd prints for Azure and Google Cloud, and refuses what `terraform validate` would refuse of it:
names that are used twice, references to nothing, arguments that a resource does not have or lacks, templates that are no
reference, and JSON that is none.

Usage: read_hcl.py FILE. Prints the blocks as JSON: {"resource": {kind: {name: body}}, "data": ..., "variable": ...}, with the
value of each jsonencode(...) as {"jsonencode": value}.
"""

import json
import re
import sys

import hcl2

# Arguments and nested blocks of each: those that are needed, and those that may be there (the providers' documentation).
RESOURCES = {
    "azuread_application_federated_identity_credential": (
        {"application_id", "display_name", "audiences", "issuer", "subject"}, {"provider", "description"}),
    "azurerm_role_definition": (
        {"name", "scope"}, {"provider", "role_definition_id", "permissions", "assignable_scopes", "description"}),
    "azurerm_role_assignment": (
        {"scope", "principal_id"},
        {"provider", "role_definition_id", "principal_type", "description", "condition", "condition_version", "depends_on"}),
    "google_iam_workload_identity_pool": ({"workload_identity_pool_id"}, {"project", "display_name"}),
    "google_iam_workload_identity_pool_provider": (
        {"workload_identity_pool_id", "workload_identity_pool_provider_id"},
        {"project", "attribute_mapping", "attribute_condition", "oidc"}),
    "google_project_iam_custom_role": ({"role_id", "title", "permissions"}, {"project", "description"}),
    "google_project_iam_member": ({"project", "role", "member"}, {"condition"}),
    "google_org_policy_policy": ({"name", "parent"}, {"spec"}),
    "google_service_account": ({"account_id"}, {"project"}),
    "google_service_account_iam_member": ({"service_account_id", "role", "member"}, {"condition"}),
}
DATA = {
    "azuread_application": (set(), {"provider", "client_id"}),
    "azuread_service_principal": (set(), {"provider", "client_id", "lifecycle"}),
}
# What other resources may ask of one that is made.
ATTRIBUTES = {"id", "object_id", "name", "workload_identity_pool_id"}
REFERENCE = re.compile(r"(data\.)?([a-z]+_[a-z_]+)\.([A-Za-z0-9_-]+)(?:\.([a-z_]+))?")
POSTCONDITION = re.compile(r'self\.object_id == "[0-9a-f-]{36}"')


def named(blocks, known, what):
    """The blocks of one sort by kind and name, each once."""
    found = {}
    for block in blocks:
        for kind, bodies in block.items():
            for name, body in bodies.items():
                assert kind in known, f"{what} {kind} is not known here"
                assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name), f"{name!r} is no name"
                assert name not in found.setdefault(kind, {}), f"{what} {kind}.{name} is there twice"
                required, optional = known[kind]
                assert required <= set(body), f"{kind}.{name} has no {required - set(body)}"
                assert set(body) <= required | optional, f"{kind}.{name} has {set(body) - required - optional}"
                found[kind][name] = body
    return found


class Checker:
    """What references may point at."""

    def __init__(self, parsed):
        self.variables = {name: body for block in parsed.get("variable", []) for name, body in block.items()}
        self.aliases = [(kind, body["alias"]) for block in parsed.get("provider", []) for kind, body in block.items()]
        assert len(set(self.aliases)) == len(self.aliases), f"a provider is there twice: {self.aliases}"
        self.resources = named(parsed.get("resource", []), RESOURCES, "resource")
        self.data = named(parsed.get("data", []), DATA, "data")

    def reference(self, text, where):
        if found := re.fullmatch(r"var\.([a-z_]+)", text):
            assert found[1] in self.variables, f"{where}: there is no variable {found[1]}"
            return
        if where[-1] == "provider":
            kind, _, alias = text.partition(".")
            assert (kind, alias) in self.aliases, f"{where}: there is no provider {text}"
            return
        found = REFERENCE.fullmatch(text)
        assert found, f"{where}: {text!r} is not understood"
        data, kind, name, attribute = found.groups()
        assert name in (self.data if data else self.resources).get(kind, {}), f"{where}: there is no {text}"
        assert (attribute in ATTRIBUTES) != ("depends_on" in where), f"{where}: {text}"

    def value(self, value, where=()):
        if isinstance(value, dict):
            return {key: self.value(one, (*where, key)) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, where) for one in value]
        if not isinstance(value, str):
            return value
        if found := re.fullmatch(r"\$\{jsonencode\((.*)\)\}", value, re.DOTALL):
            return {"jsonencode": self.value(json.loads(found[1]), where)}
        if where[-2:] == ("postcondition", "condition"):
            assert POSTCONDITION.fullmatch(value[2:-1]), f"{where}: {value}"
            return value
        plain = value.replace("$${", "").replace("%%{", "")
        assert "%{" not in plain, f"{where}: {value!r} has a directive"
        templates = re.findall(r"\$\{([^}]*)\}", plain)
        assert len(templates) == plain.count("${"), f"{where}: {value!r} does not close a template"
        for template in templates:
            self.reference(template, where)
        return value.replace("$${", "${").replace("%%{", "%{") if not templates else value


def main(path):
    with open(path, encoding="utf-8") as file:
        parsed = hcl2.load(file)
    unknown = set(parsed) - {"terraform", "provider", "variable", "resource", "data"}
    assert not unknown, f"{unknown} is not known here"
    checker = Checker(parsed)
    both = {"resource": checker.resources, "data": checker.data}
    shown = {
        sort: {kind: {name: checker.value(body, (kind, name)) for name, body in bodies.items()}
               for kind, bodies in kinds.items()}
        for sort, kinds in both.items()
    }
    print(json.dumps({**shown, "variable": checker.variables}))


if __name__ == "__main__":
    main(*sys.argv[1:])
