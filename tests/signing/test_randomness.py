from __future__ import annotations

import random

from sealgate.signing.randomness import RandomPool


def test_each_octet_is_given_once_in_the_order_of_its_source() -> None:
    source, dice = random.Random(1), random.Random(2)
    asked: list[bytes] = []

    def rng(size: int) -> bytes:
        asked.append(source.randbytes(size))
        return asked[-1]

    pool = RandomPool(rng)
    given = b""
    for _ in range(2000):
        size = dice.choice((0, 1, 16, 16, 24, 300))
        before, drawn = given, len(asked)
        taken = pool.take(size)
        assert len(taken) == size
        if len(asked) > drawn:
            # What was left is not enough, and goes unused.
            rest = asked[-2][len(before) :] if drawn else b""
            assert len(rest) < size
            given = b""
        given += taken
        assert not asked or asked[-1].startswith(given)
    assert len(asked) > 10


def test_many_nonces_cost_one_question() -> None:
    asked: list[int] = []

    def rng(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    pool = RandomPool(rng)
    for _ in range(256):
        pool.take(16)
    assert len(asked) == 1
