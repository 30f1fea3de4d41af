"""How Google says no: google.rpc.Status, Cloud Storage's own form of it, and OAuth's (RFC 6749)."""

CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
         412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
REASONS = {400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet",
           429: "rateLimitExceeded", 500: "backendError", 503: "backendError"}


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status, message, code=None, oauth=None):
        super().__init__(message)
        self.status, self.message, self.code, self.oauth = status, message, code or CODES.get(status, "UNKNOWN"), oauth

    def body(self, host):
        if self.oauth:
            return {"error": self.oauth, "error_description": self.message}
        if host == "storage.googleapis.com":
            reason = REASONS.get(self.status, "invalid")
            one = {"message": self.message, "domain": "global", "reason": reason}
            return {"error": {"code": self.status, "message": self.message, "errors": [one]}}
        return {"error": {"code": self.status, "message": self.message, "status": self.code}}
