"""The packed table beside a dict: the same answers, in less room, whatever signers choose."""

from __future__ import annotations

import hashlib
import os
import random
from itertools import pairwise

import pytest

from sealgate.signing.base64url import ALPHABET, b64url_decode, b64url_encode
from sealgate.stores.committed import UNTIL_MAX, Committed
from sealgate.verify.seals import nonce_name

RECORD_BYTES = 71


def key(number: int, size: int = 16) -> bytes:
    return nonce_name("prod", f"k{number % 3}", hashlib.sha256(b"%d" % number).digest()[:size])


def digest(number: int) -> bytes:
    return hashlib.sha256(b"of %d" % number).digest()


def filled(count: int, until: int = 1000, entries_max: int = 1000) -> Committed:
    table = Committed(entries_max)
    for number in range(count):
        table.add(key(number), digest(number), until)
    return table


def held(table: Committed) -> int:
    """Records that take memory, whether they count or not."""
    return sum(map(len, table._buckets)) // RECORD_BYTES


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("entries_max", [0, 20, 5000])
def test_it_answers_as_a_dict_does_while_the_clock_goes_both_ways(seed: int, entries_max: int) -> None:
    dice = random.Random(seed)
    table, model = Committed(entries_max), dict[bytes, tuple[bytes, int]]()
    now, forgotten_until = 1000, -1
    faded = set[bytes]()  # counted no more, and there until it is freed
    for turn in range(2000):
        number = dice.randrange(400)
        each = key(number, 16 + number % 8)
        if each not in model and dice.random() < 0.7:
            until = dice.choice((now + 5, now + 5, dice.randrange(max(now - 3, 0), now + 30), UNTIL_MAX))
            table.add(each, digest(turn), until)
            if until > table.forgotten_until:
                model[each] = digest(turn), until
        elif dice.random() < 0.3:
            found = model.pop(each, None)
            if found is not None and found[1] <= table.forgotten_until:
                faded.add(each)
            table.drop(each)
        if dice.random() < 0.05:
            now += dice.randrange(-10, 12)
            table.forget(now, 1)
            over = [until for _, until in model.values() if until < now]
            forgotten_until = max(forgotten_until, *over, -1)
            assert table.forgotten_until >= forgotten_until
        counted = {each: found for each, found in model.items() if found[1] > table.forgotten_until}
        assert len(table) == len(counted)
        if each in counted and counted[each][1] >= now:
            assert table.may_have(each)
            assert table.digest(each, now) == counted[each][0]
        elif each not in model and each not in faded:
            assert table.digest(each, now) is None
        if turn % 100 == 0:
            assert {name: (found, until) for name, found, until in table.records()} == counted
            assert held(table) == len(table) + sum(map(len, table._over))


def test_the_second_itself_still_counts() -> None:
    table = filled(3, until=1000)
    table.forget(1000.0, 1)
    assert (len(table), table.digest(key(1), 1000.0)) == (3, digest(1))
    table.forget(1000.25, 1)
    assert (len(table), table.digest(key(1), 1000.25), table.forgotten_until) == (0, None, 1000)


def test_octets_of_a_nonce_elsewhere_in_a_record_are_no_nonce() -> None:
    """Whoever chooses nonces can have the text of one at the end of another, and in a digest."""
    table = Committed(8)
    text = b64url_encode(b"n" * 16)
    wanted = nonce_name("prod", "k1", b"n" * 16)
    for first in ALPHABET:
        longer = b64url_decode(bytes((first,)) + text)
        for kid in ("k1", "k2"):
            table.add(nonce_name("prod", kid, longer), text + text[:10], 5)
    table.add(nonce_name("prod", "k2", b"n" * 16), digest(1), 5)
    assert table.may_have(wanted)
    assert table.digest(wanted, 0) is None
    before = len(table)
    table.drop(wanted)
    assert len(table) == before
    table.add(wanted, digest(3), 6)
    assert table.digest(wanted, 0) == digest(3)
    table.drop(wanted)
    assert (table.digest(wanted, 0), len(table)) == (None, before)


def test_what_is_over_is_counted_no_more_at_once_and_freed_a_few_at_a_time() -> None:
    table = filled(8000, entries_max=8000)
    table.forget(1001, 1)
    assert len(table) == 0
    assert held(table) > 7800
    sizes = []
    for _ in range(600):
        table.forget(1001, 1)
        sizes.append(held(table))
    assert all(before - after == 4 for before, after in pairwise(sizes))
    table.forget(1001, 2000)
    assert (held(table), table._over) == (0, [])


def test_what_lasts_does_not_keep_what_is_over_behind_it() -> None:
    """A record that stays long at the head of each bucket, and short ones behind it, again and again."""
    table = filled(1000, until=100_000, entries_max=4000)
    for second in range(1000, 1100):
        for number in range(100):
            table.add(key(1000 + 100 * second + number), digest(number), second)
        table.forget(second + 1, 100)
        assert len(table) == 1000
        assert held(table) == 1000


def test_in_a_steady_stream_little_is_held_that_does_not_count() -> None:
    table = Committed(4000)
    for second in range(300):
        table.forget(second, 100)
        for number in range(100):
            table.add(key(100 * second + number), digest(number), second + 20)
    assert len(table) == 2100
    assert held(table) == 2100


def test_what_was_committed_after_the_clock_went_back_counts_only_if_it_outlasts_what_was_forgotten() -> None:
    table = filled(2, until=1000)
    table.forget(2000, 1)
    table.add(key(7), digest(7), 900)
    table.add(key(8), digest(8), 3000)
    table.forget(800, 1)
    assert [name for name, _, _ in table.records()] == [key(8)]
    assert (len(table), held(table), table.forgotten_until) == (1, 1, 1000)


def test_a_walk_sees_what_stays_while_others_come_and_go_and_nothing_that_went() -> None:
    table = filled(500, entries_max=500)
    walk = table.records()
    seen = [next(walk)[0] for _ in range(50)]
    for number in range(500, 3000):
        table.add(key(number), digest(number), 1000)
    gone = {key(number) for number in range(0, 500, 5)} - set(seen)
    for each in gone:
        table.drop(each)
    seen += [name for name, _, _ in walk]
    assert len(set(seen)) == len(seen)
    assert not gone & set(seen)
    assert {key(number) for number in range(500) if key(number) not in gone} <= set(seen)


def test_no_bucket_gets_large_whatever_the_nonces_have_in_common() -> None:
    table = Committed(20_000)
    for number in range(20_000):
        table.add(nonce_name("prod", "k1", number.to_bytes(16, "big")), digest(0), 1000)
    assert max(map(len, table._buckets)) < 50 * RECORD_BYTES


def test_nothing_is_made_before_the_first_nonce() -> None:
    table = Committed(1_000_000)
    assert table.digest(key(1), 0) is None
    table.drop(key(1))
    table.forget(5, 1)
    assert len(table._buckets) == 1
    table.add(key(1), os.urandom(32), 10)
    assert len(table._buckets) == 131_072


def test_what_was_looked_for_before_the_first_nonce_came_is_found_after_it() -> None:
    table, each = Committed(1_000_000), key(1)
    assert not table.may_have(each)
    table.add(each, digest(1), 10)
    assert table.digest(bytes(bytearray(each)), 0) == digest(1)
