"""A report for programs: our own JSON, and SARIF 2.1.0 (OASIS) for code scanning.

SARIF: sarifLog needs `version` and `runs`, a run its `tool.driver.name`, a result its `message`, a rule its
`id`; a region counts lines from 1; URIs are relative to the folder that the command was called in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sealgate import __version__
from sealgate.cli.doctor.findings import Finding, Report, Rule, Severity

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: The name of our fingerprints in SARIF; another way to compute them gets another one.
_FINGERPRINT: Final = "sealgateFinding/v1"


def report_json(report: Report) -> str:
    """`version` rises when a field changes its meaning or goes; fields may come."""
    document = {
        "version": 1,
        "sealgate": __version__,
        "target": report.target,
        "counts": {severity.word: report.count(severity) for severity in sorted(Severity, reverse=True)},
        "findings": [_finding(finding) for finding in report.findings],
        "suppressed": [_finding(finding) for finding in report.suppressed],
        "examined": report.examined,
        "skipped": report.skipped,
    }
    return json.dumps(document, indent=2) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity.word,
        "title": finding.rule.title,
        "subject": finding.subject,
        "message": finding.message,
        "why": finding.rule.why,
        "change": finding.change,
        "file": finding.place.file,
        "line": finding.place.line,
        "key": finding.place.key,
    }


def report_sarif(report: Report, rules: Sequence[Rule]) -> str:
    """`rules` are all rules of the run, found or not, in a fixed order."""
    index = {rule.id: number for number, rule in enumerate(rules)}
    results = [_result(finding, index) for finding in report.findings]
    for finding in report.suppressed:
        # How SARIF says that it was found, and set aside outside of the file it is in.
        results.append({**_result(finding, index), "suppressions": [{"kind": "external"}]})
    notices = [{"level": "note", "message": {"text": f"not looked at: {line}"}} for line in report.skipped]
    driver = {"name": "sealgate doctor", "version": __version__, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notices}],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "defaultConfiguration": {"level": rule.severity.word},
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if finding.place.file:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.place.file)}}
        if finding.place.line > 0:
            physical["region"] = {"startLine": finding.place.line}
        location["physicalLocation"] = physical
    name = finding.place.key or finding.subject
    if name:
        location["logicalLocations"] = [{"fullyQualifiedName": name}]
    identity = f"{finding.id}\n{finding.subject}".encode()
    return {
        "ruleId": finding.id,
        "ruleIndex": index[finding.id],
        "level": finding.severity.word,
        "message": {"text": f"{finding.message}. Change: {finding.change}"},
        "locations": [location] if location else [],
        "partialFingerprints": {_FINGERPRINT: hashlib.sha256(identity).hexdigest()},
        "properties": {"subject": finding.subject, "change": finding.change},
    }


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
