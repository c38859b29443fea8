"""The simulation of the core, 200 seeds; `make simulate` runs any number of them."""

from __future__ import annotations

import pytest

from sim.run import run_seeds

SEEDS = 200
#: Not one long test, so that a failure is told soon.
SEEDS_PER_TEST = 25


@pytest.mark.parametrize("start", range(0, SEEDS, SEEDS_PER_TEST))
def test_everything_holds_in_conversations_of_any_sort(start: int) -> None:
    report = run_seeds("any", list(range(start, start + SEEDS_PER_TEST)))
    assert report.failures == [], "make simulate SEED=... shows what was said"
    assert report.seeds == SEEDS_PER_TEST
    assert report.totals["accepted"] and report.totals["refused"] and report.totals["compared"]


@pytest.mark.parametrize("start", range(0, SEEDS, SEEDS_PER_TEST))
def test_clients_are_told_what_a_direct_connection_tells_them(start: int) -> None:
    """The whole number (10,000) is `make ledger`."""
    report = run_seeds("ledger", list(range(start, start + SEEDS_PER_TEST)))
    assert report.failures == [], "make simulate KIND=ledger SEED=... shows what was said"
    for what in ("accepted", "refused", "ack", "nack", "returned", "compared"):
        assert report.totals[what], f"no publish was {what}"
