"""Leases that nobody settles are forgotten a few at a time; all others stay."""

from __future__ import annotations

from sealgate.stores.leases import Leases
from sealgate.verify.verdict import Claim


def lease(nonce_key: bytes, until: int) -> Claim:
    return Claim(nonce_key, b"signed", 0, until, ())


def test_what_is_over_goes_a_few_at_a_time_and_nothing_else_does() -> None:
    leases = Leases()
    for number in range(300):
        leases.put(lease(b"%d" % number, 1000 + number % 3))
    leases.forget(1000, 1000)
    assert (len(leases.by_key), leases.forgotten_until) == (300, -1)
    leases.forget(1001.5, 10)
    assert 290 <= len(leases.by_key) < 300
    for _ in range(29):
        leases.forget(1001.5, 10)
    assert (len(leases.by_key), leases.forgotten_until) == (100, 1001)
    leases.forget(1001.5, 1000)
    assert len(leases.by_key) == 100
    leases.forget(1003, 1000)
    assert (len(leases.by_key), leases.forgotten_until) == (0, 1002)


def test_what_comes_and_goes_while_they_are_looked_at() -> None:
    leases = Leases()
    for number in range(10):
        leases.put(lease(b"%d" % number, 1000))
    leases.forget(1001, 1)
    del leases.by_key[b"3"]
    leases.put(lease(b"4", 5000))
    leases.put(lease(b"new", 1002))
    leases.forget(1001, 100)
    assert leases.by_key.keys() == {b"4", b"new"}
    leases.forget(1003, 100)
    assert leases.by_key.keys() == {b"4"}
    leases.forget(5001, 100)
    assert not leases.by_key
