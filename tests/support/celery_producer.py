"""A producer process of the project: sends what its argument names, waits for the results, checks them."""

from __future__ import annotations

import sys

from celery import chain, chord, group

from support.celery_project import add, flaky, total

SECONDS_MAX = 40


def send_chord() -> None:
    result = chord(group(add.s(n, n) for n in range(10)), total.s()).apply_async()
    assert result.get(timeout=SECONDS_MAX) == 90


def send_quorum() -> None:
    assert add.delay(1, 2).get(timeout=SECONDS_MAX) == 3
    assert add.apply_async((2, 2), countdown=1).get(timeout=SECONDS_MAX) == 4
    assert flaky.delay(2).get(timeout=SECONDS_MAX) == 2


def send_chain() -> None:
    assert chain(add.s(1, 2), add.s(10), add.s(100)).apply_async().get(timeout=SECONDS_MAX) == 113
    assert flaky.delay(1).get(timeout=SECONDS_MAX) == 1


if __name__ == "__main__":
    {"chain": send_chain, "chord": send_chord, "quorum": send_quorum}[sys.argv[1]]()
