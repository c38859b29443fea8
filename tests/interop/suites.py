"""The suites and the differences that are expected, as the files beside this one tell them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROUTES = ("direct", "pass", "chain")


@dataclass(slots=True, frozen=True)
class Suite:
    """One library's integration tests; `suites.toml` says what each field means."""

    name: str
    seconds_max: int
    distribution: str = ""
    version: str = ""
    sha256: str = ""
    needs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    hint: str = ""
    npm: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    plugin: str = ""
    unsealed: str = ""
    on_request: bool = False
    management: bool = False
    client_certificates: bool = True
    config: str = ""


@dataclass(slots=True, frozen=True)
class Run:
    """A suite's way to the broker. `unsealed`: received messages do not show their seal to the tests."""

    name: str
    route: str
    unsealed: bool = False


@dataclass(slots=True, frozen=True)
class Expected:
    """What a test does on `route` other than directly, and why. `seal`: not when it does not see the seal."""

    suite: str
    test: str
    route: str
    outcome: str
    seal: bool
    reason: str

    def applies(self, run: Run) -> bool:
        return self.route == run.route and not (self.seal and run.unsealed)


def load_suites(path: Path = HERE / "suites.toml") -> dict[str, Suite]:
    """Every suite by its name. Raises TypeError for a key that does not exist or is missing."""
    tables = tomllib.loads(path.read_text())["suite"]
    suites = [
        Suite(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
        for table in tables
    ]
    return {suite.name: suite for suite in suites}


def load_expected(path: Path = HERE / "expected.toml") -> list[Expected]:
    """The differences that are accepted. Raises ValueError for one without a reason or of no known route."""
    found = []
    for table in tomllib.loads(path.read_text()).get("difference", []):
        suite, route, outcome = table["suite"], table["route"], table["outcome"]
        reason, seal = table.get("reason"), table.get("seal", False)
        if not reason or route not in ROUTES[1:]:
            raise ValueError(f"{path.name}: {suite} {table['tests']}: no reason, or no route of {ROUTES[1:]}")
        found += [Expected(suite, test, route, outcome, seal, reason) for test in table["tests"]]
    return found
