"""Allow policies: who may do what, kept and changed under the rules that Google documents."""

import base64
import copy
import re
import threading

import conditions
from refusal import Refusal

ROLES = {
    "roles/storage.objectViewer": ["storage.objects.get", "storage.objects.list"],
    "roles/storage.objectCreator": ["storage.objects.create"],
    "roles/storage.admin": ["storage.buckets.get", "storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy",
                            "storage.objects.get", "storage.objects.list", "storage.objects.create"],
    "roles/secretmanager.secretAccessor": ["secretmanager.versions.access"],
    "roles/pubsub.subscriber": ["pubsub.subscriptions.consume"],
    "roles/cloudkms.cryptoKeyDecrypter": ["cloudkms.cryptoKeyVersions.useToDecrypt"],
    "roles/iam.serviceAccountTokenCreator": ["iam.serviceAccounts.getAccessToken"],
    "roles/cloudasset.viewer": ["cloudasset.assets.searchAllIamPolicies"],
    "roles/iam.workloadIdentityPoolViewer": ["iam.workloadIdentityPoolProviders.get",
                                             "iam.workloadIdentityPoolProviders.list"],
}
MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|group):[^@\s]+@[^@\s]+|domain:[^@\s]+"
    r"|serviceAccount:[a-z0-9-]+@[a-z0-9-]+\.iam\.gserviceaccount\.com"
    r"|principal://iam\.googleapis\.com/projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/subject/[^\s/]{1,127}"
    r"|principalSet://iam\.googleapis\.com/projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/(\*|group/\S+)")
MODIFIED = "iam.googleapis.com/modifiedGrantsByRole"


def conditional(policy):
    return any(binding.get("condition") for binding in policy.get("bindings", []))


def grants(policy):
    """Every (role, member, condition) of a policy."""
    return {(binding["role"], member, str(binding.get("condition")))
            for binding in policy.get("bindings", []) for member in binding.get("members", [])}


