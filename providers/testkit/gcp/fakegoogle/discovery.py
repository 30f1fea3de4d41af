"""Requests are held to Google's own discovery documents, as the pinned google-api-python-client ships them."""

import functools
import json
import pathlib
import re

import googleapiclient

from refusal import Refusal

SERVICES = ["iamcredentials.v1", "sts.v1", "cloudresourcemanager.v3", "iam.v1", "storage.v1", "secretmanager.v1",
            "cloudkms.v1", "pubsub.v1", "artifactregistry.v1", "run.v2", "cloudfunctions.v2", "cloudtasks.v2", "dns.v1",
            "compute.v1", "cloudasset.v1"]
TYPES = {"string": str, "boolean": bool, "object": dict, "array": list}


class Method:
    """One method of one service, and how a request for it looks."""

    def __init__(self, document, method):
        self.id, self.verb, self.method, self.document = method["id"], method["httpMethod"], method, document
        path = document["servicePath"] + method.get("flatPath", method["path"])
        # A verb after a colon is no part of a name. Objects of Cloud Storage may have colons in theirs.
        one = "([^/]+)" if document["name"] == "storage" else "([^/:]+)"
        self.pattern = re.compile("/" + re.sub(r"\\\{[^}]*\\\}", lambda _: one, re.escape(path)) + "$")
        self.parameters = {**document.get("parameters", {}),
                           **{k: v for k, v in method.get("parameters", {}).items() if v["location"] == "query"}}

    def check(self, query, body):
        """Unknown or ill-typed parameters and fields are refused, as Google's front end refuses them."""
        for name, values in query.items():
            known = self.parameters.get(name)
            if known is None:
                raise Refusal(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
            if len(values) > 1 and not known.get("repeated"):
                raise Refusal(400, f"Proto field is not repeating, cannot start list: {name}")
            if known.get("type") == "integer" and not all(re.fullmatch(r"-?\d+", value) for value in values):
                raise Refusal(400, f"Invalid value at '{name}' (TYPE_INT32)")
        for name, known in self.method.get("parameters", {}).items():
            if known.get("required") and known["location"] == "query" and name not in query:
                raise Refusal(400, f"Required parameter: {name}")
        if "request" not in self.method:
            if body not in (None, {}):
                raise Refusal(400, f"{self.id} takes no request body")
        elif body is not None:
            self.check_value({"$ref": self.method["request"]["$ref"]}, body, "request")

    def check_value(self, schema, value, where):
        if "$ref" in schema:
            schema = self.document["schemas"][schema["$ref"]]
        kind = schema.get("type")
        if kind in TYPES and not isinstance(value, TYPES[kind]):
            raise Refusal(400, f"Invalid value at '{where}': not of type {kind}")
        if kind == "integer" and (isinstance(value, bool) or not isinstance(value, int)):
            raise Refusal(400, f"Invalid value at '{where}' (TYPE_INT32)")
        if kind == "array":
            for number, one in enumerate(value):
                self.check_value(schema["items"], one, f"{where}[{number}]")
        if kind == "object":
            properties = schema.get("properties")
            for name, one in value.items():
                if properties is None or name not in properties:
                    if "additionalProperties" in schema:
                        continue
                    raise Refusal(400, f'Invalid JSON payload received. Unknown name "{name}" at \'{where}\': '
                                       "Cannot find field.")
                self.check_value(properties[name], one, f"{where}.{name}")


def methods_of(node):
    yield from node.get("methods", {}).values()
    for resource in node.get("resources", {}).values():
        yield from methods_of(resource)


class Catalogue:
    """Every method of every service that the fake speaks, by host. A document is read when it is first needed."""

    def __init__(self):
        self.documents = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
        self.names = {f"{name.split('.')[0]}.googleapis.com": name for name in SERVICES}

    @functools.lru_cache
    def methods(self, host):
        document = json.loads((self.documents / f"{self.names[host]}.json").read_text())
        assert document["rootUrl"] == f"https://{host}/", host
        return [Method(document, one) for one in methods_of(document)]

    def find(self, host, verb, path):
        if host not in self.names:
            raise Refusal(404, f"there is no service at {host} here")
        for method in self.methods(host):
            match = method.verb == verb and method.pattern.match(path)
            if match:
                return method, match.groups()
        raise Refusal(404, f"{verb} {path} is no method of {host}")
