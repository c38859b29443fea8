"""What SARIF 2.1.0 asks of the objects that we write: properties it knows, those it requires, their kinds.

Written down from the standard's text (section 3, "File format"): each object with all its properties that we
use, and no others, so that a slip of the pen in a name is found. `check` raises AssertionError with the path.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

_LEVELS = ("none", "note", "warning", "error")

#: object -> property -> (required, kind); a kind is a type, a tuple of words, an object's name, or [kind].
_OBJECTS: dict[str, dict[str, tuple[bool, Any]]] = {
    "sarifLog": {"$schema": (False, "uri"), "version": (True, ("2.1.0",)), "runs": (True, ["run"])},
    "run": {
        "tool": (True, "tool"),
        "invocations": (False, ["invocation"]),
        "results": (False, ["result"]),
    },
    "tool": {"driver": (True, "toolComponent")},
    "toolComponent": {
        "name": (True, str),
        "version": (False, str),
        "rules": (False, ["reportingDescriptor"]),
    },
    "reportingDescriptor": {
        "id": (True, str),
        "shortDescription": (False, "message"),
        "fullDescription": (False, "message"),
        "defaultConfiguration": (False, "reportingConfiguration"),
    },
    "reportingConfiguration": {"level": (False, _LEVELS)},
    "message": {"text": (True, str)},
    "invocation": {
        "executionSuccessful": (True, bool),
        "toolExecutionNotifications": (False, ["notification"]),
    },
    "notification": {"message": (True, "message"), "level": (False, _LEVELS)},
    "result": {
        "ruleId": (False, str),
        "ruleIndex": (False, int),
        "level": (False, _LEVELS),
        "message": (True, "message"),
        "locations": (False, ["location"]),
        "partialFingerprints": (False, "strings"),
        "suppressions": (False, ["suppression"]),
        "properties": (False, "propertyBag"),
    },
    "suppression": {"kind": (True, ("inSource", "external"))},
    "location": {
        "physicalLocation": (False, "physicalLocation"),
        "logicalLocations": (False, ["logicalLocation"]),
    },
    "physicalLocation": {"artifactLocation": (True, "artifactLocation"), "region": (False, "region")},
    "artifactLocation": {"uri": (True, "uri")},
    "region": {"startLine": (True, "positive")},
    "logicalLocation": {"fullyQualifiedName": (True, str)},
}


def check(log: Any) -> None:
    """`log` is a sarifLog as far as the standard can tell, and its rules are those its results name."""
    _check(log, "sarifLog", "$")
    for run in log["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(rules) == len(set(rules)), "a rule id is there twice (3.49.3)"
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"], "ruleIndex and ruleId differ (3.27.5)"


def _check(value: Any, kind: Any, path: str) -> None:
    if isinstance(kind, list):
        assert isinstance(value, list), path
        for index, item in enumerate(value):
            _check(item, kind[0], f"{path}[{index}]")
    elif isinstance(kind, tuple):
        assert value in kind, f"{path}: {value!r}"
    elif isinstance(kind, type):
        assert type(value) is kind, f"{path}: {value!r}"
    elif kind == "uri":
        assert isinstance(value, str), path
        assert re.fullmatch(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", value), f"{path}: {value!r}"
        urlsplit(value)
    elif kind == "positive":
        assert type(value) is int, path
        assert value >= 1, path
    elif kind in ("strings", "propertyBag"):
        assert all(isinstance(text, str) for text in value.values()), path
    else:
        _check_object(value, kind, path)


def _check_object(value: Any, kind: str, path: str) -> None:
    known = _OBJECTS[kind]
    assert isinstance(value, dict), path
    assert set(value) <= set(known), f"{path}: {set(value) - set(known)} are not of a {kind}"
    missing = {name for name, (required, _) in known.items() if required} - set(value)
    assert not missing, f"{path}: a {kind} needs {missing}"
    for name, item in value.items():
        _check(item, known[name][1], f"{path}.{name}")
