"""The other ways to set Celery up, with every byte of clients and broker read alone, or in random pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.celery_setup import SIDECAR
from support.chopped import Chop
from support.loops import LOOPS
from system.test_celery_variants import (  # noqa: F401 - the tests themselves
    test_chord_with_results_in_redis_and_a_pool_of_threads,
    test_quorum_queues_retries_and_native_delayed_delivery,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ways = list(itertools.product(("one", "random"), LOOPS))
    metafunc.parametrize("chop", ways, ids="-".join, indirect=True)


@pytest.fixture
def signing() -> str:
    """What is chopped is what gateways and sidecars read."""
    return SIDECAR


@pytest.fixture
def chop(
    request: pytest.FixtureRequest, tmp_path: Path, full: bool, closing_lines: list[str]
) -> Iterator[Chop]:
    """How gateway and sidecars of a set-up read."""
    if not full:
        pytest.skip("at full size only: make faults")
    how, loop = request.param
    chopped = Chop(tmp_path, how, loop)
    yield chopped
    chopped.check()
    name = request.node.originalname.removeprefix("test_")
    closing_lines.append(f"chopped, {chopped.how}, {loop}, {name}: {chopped.report()}")
