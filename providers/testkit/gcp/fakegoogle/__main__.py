"""A fake of Google Cloud for tests, on loopback: `python fakegoogle PORT`. Every service is below its own host name.

What is set up, looked at and broken on purpose goes through /_fake/, which Google does not have.
"""

import datetime
import json
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from discovery import Catalogue
from iam import Iam
from refusal import Refusal
from tokens import Tokens

LIST_PREFIX = "storage.googleapis.com/objectListPrefix"


def stamp(at):
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat().replace("+00:00", "Z")


class World:
    """Everything that the fake knows."""

    def __init__(self):
        self.offset, self.lock = 0.0, threading.RLock()
        self.catalogue, self.iam = Catalogue(), None
        self.iam = Iam(self.clock)
        self.tokens = Tokens(self.clock, self.iam)
        self.url = ""
        self.objects, self.faults, self.races, self.requests, self.metadata = {}, [], [], [], None

    def clock(self):
        return time.time() + self.offset

    def control(self, what, given):
        """What only tests may do."""
        iam = self.iam
        if what == "setup":
            for audience, provider in given.get("providers", {}).items():
                if not re.fullmatch(r"//iam\.googleapis\.com/projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/"
                                    r"providers/[a-z0-9-]+", audience) or "google.subject" not in provider["attributeMapping"]:
                    raise Refusal(400, f"{audience} is no provider")
                self.tokens.providers[audience] = provider
            iam.numbers.update(given.get("numbers", {}))
            iam.roles.update(given.get("roles", {}))
            iam.projects_of.update(given.get("projects_of", {}))
            for name, policy in given.get("policies", {}).items():
                iam.put(name, policy)
            for bucket, objects in given.get("objects", {}).items():
                self.objects[bucket] = objects
            iam.delay = given.get("delay", iam.delay)
            iam.allowed_members = given.get("allowed_members", iam.allowed_members)
            self.metadata = given.get("metadata", self.metadata)
            self.faults += given.get("faults", [])
            self.races += given.get("races", [])
            self.offset += given.get("forward", 0)
            return {}
        if what == "policy":
            return {"policy": iam.policies.get(given["name"])}
        if what == "try_binding":
            # What somebody could write: a binding added to a policy, under all of Google's checks, and taken back.
            name, old = given["name"], iam.policies[given["name"]]
            iam.writes = []
            try:
                iam.write(name, {**old, "version": 3, "bindings": old.get("bindings", []) + [given["binding"]]},
                          (given["as"], None), name.startswith("//storage."))
            except Refusal as refusal:
                return {"status": refusal.status}
            iam.put(name, old)
            return {"status": 200}
        if what == "delete":
            iam.policies.pop(given["name"], None)
            iam.history.pop(given["name"], None)
            return {}
        if what == "requests":
            return {"requests": self.requests}
        if what == "token":
            return {"token": self.tokens.issue(given["member"], given.get("lifetime", 3600))}
        raise Refusal(404, what)

    def answer(self, method, parts, query, body, header):
        """What Google would answer."""
        verb = method.id.rsplit(".", 1)[1]
        if method.id == "sts.token":
            return self.tokens.exchange(body)
        caller = self.tokens.caller(header)
        if verb == "generateAccessToken":
            return self.tokens.impersonate(caller, parts[-1], body, stamp)
        if verb == "searchAllIamPolicies":
            return self.search(caller, parts, query)
        if ".workloadIdentityPools.providers." in method.id:
            return self.pool(verb, caller, parts)
        host = method.document["rootUrl"].removeprefix("https://").rstrip("/")
        if host == "storage.googleapis.com" and method.id.startswith("storage.objects."):
            return self.objects_of(verb, caller, parts, query)
        name = self.name_of(host, method, parts)
        if verb == "getIamPolicy":
            version = query.get("options.requestedPolicyVersion") or query.get("optionsRequestedPolicyVersion")
            version = int(version[0]) if version else ((body or {}).get("options") or {}).get("requestedPolicyVersion")
            self.iam.authorise(caller, self.iam.set_permission(name).replace(".setIam", ".getIam"), name)
            policy = self.iam.read(name, version)
            return {"kind": "storage#policy", "resourceId": name[len("//storage.googleapis.com/"):], **policy} \
                if host.startswith("storage") else policy
        if verb == "setIamPolicy":
            bucket = host.startswith("storage")
            policy = body if bucket else body["policy"]
            for race in [one for one in self.races if one["name"] == name]:
                self.races.remove(race)
                old = self.iam.policies[name]
                self.iam.put(name, {**old, "bindings": old.get("bindings", []) + [race["binding"]]})
            if bucket:
                policy = {k: v for k, v in policy.items() if k not in ("kind", "resourceId")}
            return self.iam.write(name, policy, caller, bucket)
        if verb == "testIamPermissions":
            asked = query.get("permissions") if host.startswith("storage") else (body or {}).get("permissions", [])
            if not self.iam.exists(name):
                raise Refusal(404, f"{name} does not exist")
            return {"permissions": [one for one in asked or [] if self.iam.may(caller[0], one, name)]}
        if method.id == "storage.buckets.get":
            self.iam.authorise(caller, "storage.buckets.get", name)
            return {"kind": "storage#bucket", "name": parts[0], "id": parts[0]}
        raise Refusal(404, f"{method.id} is not played here")

    def pool(self, verb, caller, parts):
        """Providers of workload identity pools, to look at."""
        pool = "//iam.googleapis.com/projects/{}/locations/{}/workloadIdentityPools/{}".format(*parts[:3])
        self.iam.authorise(caller, f"iam.workloadIdentityPoolProviders.{verb}", pool)
        if verb == "list":
            found = [self.tokens.shown(one) for one in sorted(self.tokens.providers) if one.startswith(pool + "/")]
            return {"workloadIdentityPoolProviders": found}
        audience = f"{pool}/providers/{parts[3]}"
        if verb != "get" or audience not in self.tokens.providers:
            raise Refusal(404, f"{audience} does not exist")
        return self.tokens.shown(audience)

    def name_of(self, host, method, parts):
        if host == "storage.googleapis.com":
            return f"//{host}/projects/_/buckets/{parts[0]}"
        template = method.method.get("flatPath", method.method["path"])
        path = re.sub(r"\{[^}]*\}", "{}", template).format(*parts)
        path = path.split(":")[0].split("/getIamPolicy")[0].split("/setIamPolicy")[0].split("/testIam")[0]
        path = re.sub(r"^(dns/)?v\d+/", "", path)
        return f"//{host}/{path}"

    def objects_of(self, verb, caller, parts, query):
        bucket = parts[0]
        name = f"//storage.googleapis.com/projects/_/buckets/{bucket}"
        if not self.iam.exists(name):
            raise Refusal(404, "The specified bucket does not exist.")
        objects = self.objects.get(bucket, {})
        if verb == "list":
            prefix = (query.get("prefix") or [""])[0]
            about = {"name": f"projects/_/buckets/{bucket}", "service": "storage.googleapis.com",
                     "type": "storage.googleapis.com/Bucket"}
            self.iam.authorise(caller, "storage.objects.list", name, {LIST_PREFIX: prefix}, about)
            found = [{"kind": "storage#object", "name": one, "bucket": bucket, "size": str(len(text))}
                     for one, text in sorted(objects.items()) if one.startswith(prefix)]
            most = int((query.get("maxResults") or ["1000"])[0])
            return {"kind": "storage#objects", "items": found[:most]}
        if verb == "get":
            key = urllib.parse.unquote(parts[1])
            about = {"name": f"projects/_/buckets/{bucket}/objects/{key}", "service": "storage.googleapis.com",
                     "type": "storage.googleapis.com/Object"}
            self.iam.authorise(caller, "storage.objects.get", name, {}, about)
            if key not in objects:
                raise Refusal(404, f"No such object: {bucket}/{key}")
            if query.get("alt") == ["media"]:
                return objects[key].encode()
            media = f"{self.url}/storage.googleapis.com/download/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe='')}"
            return {"kind": "storage#object", "name": key, "bucket": bucket, "size": str(len(objects[key])),
                    "generation": "1", "metageneration": "1", "mediaLink": f"{media}?generation=1&alt=media"}
        raise Refusal(404, f"storage.objects.{verb} is not played here")

    def search(self, caller, parts, query):
        project = parts[-1]
        self.iam.authorise(caller, "cloudasset.assets.searchAllIamPolicies",
                           f"//cloudresourcemanager.googleapis.com/projects/{project}")
        phrase = re.fullmatch(r'policy:"([^"]+)"', (query.get("query") or [""])[0])
        if not phrase:
            raise Refusal(400, "Invalid query.")
        words = re.findall(r"\w+", phrase.group(1))
        found = []
        for name, policy in self.iam.policies.items():
            owner = self.iam.projects_of.get(name) or (re.search(r"/projects/([^/_]+)", name) or [None, None])[1]
            text = re.findall(r"\w+", json.dumps(policy.get("bindings", [])))
            if owner == project and any(text[n:n + len(words)] == words for n in range(len(text))):
                name = name.replace("/projects/_/buckets/", "/") if "storage." in name else name
                found.append({"resource": name, "project": f"projects/{project}", "policy": policy})
        return {"results": found}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    world = None

    def log_message(self, *_):
        pass

    def version_string(self):
        return "ESF"

    def date_time_string(self, timestamp=None):
        return super().date_time_string(self.world.clock() if timestamp is None else timestamp)

    def send(self, status, body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def handle_any(self):
        length = self.headers.get("Content-Length")
        raw = self.rfile.read(int(length or 0))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        _, host, path = (url.path.split("/", 2) + [""])[:3]
        world = self.world
        if host == "_fake":
            with world.lock:
                return self.send(200, world.control(path, json.loads(raw or b"{}")))
        if host == "computeMetadata" or path.startswith("computeMetadata"):
            return self.metadata()
        fault = next((one for one in world.faults
                      if one["path"] in self.path and one.get("verb", self.command) == self.command), None)
        if fault:
            fault["times"] = fault.get("times", 1) - 1
            if fault["times"] <= 0:
                world.faults.remove(fault)
            time.sleep(fault.get("wait", 0))
            if not fault.get("after"):
                return self.broken(fault)
        try:
            status, body = 200, self.google(host, "/" + path, query, raw, length)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body(host)
        if fault and fault.get("after"):
            return self.broken(fault)
        return self.send(status, body)

    def broken(self, fault):
        if fault.get("drop"):
            self.close_connection = True
            return self.connection.close()
        return self.send(fault.get("status", 503), fault.get("body", {"error": {"code": 503, "status": "UNAVAILABLE"}}))

    def google(self, host, path, query, raw, length):
        world = self.world
        if self.command == "POST" and length is None:
            raise Refusal(411, "POST requests require a Content-length header.")
        # Clients read the contents of objects below this (Cloud Storage, "Request endpoints").
        path = path.removeprefix("/download") if host == "storage.googleapis.com" else path
        with world.lock:
            method, parts = world.catalogue.find(host, self.command, path)
        kind = (self.headers.get("Content-Type") or "").split(";")[0]
        if kind == "application/x-www-form-urlencoded" and raw:
            form = urllib.parse.parse_qsl(raw.decode(), strict_parsing=True)
            body = {re.sub(r"_(\w)", lambda m: m.group(1).upper(), name): value for name, value in form}
            if "options" in body and body["options"].startswith("%"):
                # google-auth encodes this field twice, and STS takes it.
                body["options"] = urllib.parse.unquote(body["options"])
        else:
            try:
                body = json.loads(raw) if raw else None
            except ValueError as error:
                raise Refusal(400, "Invalid JSON payload received.") from error
        with world.lock:
            shown = {k: ("…" if "oken" in k and k != "subjectTokenType" and k != "requestedTokenType" else v)
                     for k, v in (body or {}).items()}
            world.requests.append({"method": method.id, "verb": self.command, "path": f"{host}{path}", "query": query,
                                   "body": shown, "type": kind})
            method.check(query, body)
            parts = [urllib.parse.unquote(part) if method.id != "storage.objects.get" else part for part in parts]
            return world.answer(method, parts, query, body, self.headers.get("Authorization"))

    def metadata(self):
        if self.headers.get("Metadata-Flavor") != "Google" or not self.world.metadata:
            return self.send(403, {"error": "Missing Metadata-Flavor:Google header."})
        if self.path.split("?")[0].endswith("/token"):
            token = self.world.tokens.issue(f"serviceAccount:{self.world.metadata}", 3599)
            return self.send(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
        return self.send(404, {"error": "not found"})

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that hang up are theirs to tell of; anything else is a fault of the fake."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    request_queue_size = 128


def main():
    Handler.world = World()
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    Handler.world.url = f"http://127.0.0.1:{server.server_port}"
    print(json.dumps({"url": Handler.world.url}), flush=True)
    server.serve_forever()


main()
