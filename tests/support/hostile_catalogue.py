"""Rows of hostile.jsonl as cases for running gateways, each beside the text it has in the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from support.hostile_play import NACK, SILENT, WAYS, accept_in_every_detail, refuse_in_every_detail
from support.hostile_publish import Draft
from support.hostile_stage import Stage

_FILE = Path(__file__).parents[1] / "data" / "hostile.jsonl"
FILE: dict[str, dict[str, str]] = {row["id"]: row for row in map(json.loads, _FILE.read_text().splitlines())}
Play = Callable[[Stage], None]


@dataclass(frozen=True)
class Case:
    """One run of a row; `label` tells it from the row's others."""

    row: str
    label: str
    play: Play

    def __str__(self) -> str:
        return f"{self.row}-{self.label}" if self.label else self.row


class Rows:
    """The cases of some rows, in the order they are written down."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.cases: list[Case] = []
        #: (row, message, configuration of the gateway) of all that are messages.
        self.written: list[tuple[str, Draft, str]] = []

    def script(self, row: str, text: str, label: str = "") -> Callable[[Play], Play]:
        """A function that plays the row itself."""

        def register(play: Play) -> Play:
            self.texts[row] = text
            self.cases.append(Case(row, label, play))
            return play

        return register

    def drafts(
        self,
        row: str,
        text: str,
        *drafts: Draft,
        gate: str = "plain",
        counted: str = "",
        on_header: bool = False,
    ) -> None:
        """Messages that get the row's verdict from the gateway of that configuration, sent in every way.

        `counted` is the count of an accepted one ("accepted ok" by default); for `on_header` see
        `refuse_in_every_detail`.
        """
        self.texts[row] = text
        for draft in drafts:
            self.written.append((row, draft, gate))
            self._add(row, draft, gate, counted, on_header)

    def _add(self, row: str, draft: Draft, gate: str, counted: str, on_header: bool) -> None:
        verdict, code = FILE[row]["verdict"], FILE[row]["code"]
        ways = WAYS if verdict == "reject" else (NACK, SILENT)
        number = len({case.label.partition("-")[0] for case in self.cases if case.row == row})
        for way in ways:

            def play(stage: Stage, way: str = way) -> None:
                if verdict == "reject":
                    refuse_in_every_detail(stage, gate, way, draft, code, on_header)
                else:
                    accept_in_every_detail(stage, gate, way, draft, counted or f"accepted {code}")

            self.cases.append(Case(row, f"{number}-{way}", play))


class Catalogue:
    """All rows that are played, and those that are not, with the reason."""

    def __init__(self, parts: Iterable[Rows], left: dict[str, str]) -> None:
        """`left` maps a row, or the first letters of several, to why it is not played."""
        self.texts: dict[str, str] = {}
        self.cases: list[Case] = []
        self._left = left
        for part in parts:
            self.texts |= part.texts
            self.cases += part.cases

    def left(self) -> dict[str, str]:
        """Row to reason."""
        return {row: why for start, why in self._left.items() for row in FILE if row.startswith(start)}

    def differences(self) -> list[str]:
        """What the file and this catalogue do not agree on."""
        known = {row: entry["input"] for row, entry in FILE.items() if row not in self.left()}
        missing = [f"{row}: not played" for row in known.keys() - self.texts.keys()]
        strange = [f"{row}: not in the file, or left" for row in self.texts.keys() - known.keys()]
        changed = [
            f"{row}: the file says {known[row]!r}"
            for row, text in self.texts.items()
            if known.get(row) != text
        ]
        return sorted(missing + strange + changed)
