"""Writes expected.json: which events of events.jsonl each detection of detections.yaml matches, as pySigma reads it.

pySigma parses rule, modifiers and condition; this file only looks up fields and compares, value by value.

    pip install pysigma==2.0.1 && python oracle.py
"""

import ipaddress
import json
import re
from pathlib import Path

import yaml
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

HERE = Path(__file__).parent
# Where keywords are looked for: the text of a call.
KEYWORD_FIELDS = ["tool_name", "resource_uri", "prompt_name", "error_message", "arguments", "result"]
# Fields whose default is a number or false, as the event contract has it.
DEFAULTS = {"result_bytes": "0", "error_code": "0", "truncated": "false"}


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def lookup(event, name):
    """The text of a field; '' when the event does not have it."""
    if name.startswith("arguments."):
        here = json.loads(event.get("arguments", "{}"))
        for step in name.split(".")[1:]:
            here = here.get(step) if isinstance(here, dict) else None
        return "" if here is None else text(here)
    if name.startswith("attributes."):
        return event.get("attributes", {}).get(name.removeprefix("attributes."), "")
    return text(event[name]) if name in event else DEFAULTS.get(name, "")


def pattern(value, whole=True):
    parts = [
        ".*" if part == SpecialChars.WILDCARD_MULTI else "." if part == SpecialChars.WILDCARD_SINGLE else re.escape(part)
        for part in value.s
    ]
    flags = re.DOTALL | (0 if isinstance(value, SigmaCasedString) else re.IGNORECASE)
    compiled = re.compile("".join(parts), flags)
    return compiled.fullmatch if whole else compiled.search


def number(found):
    try:
        return float(found)
    except ValueError:
        return None


def holds(value, found, event):
    if isinstance(value, SigmaExpansion):
        return any(holds(each, found, event) for each in value.values)
    if isinstance(value, SigmaString):
        # A field that is missing is empty text here; a wildcard needs a field that is there.
        if found == "":
            return str(value) == ""
        return pattern(value)(found) is not None
    if isinstance(value, SigmaNumber):
        return number(found) == float(value.number)
    if isinstance(value, SigmaBool):
        return found == text(value.boolean)
    if isinstance(value, SigmaNull):
        return found == ""
    if isinstance(value, SigmaRegularExpression):
        names = {"IGNORECASE": re.IGNORECASE, "MULTILINE": re.MULTILINE, "DOTALL": re.DOTALL}
        flags = sum(names[flag.name] for flag in value.flags)
        return re.search(str(value.regexp), found, flags) is not None
    if isinstance(value, SigmaCIDRExpression):
        try:
            return ipaddress.ip_address(found) in ipaddress.ip_network(value.cidr)
        except ValueError:
            return False
    if isinstance(value, SigmaCompareExpression):
        left, right = number(found), float(value.number.number)
        name = value.op.name
        if left is None:
            return False
        return {"LT": left < right, "LTE": left <= right, "GT": left > right, "GTE": left >= right}[name]
    if isinstance(value, SigmaExists):
        return (found != "") == bool(value.exists)
    if isinstance(value, SigmaFieldReference):
        other = lookup(event, value.field).lower()
        here = found.lower()
        if here == "" or other == "":
            return False
        if value.starts_with:
            return here.startswith(other)
        return here.endswith(other) if value.ends_with else here == other
    raise TypeError(type(value))


def evaluate(node, event):
    if isinstance(node, ConditionAND):
        return all(evaluate(each, event) for each in node.args)
    if isinstance(node, ConditionOR):
        return any(evaluate(each, event) for each in node.args)
    if isinstance(node, ConditionNOT):
        return not evaluate(node.args[0], event)
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return holds(node.value, lookup(event, node.field), event)
    if isinstance(node, ConditionValueExpression):
        return any(pattern(node.value, whole=False)(lookup(event, name)) for name in KEYWORD_FIELDS)
    raise TypeError(type(node))


def main():
    events = [json.loads(line) for line in (HERE / "events.jsonl").read_text().splitlines()]
    expected = []
    for detection in yaml.safe_load((HERE / "detections.yaml").read_text()):
        rule = SigmaRule.from_dict({"title": "t", "logsource": {"product": "mcp"}, "detection": detection})
        parsed = rule.detection.parsed_condition[0].parsed
        expected.append([index for index, event in enumerate(events) if evaluate(parsed, event)])
    lines = ",\n".join(f"  {json.dumps(each)}" for each in expected)
    (HERE / "expected.json").write_text(f"[\n{lines}\n]\n")


main()
