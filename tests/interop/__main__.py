"""Run client libraries' own integration suites against RabbitMQ: directly, through one gate that passes
everything, and through a signing sidecar and a verifying gateway; then compare test by test.

Exit code 0 only when every outcome is the direct connection's, but for those that expected.toml lists.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from interop.compare import Comparison, compare, lines
from interop.fetch import CACHE, MissingError, UnavailableError, prepare
from interop.routes import opened
from interop.running import Outcomes, RunError, run_tests
from interop.suites import ROUTES, Run, Suite, load_expected, load_suites

#: What the fixtures' modules raise where a server's program is missing.
NO_SERVER = (pytest.skip.Exception, pytest.fail.Exception)


class Progress:
    """A line rewritten on a terminal; anywhere else a line when a run begins and one when it ends."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._counted: Counter[str] = Counter()
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._say("starting", end="" if self._terminal else "\n")

    def heard(self, verdict: str) -> None:
        self._counted[verdict] += 1
        if self._terminal:
            self._say(self._counts(), end="")

    def finish(self) -> None:
        self._say(self._counts(), end="\n")

    def _counts(self) -> str:
        said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self._counted.items()))
        return f"{said or 'nothing yet'}, {time.monotonic() - self._began:.0f} s"

    def _say(self, text: str, end: str) -> None:
        start = "\r\x1b[K" if self._terminal else ""
        print(f"{start}{self._what}: {text}", end=end, file=sys.stderr, flush=True)


def runs_of(suite: Suite, routes: Sequence[str] = ROUTES, twice: bool = False) -> list[Run]:
    """Direct first. `twice`: and once more, so that a test that is not steady by itself shows."""
    runs = [Run("direct", "direct")]
    if twice:
        runs.append(Run("direct again", "direct"))
    runs += [Run(route, route) for route in ROUTES[1:] if route in routes]
    if suite.unsealed and "chain" in routes:
        runs.append(Run("chain, seal unseen", "chain", unsealed=True))
    return runs


def run_suite(suite: Suite, runs: Sequence[Run], cache: Path = CACHE, keep: Path | None = None) -> Comparison:
    """Run a suite on each route, each with a broker of its own, and compare with the first, "direct".

    `keep` is a folder for the logs. Raises `UnavailableError` (no download) and `RunError`.
    """
    ready = prepare(suite, cache)
    by_run: dict[Run, Outcomes] = {}
    for run in runs:
        progress = Progress(f"{suite.name}, {run.name}")
        with tempfile.TemporaryDirectory(prefix="sealgate-interop-", ignore_cleanup_errors=True) as folder:
            home = Path(folder)
            try:
                with opened(run.route, suite, home) as ends:
                    by_run[run] = run_tests(suite, run, ready, ends, home, progress.heard)
            finally:
                if keep is not None:
                    _keep_logs(home, keep / f"{suite.name}-{run.name.replace(' ', '-')}")
        progress.finish()
    return compare(suite.name, by_run, load_expected())


def _keep_logs(home: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in [*home.glob("*.log"), *home.glob("*.xml"), *home.glob("*/gateway.log")]:
        name = log.name if log.parent == home else f"{log.parent.name}.log"
        (target / name).write_bytes(log.read_bytes())


def report(comparisons: Sequence[tuple[Suite, Sequence[Run]]], keep: Path | None) -> int:
    """Run, print, and say by the exit code whether everything matches."""
    failures = []
    for suite, runs in comparisons:
        try:
            comparison = run_suite(suite, runs, keep=keep)
        except MissingError as error:
            print(f"{suite.name}: left out: {error}", flush=True)
            continue
        except (UnavailableError, RunError, ValueError, *NO_SERVER) as error:
            print(f"{suite.name}: {error}", flush=True)
            failures.append(suite.name)
            continue
        print("\n".join(lines(comparison)), flush=True)
        if not comparison.matches:
            failures.append(suite.name)
    print(
        f"Does not match: {', '.join(failures)}"
        if failures
        else "Everything matches, but for what is listed."
    )
    return 1 if failures else 0


def main() -> int:
    suites = load_suites()
    parser = argparse.ArgumentParser(prog="python -m interop", description=__doc__)
    parser.add_argument(
        "--suite",
        action="append",
        choices=list(suites),
        help="only this one (repeatable); some are run only when named",
    )
    parser.add_argument(
        "--route", action="append", choices=ROUTES, help="only this one beside direct (repeatable)"
    )
    parser.add_argument("--once", action="store_true", help="do not run the direct route a second time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and reports there")
    options = parser.parse_args()
    usual = [name for name, suite in suites.items() if not suite.on_request]
    chosen = [suites[name] for name in options.suite or usual]
    routes = options.route or ROUTES
    return report([(suite, runs_of(suite, routes, not options.once)) for suite in chosen], options.keep)


if __name__ == "__main__":
    sys.exit(main())
