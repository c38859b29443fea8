"""What goes to one side: joined or in parts, it is the same octets; and it keeps little else in memory."""

from __future__ import annotations

import random

import pytest

from sealgate.session.outbox import Lane

READ = bytes(random.Random(1).randbytes(100_000))


def test_all_of_a_read_and_a_large_part_of_it_are_not_copied() -> None:
    lane = Lane()
    lane.stretch(READ, 0, 60_000)
    lane.stretch(READ, 60_000, len(READ))
    (part,) = lane.take_parts()
    assert part is READ
    lane.stretch(READ, 10_000, 90_000)
    (part,) = lane.take_parts()
    assert isinstance(part, memoryview)
    assert part.obj is READ
    assert part == READ[10_000:90_000]
    assert lane.empty


@pytest.mark.parametrize("stop", [100, 5000, 49_000])
def test_a_small_part_of_a_read_does_not_keep_it(stop: int) -> None:
    lane = Lane()
    lane.stretch(READ, 0, stop)
    (part,) = lane.take_parts()
    assert isinstance(part, bytes)
    assert part == READ[:stop]


def test_large_parts_stay_apart_and_small_ones_are_joined() -> None:
    lane = Lane()
    lane.add(READ[:50_000])
    lane.stretch(READ, 0, 70_000)
    assert [len(part) for part in lane.take_parts()] == [50_000, 70_000]
    lane.add(b"head")
    lane.stretch(READ, 0, 5000)
    lane.add(b"tail")
    assert lane.take_parts() == [b"head" + READ[:5000] + b"tail"]
    for _ in range(100):
        lane.add(READ)
    assert len(lane.take_parts()) == 1


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_added_leaves_in_order(seed: int) -> None:
    dice = random.Random(seed)
    lane = Lane()
    for _ in range(20):
        expected = b""
        at = 0
        for _ in range(dice.choice((1, 2, 3, 9, 40))):
            if dice.random() < 0.3:
                expected += b"-"
                lane.add(b"-")
                continue
            start = at if dice.random() < 0.7 else dice.randrange(len(READ) // 2)
            stop = min(start + dice.choice((1, 300, 5000, 30_000)), len(READ))
            if start < stop:
                lane.stretch(READ, start, stop)
                expected += READ[start:stop]
                at = stop
        joined = lane.take() if dice.random() < 0.3 else b"".join(lane.take_parts())
        assert joined == expected
        assert lane.empty
