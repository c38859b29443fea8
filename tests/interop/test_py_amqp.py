"""py-amqp's own integration tests, directly and through Sealgate. `make interop` runs other suites too."""

from __future__ import annotations

import os

import pytest

from interop.__main__ import run_suite, runs_of
from interop.compare import lines
from interop.fetch import UnavailableError
from interop.suites import load_suites

pytestmark = pytest.mark.system

#: Set by CI, which has a package mirror: what can not be fetched is then a failure, not a skip.
REQUIRE_DOWNLOADS = "SEALGATE_TESTS_REQUIRE_DOWNLOADS"


@pytest.mark.timeout(400)
def test_py_amqp_passes_its_own_tests_through_sealgate(closing_lines: list[str]) -> None:
    suite = load_suites()["py-amqp"]
    runs = runs_of(suite)
    try:
        comparison = run_suite(suite, runs)
    except UnavailableError as error:
        if os.environ.get(REQUIRE_DOWNLOADS) == "1":
            pytest.fail(f"py-amqp's tests can not be fetched: {error}")
        pytest.skip(f"py-amqp's tests can not be fetched: {error}")
    told = lines(comparison)
    closing_lines.extend(told[: 1 + len(runs)])
    assert comparison.matches, "\n".join(told)
    assert {run.name for run in comparison.by_run} == {"direct", "pass", "chain", "chain, seal unseen"}
    assert all(len(outcomes) >= 25 for outcomes in comparison.by_run.values())