class Iam:
    """The policies of every resource, and their history."""

    def __init__(self, clock):
        self.clock, self.lock = clock, threading.RLock()
        self.policies, self.history, self.counter, self.writes, self.roles = {}, {}, 0, [], dict(ROLES)
        self.projects_of, self.numbers, self.delay, self.allowed_members = {}, {}, 0.0, None
        self.unconditional = {"pubsub.googleapis.com", "artifactregistry.googleapis.com", "dns.googleapis.com"}

    def put(self, name, policy):
        """What somebody else writes, past all checks."""
        with self.lock:
            self.counter += 1
            policy = copy.deepcopy(policy)
            policy["etag"] = base64.b64encode(b"\x05" + self.counter.to_bytes(7, "big")).decode()
            policy["version"] = 3 if conditional(policy) else 1
            self.policies[name] = policy
            self.history.setdefault(name, []).append((self.clock(), policy))
            return policy

    def exists(self, name):
        return name in self.policies

    def read(self, name, version):
        with self.lock:
            if name not in self.policies:
                raise Refusal(404, f"{name} does not exist")
            policy = copy.deepcopy(self.policies[name])
        if version not in (None, 0, 1, 3):
            raise Refusal(400, "Invalid requested policy version")
        if conditional(policy) and version != 3:
            # Google tells such roles under another name and without their conditions (IAM, "Policy versions").
            for binding in policy["bindings"]:
                if binding.pop("condition", None):
                    binding["role"] += "_withcond_" + "0" * 20
            policy["version"] = 1
        return policy

    def write(self, name, policy, caller, bucket):
        with self.lock:
            now = self.clock()
            self.writes = [(at, what) for at, what in self.writes if now - at < 60]
            if len(self.writes) >= 600:
                raise Refusal(429, "Quota exceeded for quota metric 'Write requests' of service 'iam.googleapis.com'")
            if bucket and any(what == name and now - at < 1 for at, what in self.writes):
                raise Refusal(429, "The bucket exceeded the rate limit for metadata updates")
            old = self.policies.get(name)
            if old is None:
                raise Refusal(404, f"{name} does not exist")
            if policy.get("etag") and policy["etag"] != old["etag"]:
                text = "There were concurrent policy changes. Please retry the whole read-modify-write."
                raise Refusal(412 if bucket else 409, text)
            self.check(policy, old, name)
            modified = sorted({role for role, _, _ in grants(policy) ^ grants(old)})
            permission = self.set_permission(name)
            self.authorise(caller, permission, name, {MODIFIED: modified})
            self.writes.append((now, name))
            kept = [binding for binding in policy.get("bindings", []) if binding.get("members")]
            return copy.deepcopy(self.put(name, {**policy, "bindings": kept}))

    def check(self, policy, old, name):
        bindings = policy.get("bindings", [])
        if (conditional(policy) or conditional(old)) and policy.get("version") != 3:
            raise Refusal(400, "Policies with conditional role bindings must be written with version 3")
        if conditional(policy) and name.split("/")[2] in self.unconditional:
            raise Refusal(400, "Conditions are not supported on this resource")
        if sum(len(binding.get("members", [])) for binding in bindings) > 1500:
            raise Refusal(400, "The number of members in the policy (1501) is larger than the maximum allowed size 1500")
        if sum(1 for binding in bindings if binding.get("condition")) > 100:
            raise Refusal(400, "The policy has more than 100 conditional role bindings")
        for binding in bindings:
            role = binding.get("role", "")
            if "_withcond_" in role or role not in self.roles:
                raise Refusal(400, f"Role {role} is not supported for this resource.")
            for member in binding.get("members", []):
                if not MEMBER.fullmatch(member):
                    raise Refusal(400, f"Invalid member: {member}")
            if binding.get("condition"):
                conditions.check(binding["condition"])
        if self.allowed_members is not None:
            for _, member, _ in grants(policy) - grants(old):
                if not any(member.startswith(one) for one in self.allowed_members):
                    raise Refusal(400, "One or more users named in the policy do not belong to a permitted customer.",
                                  "FAILED_PRECONDITION")

    def set_permission(self, name):
        service, kind = name.split("/")[2].split(".")[0], name.rstrip("/").split("/")[-2]
        if service == "cloudresourcemanager":
            return "resourcemanager.projects.setIamPolicy"
        return f"{service}.{kind}.setIamPolicy"

    def effective(self, name):
        """The policy that is in force: with a delay, the one of that long ago."""
        history, horizon = self.history.get(name, []), self.clock() - self.delay
        if not self.delay:
            return history[-1][1] if history else {}
        past = [policy for at, policy in history if at <= horizon]
        return past[-1] if past else (history[0][1] if history else {})

    def may(self, member, permission, name, attributes=None, resource=None):
        """Whether a member has a permission on a resource, by its own policy or its project's."""
        service = name.split("/")[2]
        resource = resource or {"name": "/".join(name.split("/")[3:]), "service": service, "type": ""}
        project = self.projects_of.get(name)
        if not project:
            found = re.search(r"/projects/([^/_]+)", name)
            project = found and self.numbers.get(found.group(1), found.group(1))
        names = [name, f"//cloudresourcemanager.googleapis.com/projects/{project}"]
        for policy in map(self.effective, dict.fromkeys(names)):
            for binding in policy.get("bindings", []):
                names_it = any(one in ("allUsers", "allAuthenticatedUsers") or one == member
                               or (one.startswith("principalSet://") and one.endswith("/*")
                                   and member.startswith("principal://" + one[15:-1]))
                               for one in binding.get("members", []))
                if names_it and permission in self.roles.get(binding["role"], ()) and \
                        conditions.holds(binding.get("condition"), self.clock(), resource, attributes or {}):
                    return True
        return False

    def authorise(self, caller, permission, name, attributes=None, resource=None):
        member, boundary = caller
        allowed = self.may(member, permission, name, attributes, resource)
        if allowed and boundary is not None:
            allowed = any(permission in self.roles.get(one.removeprefix("inRole:"), ())
                          for rule in boundary if rule["availableResource"] == name
                          and conditions.holds(rule.get("availabilityCondition"), self.clock(),
                                               resource or {"name": "", "service": "", "type": ""}, attributes or {})
                          for one in rule["availablePermissions"])
        if not allowed:
            raise Refusal(403, f"Permission '{permission}' denied on resource '{name}' (or it may not exist).")
