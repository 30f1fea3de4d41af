"""Google's own clients, unmodified, against the fake: arguments are its URL and the provider's audience, standard input has
an assertion of the daemon's."""

import sys

import google.auth.credentials
import google.oauth2.credentials
import google.oauth2.sts
import google.auth.transport.requests
from google.api_core.exceptions import Forbidden
from google.cloud import storage
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

url, audience = sys.argv[1:]
request = google.auth.transport.requests.Request()
sts = google.oauth2.sts.Client(f"{url}/sts.googleapis.com/v1/token")
answer = sts.exchange_token(
    request, grant_type="urn:ietf:params:oauth:grant-type:token-exchange", subject_token=sys.stdin.read(),
    subject_token_type="urn:ietf:params:oauth:token-type:jwt", audience=audience,
    scopes=["https://www.googleapis.com/auth/cloud-platform"],
    requested_token_type="urn:ietf:params:oauth:token-type:access_token")
assert answer["expires_in"] == 3600, answer
daemon = google.oauth2.credentials.Credentials(answer["access_token"])


def client(token=daemon):
    return storage.Client(project="acme-prod", credentials=token,
                          client_options={"api_endpoint": f"{url}/storage.googleapis.com"})


def api(name, version, path=""):
    return build(name, version, credentials=daemon, static_discovery=True, cache_discovery=False,
                 client_options={"api_endpoint": f"{url}/{name}.googleapis.com/{path}"})


member = audience.replace("//", "principal://").split("/providers/")[0] + "/subject/lease-" + "a" * 26
bucket = client().bucket("alpha")
policy = bucket.get_iam_policy(requested_policy_version=3)
assert any(one["role"] == "roles/storage.admin" for one in policy.bindings), policy.bindings
policy.version = 3
policy.bindings.append({"role": "roles/storage.objectViewer", "members": {member}, "condition": {
    "title": "until", "expression": 'resource.name.startsWith("projects/_/buckets/alpha/objects/in/") || '
    'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("in/")'}})
bucket.set_iam_policy(policy)
try:
    bucket.set_iam_policy(policy)
    raise SystemExit("an old etag was taken")
except Exception as error:
    assert error.code in (412, 429), error

# A foreign role is refused by the constraint of the daemon's own.
again = bucket.get_iam_policy(requested_policy_version=3)
again.bindings.append({"role": "roles/storage.admin", "members": {"user:eve@example.com"}})
try:
    bucket.set_iam_policy(again)
    raise SystemExit("the daemon could grant any role")
except Exception as error:
    assert error.code in (403, 429), error

secrets = api("secretmanager", "v1").projects().secrets()
name = "projects/acme-prod/secrets/db"
found = secrets.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
binding = {"role": "roles/secretmanager.secretAccessor", "members": [member],
           "condition": {"title": "t", "expression": 'request.time < timestamp("2099-01-01T00:00:00Z")'}}


def code(call):
    try:
        call.execute()
        return 200
    except HttpError as error:
        return error.resp.status


wanted = {"etag": found["etag"], "bindings": [binding]}
assert code(secrets.setIamPolicy(resource=name, body={"policy": wanted})) == 400, "conditions need version 3"
assert code(secrets.setIamPolicy(resource=name, body={"policy": {**wanted, "version": 3}})) == 200
assert code(secrets.setIamPolicy(resource=name, body={"policy": {**wanted, "version": 3}})) == 409
# A read that is not of version 3 hides conditions, and what it gives cannot be written back.
hidden = secrets.getIamPolicy(resource=name).execute()
assert "_withcond_" in hidden["bindings"][0]["role"] and "condition" not in hidden["bindings"][0], hidden
assert code(secrets.setIamPolicy(resource=name, body={"policy": {**hidden, "version": 3}})) == 400
for bad in ({"members": ["nobody"]}, {"condition": {"title": "t", "expression": "nonsense("}},
            {"condition": {"expression": "true"}}, {"role": "roles/unknown"}):
    now = secrets.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
    body = {"policy": {"version": 3, "etag": now["etag"], "bindings": [{**binding, **bad}]}}
    assert code(secrets.setIamPolicy(resource=name, body=body)) == 400, bad

projects = api("cloudresourcemanager", "v3").projects()
found = projects.getIamPolicy(resource="projects/acme-prod", body={"options": {"requestedPolicyVersion": 3}}).execute()
assert found["version"] == 3, found
tested = projects.testIamPermissions(resource="projects/acme-prod", body={
    "permissions": ["resourcemanager.projects.getIamPolicy", "storage.objects.get"]}).execute()
assert tested == {"permissions": ["resourcemanager.projects.getIamPolicy"]}, tested

account = "projects/-/serviceAccounts/grantd-1@acme-prod.iam.gserviceaccount.com"
accounts = api("iamcredentials", "v1").projects().serviceAccounts()
scope = ["https://www.googleapis.com/auth/cloud-platform"]
made = accounts.generateAccessToken(name=account, body={"scope": scope, "lifetime": "300s"}).execute()
assert made["expireTime"].endswith("Z"), made
assert code(accounts.generateAccessToken(name=account, body={"scope": scope, "lifetime": "3601s"})) == 400
other = account.replace("grantd-1", "other")
assert code(accounts.generateAccessToken(name=other, body={"scope": scope})) == 403
bound = sts.exchange_token(
    request, grant_type="urn:ietf:params:oauth:grant-type:token-exchange", subject_token=made["accessToken"],
    subject_token_type="urn:ietf:params:oauth:token-type:access_token",
    requested_token_type="urn:ietf:params:oauth:token-type:access_token",
    additional_options={"accessBoundary": {"accessBoundaryRules": [{
        "availableResource": "//storage.googleapis.com/projects/_/buckets/alpha",
        "availablePermissions": ["inRole:roles/storage.objectViewer"]}]}})
assert "expires_in" not in bound, bound
try:
    client(google.oauth2.credentials.Credentials(bound["access_token"])).bucket("alpha").blob("in/hello.txt").download_as_text()
    raise SystemExit("a boundary gave what its account has not")
except Forbidden:
    pass
print("done")
