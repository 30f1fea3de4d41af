"""IAM conditions, really evaluated: CEL with the attributes that Google documents for them."""

import datetime
import functools
import re

import celpy
from celpy import celtypes

from refusal import Refusal

ENVIRONMENT = celpy.Environment()


def get_attribute(api, name, default):
    return api.get(name, default)


def has_only(given, allowed):
    return celtypes.BoolType(all(any(one == other for other in allowed) for one in given))


@functools.lru_cache(maxsize=4096)
def program(expression):
    tree = ENVIRONMENT.compile(expression)
    return ENVIRONMENT.program(tree, functions={"getAttribute": get_attribute, "hasOnly": has_only})


def check(condition):
    """What setIamPolicy refuses of a condition."""
    if not condition.get("title"):
        raise Refusal(400, "Condition must have a title.")
    if len(condition["title"]) > 100 or len(condition.get("description", "")) > 256:
        raise Refusal(400, "Condition title or description is too long.")
    expression = condition.get("expression", "")
    if sum(expression.count(one) for one in ("&&", "||", "!")) > 12:
        raise Refusal(400, "Condition has more than 12 logical operators.")
    try:
        program(expression)
    except Exception as error:
        raise Refusal(400, f"Condition expression compilation failed: {error}") from error
    known = {"resource", "request", "api", "true", "false", "in", "timestamp", "duration", "size"}
    for name in re.findall(r"(?<![\w.\"'/-])([a-z]\w*)(?=[.(])", re.sub(r"\"[^\"]*\"|'[^']*'", "\"\"", expression)):
        if name not in known:
            raise Refusal(400, f"Condition expression compilation failed: undeclared reference to '{name}'")


def holds(condition, now, resource, attributes):
    """Whether a condition holds. One that errors does not."""
    if not condition:
        return True
    at = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    activation = {
        "request": celtypes.MapType({"time": celtypes.TimestampType(at)}),
        "resource": celtypes.MapType({k: celtypes.StringType(v) for k, v in resource.items()}),
        "api": celtypes.MapType({k: celpy.json_to_cel(v) for k, v in attributes.items()}),
    }
    try:
        return bool(program(condition["expression"]).evaluate(activation))
    except celpy.CELEvalError:
        return False


def mapped(expression, claims):
    """What a provider's mapping or condition makes of an assertion: text, or whether it holds."""
    try:
        value = program(expression).evaluate({"assertion": celpy.json_to_cel(claims)})
    except celpy.CELEvalError:
        return None
    return bool(value) if isinstance(value, celtypes.BoolType) else str(value)
