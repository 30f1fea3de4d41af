"""The Security Token Service, the credentials of service accounts, and the metadata server."""

import base64
import json
import re
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

import conditions
from refusal import Refusal

ACCESS = "urn:ietf:params:oauth:token-type:access_token"
JWTS = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text):
    return int.from_bytes(unpadded(text), "big")


def published(provider):
    """The key set of a provider's issuer: as it was uploaded, or as it is served now."""
    if "jwks_file" not in provider:
        return provider["jwks"]
    try:
        with open(provider["jwks_file"]) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise Refusal(400, "Error connecting to the given credential's issuer.", oauth="invalid_grant") from error


def verified(token, jwks):
    """The claims of a JWT whose signature one of the keys made."""
    try:
        head, body, signature = token.split(".")
        header, claims, raw = json.loads(unpadded(head)), json.loads(unpadded(body)), unpadded(signature)
    except Exception as error:
        raise Refusal(400, "The subject token is no JWT.", oauth="invalid_request") from error
    signed = f"{head}.{body}".encode()
    for key in jwks["keys"]:
        if key.get("kid") != header.get("kid"):
            continue
        try:
            if header.get("alg") == "ES256" and key["kty"] == "EC" and len(raw) == 64:
                public = ec.EllipticCurvePublicNumbers(number(key["x"]), number(key["y"]), ec.SECP256R1()).public_key()
                pair = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
                public.verify(pair, signed, ec.ECDSA(hashes.SHA256()))
                return claims
            if header.get("alg") == "RS256" and key["kty"] == "RSA":
                public = rsa.RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
                public.verify(raw, signed, padding.PKCS1v15(), hashes.SHA256())
                return claims
        except InvalidSignature:
            break
    raise Refusal(400, "Error verifying the signature of the ID token.", oauth="invalid_grant")


