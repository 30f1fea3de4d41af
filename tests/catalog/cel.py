"""Google's conditions as CEL: a JSON list of {condition, resource, attributes, time} on standard input, a JSON list of
{"value": bool} or {"error": text} out.

An evaluator alone lets a slip pass where another part of the condition decides, so each condition is looked over first:
it may hold only what IAM knows and this file does."""

import json
import re
import sys

import celpy
from celpy import celtypes

# IAM, "Attribute reference for IAM Conditions" and "Resource attributes for conditions".
TYPES = {
    "container.googleapis.com/Cluster",
    "sqladmin.googleapis.com/Instance",
    "storage.googleapis.com/Bucket",
    "storage.googleapis.com/Object",
}
ATTRIBUTES = {"storage.googleapis.com/objectListPrefix"}
CHAINS = {"resource.type", "resource.name", "resource.name.startsWith", "request.time", "timestamp"}
CALLS = {"api.getAttribute", ".startsWith"}
# Twelve logical operators and 4,000 characters are the most that one condition may have, and the end takes an operator.
OPERATORS, CHARACTERS = 11, 3900


def slip(condition):
    """What is wrong with the condition, if anything."""
    if "\\" in condition:
        return "it holds an escape"
    # Both kinds of quotes are the language's; inside of one kind the other would be text, which no value here has.
    condition = condition.replace('"', "'")
    bare = re.sub(r"'[^']*'", "''", condition)
    for literal in re.findall(r"'([^']*)'", condition):
        if re.fullmatch(r"[a-z]+\.googleapis\.com/\w+", literal) and literal not in TYPES | ATTRIBUTES:
            return f"{literal!r} is no type and no attribute that is known here"
    for word in re.findall(r"\.?[A-Za-z_][\w.]*", bare):
        if word not in CHAINS | CALLS:
            return f"{word!r} is not known here"
    for attribute in re.findall(r"getAttribute\('([^']*)'", condition):
        if attribute not in ATTRIBUTES:
            return f"attribute {attribute!r} is not known here"
    for kind in re.findall(r"resource\.type == '([^']*)'", condition):
        if kind not in TYPES:
            return f"type {kind!r} is not known here"
    left = re.sub(r"''|\.?[A-Za-z_][\w.]*|==|&&|\|\||[()<,]|\s", "", bare)
    if left:
        return f"{left!r} is not known here"
    if len(re.findall(r"&&|\|\|", bare)) > OPERATORS or len(condition) > CHARACTERS:
        return "it is more than IAM takes"
    return None


def evaluated(question):
    condition = question["condition"]
    wrong = slip(condition)
    if wrong:
        return {"error": wrong}
    attributes = question.get("attributes", {})

    def attribute(_api, name, default):
        return celtypes.StringType(attributes.get(str(name), default))

    try:
        environment = celpy.Environment()
        program = environment.program(environment.compile(condition), functions={"getAttribute": attribute})
        given = {
            "resource": celpy.json_to_cel(question["resource"]),
            "request": celtypes.MapType({celtypes.StringType("time"): celtypes.TimestampType(question["time"])}),
            "api": celtypes.MapType({}),
        }
        return {"value": bool(program.evaluate(given))}
    except (celpy.CELEvalError, celpy.CELParseError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


json.dump([evaluated(question) for question in json.load(sys.stdin)], sys.stdout)
