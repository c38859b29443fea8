"""Rows of hostile.jsonl as cases for the verifier: each input next to the verdict the file gives it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.message import Message
from sealgate.verify.verdict import Refused, Verdict
from support.sealed import (
    BODY,
    EMBED,
    JSON_HEADER,
    a_message,
    a_policy,
    judge_sealed,
    rules,
    task_headers,
)

_FILE = Path(__file__).parents[1] / "data" / "hostile.jsonl"
FILE = {row["id"]: row for row in map(json.loads, _FILE.read_text().splitlines())}
Case = Callable[[], Verdict]
GENERIC = a_policy(content=rules("generic", "application/json", ""))


class Rows:
    """The cases of some families; one row may have several."""

    def __init__(self, *families: str) -> None:
        self.families = families
        self.cases: dict[str, list[Case]] = {}

    def case(self, *ids: str) -> Callable[[Case], Case]:
        """A function that comes to the verdict itself."""

        def register(function: Case) -> Case:
            for row in ids:
                self.cases.setdefault(row, []).append(function)
            return function

        return register

    def message(self, row: str, message: Callable[[], Message], **judging: Any) -> None:
        """One message under a good seal. It is made when the case runs: making it may be what fails."""
        self.cases.setdefault(row, []).append(lambda: judge_sealed(message(), **judging))

    def body(self, row: str, body: bytes, **judging: Any) -> None:
        self.message(row, lambda: a_message(body), **judging)

    def property(self, row: str, index: int, value: bytes, **judging: Any) -> None:
        self.message(row, lambda: a_message(properties={**JSON_HEADER, index: value}), **judging)

    def entries(self, row: str, entries: bytes, **judging: Any) -> None:
        """Entries, right or wrong, behind the ordinary headers."""
        self.message(row, lambda: a_message(raw_entries=entries), **judging)

    def task(self, row: str, headers: dict[str, object], body: bytes = BODY, **judging: Any) -> None:
        """Changes of the ordinary headers."""
        self.message(row, lambda: a_message(body, task_headers(**headers)), **judging)

    def typed(
        self, row: str, kind: bytes, body: bytes, encoding: bytes | None = None, **judging: Any
    ) -> None:
        """A body under content type `kind`."""
        properties = {0: kind} if encoding is None else {0: kind, 1: encoding}
        self.message(row, lambda: a_message(body, properties=properties), **judging)

    def parameters(self) -> list[Any]:
        """For `pytest.mark.parametrize(("row", "run"), ...)`, the row's id in the id of the test."""
        return [
            pytest.param(row, run, id=f"{row}-{number}")
            for row, runs in self.cases.items()
            for number, run in enumerate(runs)
        ]

    def check(self, row: str, run: Case) -> None:
        assert outcome(run) == (FILE[row]["verdict"], FILE[row]["code"]), FILE[row]["input"]

    def check_complete(self) -> None:
        """The file has no row of these families that has no case here."""
        assert [row for row in FILE if row.startswith(self.families) and row not in self.cases] == []


def outcome(run: Case) -> tuple[str, str]:
    """(verdict, code) in the words of hostile.jsonl."""
    try:
        verdict = run()
    except GateError as error:
        # Refused before there is a message to judge: the session answers it.
        return "reject", error.reason.value
    if isinstance(verdict, Refused):
        return "reject", verdict.reason.value
    if verdict.observed is not None:
        return "accept+flag", verdict.observed.value
    if verdict.flags:
        return "accept+flag", verdict.flags[0].value
    return "accept", Reason.OK.value


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def task_body(args: list[object] | None = None, **embed: object) -> bytes:
    """The body of protocol 2, with changes of its embed."""
    return as_json([args or [2, 3], {}, {**EMBED, **embed}])


def signature(task: str, **parts: object) -> dict[str, object]:
    """A Celery signature as it is serialized."""
    return {
        "task": task,
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
        **parts,
    }