class Tokens:
    """Every token that is out: whose, until when, and what bounds it."""

    def __init__(self, clock, iam):
        self.clock, self.iam, self.live, self.providers = clock, iam, {}, {}

    def issue(self, member, lifetime, boundary=None):
        token = "ya29." + secrets.token_urlsafe(32)
        self.live[token] = (member, self.clock() + lifetime, boundary)
        return token

    def caller(self, header):
        """Who calls, by the Authorization header."""
        found = self.live.get((header or "").removeprefix("Bearer "))
        if not found or found[1] <= self.clock():
            raise Refusal(401, "Request had invalid authentication credentials.")
        return found[0], found[2]

    def exchange(self, body):
        if body.get("grantType") != "urn:ietf:params:oauth:grant-type:token-exchange":
            raise Refusal(400, "Unsupported grant type.", oauth="unsupported_grant_type")
        if body.get("requestedTokenType") != ACCESS:
            raise Refusal(400, "Invalid requested token type.", oauth="invalid_request")
        if not body.get("subjectToken"):
            raise Refusal(400, "Missing subject token.", oauth="invalid_request")
        if body.get("subjectTokenType") == ACCESS:
            return self.bound(body)
        if body.get("subjectTokenType") not in JWTS:
            raise Refusal(400, "Invalid subject token type.", oauth="invalid_request")
        return self.federated(body)

    def federated(self, body):
        audience = body.get("audience", "")
        provider = self.providers.get(audience)
        if provider is None:
            raise Refusal(400, f"Invalid value for audience: {audience}", oauth="invalid_target")
        if not body.get("scope"):
            raise Refusal(400, "Missing scope.", oauth="invalid_scope")
        claims = verified(body["subjectToken"], published(provider))
        now = self.clock()
        accepted = provider.get("allowedAudiences") or ["https:" + audience, audience]

        def no(text):
            raise Refusal(400, text, oauth="invalid_grant")

        if claims.get("iss") != provider["issuer"]:
            no("The issuer in ID Token does not match the expected ones.")
        given = claims.get("aud")
        if not any(one in accepted for one in (given if isinstance(given, list) else [given])):
            no("The audience in ID Token does not match the expected audience.")
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] <= now:
            no("ID Token is stale to sign-in.")
        if not isinstance(claims.get("iat"), (int, float)) or claims["iat"] > now + 60:
            no("ID Token issued at a time in the future.")
        if claims["exp"] - claims["iat"] > 86400:
            no("The lifetime of the ID Token is more than 24 hours.")
        if provider.get("disabled"):
            no("The provider is disabled.")
        subject = conditions.mapped(provider["attributeMapping"]["google.subject"], claims)
        if not subject or len(subject.encode()) > 127:
            no("The size of mapped attribute google.subject exceeds the 127 bytes limit.")
        condition = provider.get("attributeCondition")
        if condition and not conditions.mapped(condition, claims):
            raise Refusal(403, "The given credential is rejected by the attribute condition.", oauth="unauthorized_client")
        pool = audience.split("/providers/")[0]
        token = self.issue(f"principal:{pool}/subject/{subject}", 3600)
        return {"access_token": token, "issued_token_type": ACCESS, "token_type": "Bearer", "expires_in": 3600}

    def shown(self, audience):
        """A provider as IAM tells of it."""
        provider = self.providers[audience]
        known = {name: provider[name] for name in ("attributeMapping", "attributeCondition", "disabled") if provider.get(name)}
        oidc = {"issuerUri": provider["issuer"]}
        if provider.get("allowedAudiences"):
            oidc["allowedAudiences"] = provider["allowedAudiences"]
        return {"name": audience.removeprefix("//iam.googleapis.com/"), "state": "ACTIVE", **known, "oidc": oidc}

    def bound(self, body):
        try:
            options = json.loads(body.get("options") or "{}")
            rules = options["accessBoundary"]["accessBoundaryRules"]
            assert 1 <= len(rules) <= 10 and set(options) == {"accessBoundary"}
        except Exception as error:
            raise Refusal(400, "Invalid options: an access boundary has 1 to 10 rules.", oauth="invalid_request") from error
        for rule in rules:
            known = {"availableResource", "availablePermissions", "availabilityCondition"}
            bucket = re.fullmatch(r"//storage\.googleapis\.com/projects/_/buckets/[^/]+", rule.get("availableResource", ""))
            roles = rule.get("availablePermissions", [])
            if set(rule) - known or not bucket or not roles or not all(r.startswith("inRole:") for r in roles):
                raise Refusal(400, "Invalid access boundary rule.", oauth="invalid_request")
            if rule.get("availabilityCondition"):
                conditions.check({"title": "any", **rule["availabilityCondition"]})
        found = self.live.get(body["subjectToken"])
        if not found or found[1] <= self.clock():
            raise Refusal(400, "The subject token is not valid.", oauth="invalid_grant")
        member, until, _ = found
        token = self.issue(member, until - self.clock(), rules)
        # A token of Google's own has its end already: the answer does not say it again.
        return {"access_token": token, "issued_token_type": ACCESS, "token_type": "Bearer"}

    def impersonate(self, caller, email, body, stamp):
        email = email.split("/")[-1]
        project = email.split("@")[1].split(".")[0]
        name = f"//iam.googleapis.com/projects/{project}/serviceAccounts/{email}"
        self.iam.authorise(caller, "iam.serviceAccounts.getAccessToken", name)
        if not body.get("scope"):
            raise Refusal(400, "scope must not be empty")
        lifetime = re.fullmatch(r"(\d+)s", body.get("lifetime", "3600s"))
        if not lifetime or not 1 <= int(lifetime.group(1)) <= 3600:
            raise Refusal(400, "lifetime must be between 1s and 3600s")
        seconds = int(lifetime.group(1))
        token = self.issue(f"serviceAccount:{email}", seconds)
        return {"accessToken": token, "expireTime": stamp(self.clock() + seconds)}
