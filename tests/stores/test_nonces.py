"""The table of nonces beside a dict: what is leased, committed, given back, and forgotten in the end."""

from __future__ import annotations

import random

import pytest

from sealgate.stores.nonces import Fate, NonceTable
from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import Claim

RECORD_BYTES = 71


def claim(number: int, until: int, text: str = "a") -> Claim:
    return Claim(nonce_name("prod", f"k{number % 3}", b"%016d" % number), text.encode(), 0, until, ())


def held(nonces: NonceTable) -> int:
    """Records that take memory, whether they count or not."""
    return sum(map(len, nonces.committed._buckets)) // RECORD_BYTES


def owed(nonces: NonceTable) -> int:
    """Records that will be taken out some time."""
    return len(nonces) + sum(map(len, nonces.committed._over))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("claims", [500, 1])
def test_each_nonce_has_one_record_until_it_is_over(seed: int, claims: int) -> None:
    """So many `claims` pay for what is forgotten: with few some that are over are still there."""
    dice = random.Random(seed)
    nonces = NonceTable(dice.choice((8, 400)))
    now = 1000
    leased: list[Claim] = []
    model: dict[bytes, tuple[Claim, bool]] = {}
    for _ in range(2000):
        roll = dice.random()
        if roll < 0.5:
            each = claim(dice.randrange(300), now + dice.randrange(1, 30), dice.choice("ab"))
            before = model.get(each.nonce_key)
            # As the store does: what is committed is not leased, and a lease that is over is taken over.
            if before is None or (not before[1] and dice.random() < 0.3):
                nonces.lease(each)
                leased.append(each)
                model[each.nonce_key] = each, False
        elif roll < 0.75 and leased:
            each = leased.pop(dice.randrange(len(leased)))
            # Whoever holds the nonce now: it did arrive.
            nonces.commit([each])
            if each.remember_until > nonces.committed.forgotten_until:
                model[each.nonce_key] = each, True
            else:
                model.pop(each.nonce_key, None)
        elif roll < 0.9 and leased:
            each = leased.pop(dice.randrange(len(leased)))
            if nonces.leases.by_key.get(each.nonce_key) is each:
                nonces.release(each)
                model.pop(each.nonce_key, None)
        else:
            now += dice.choice((0, 1, 1, 5))
            nonces.forget(now, claims)
            model = {key: found for key, found in model.items() if found[0].remember_until >= now}
        assert len(nonces) == len(model) or (claims == 1 and len(nonces) > len(model))
        assert held(nonces) == owed(nonces)
    for _ in range(2):
        nonces.forget(now, 500)
    told = {record.nonce_key: record for record in nonces.records(leased=True)}
    assert told.keys() == model.keys()
    for key, (each, committed) in model.items():
        fate = Fate.COMMITTED if committed else Fate.LEASED
        assert told[key] == (key, each.digest, each.remember_until, fate)
    committed_alone = {record.nonce_key for record in nonces.records(leased=False)}
    assert committed_alone == {key for key, (_, committed) in model.items() if committed}
    nonces.forget(now + 100, 5000)
    nonces.forget(now + 100, 5000)
    assert (len(nonces), held(nonces)) == (0, 0)


def test_two_messages_with_one_nonce_are_committed_in_one_go() -> None:
    """The lease of the first was over when the second came, and both did arrive."""
    nonces = NonceTable(100)
    first, other, second = claim(1, 50), claim(2, 50), claim(1, 50)
    for each in (first, other):
        nonces.lease(each)
    nonces.commit([other, first, second])
    assert (len(nonces), held(nonces), len(nonces.leases.by_key)) == (2, 2, 0)
    nonces.forget(51, 10)
    assert (len(nonces), held(nonces)) == (0, 0)
