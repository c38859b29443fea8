"""The compact table beside a dict: the same answers, in less room."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from sealgate.stores.compact import SECOND_MAX, CompactTable

KEY_BYTES = 26


def key(number: int) -> bytes:
    return b"4:prod:k1:" + hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def filled(count: int, second: int = 1000) -> CompactTable:
    table = CompactTable(KEY_BYTES)
    for number in range(count):
        table.add(key(number), digest(number), second)
    return table


@pytest.mark.parametrize("seed", range(10))
def test_it_answers_as_a_dict_does(seed: int) -> None:
    dice = random.Random(seed)
    table, model = CompactTable(KEY_BYTES), dict[bytes, tuple[bytes, int]]()
    for _ in range(3000):
        number = dice.randrange(600)
        if key(number) not in model and dice.random() < 0.7:
            model[key(number)] = digest(number), dice.randrange(SECOND_MAX + 1)
            table.add(key(number), *model[key(number)])
        elif dice.random() < 0.3:
            model.pop(key(number), None)
            table.drop(key(number))
        assert table.get(key(number)) == model.get(key(number))
        assert table.count == len(model)
    assert {each: table.get(each) for each in model} == model
    assert sorted(table.keys()) == sorted(model)


@pytest.mark.parametrize("length", [0, 1, 5, 15, 16, 17, 40, 120])
def test_keys_of_any_length_are_kept(length: int) -> None:
    table = CompactTable(length)
    keys = {os.urandom(length) for _ in range(50)}
    for each in keys:
        table.add(each, digest(7), 5)
    assert all(table.get(each) == (digest(7), 5) for each in keys)
    assert set(table.keys()) == keys


def test_octets_of_a_key_elsewhere_in_a_record_are_no_key() -> None:
    """Whoever chooses nonces can have the octets of one inside the digest or the end of another."""
    table = CompactTable(16)
    wanted = b"n" * 16
    for number in range(64):
        table.add(key(number)[-16:], wanted + wanted, 5)
        table.add(bytes([number]) + b"n" * 15, b"n" * 32, 5)
    assert table.get(wanted) is None
    table.add(wanted, digest(1), 6)
    assert table.get(wanted) == (digest(1), 6)
    table.drop(wanted)
    assert table.get(wanted) is None


def test_a_sweep_takes_out_what_is_over_and_nothing_else() -> None:
    table = CompactTable(KEY_BYTES)
    for number in range(1000):
        table.add(key(number), digest(number), 1000 + number // 100)
    for _ in range(1000):
        table.sweep(1005)
    assert table.count == 500
    assert sorted(table.keys()) == sorted(key(number) for number in range(500, 1000))


def test_what_stays_is_seen_by_a_walk_during_which_others_come_and_go() -> None:
    table = filled(500)
    walk = table.keys()
    seen = [next(walk) for _ in range(50)]
    for number in range(500, 3000):
        table.add(key(number), digest(number), 1000)
    for number in range(100):
        table.drop(key(number))
    seen += walk
    assert {key(number) for number in range(100, 500)} <= set(seen)


def test_no_bucket_gets_large_and_no_call_moves_much() -> None:
    table = filled(20_000)
    assert max(len(bucket) for bucket in table._buckets) < 64 * (KEY_BYTES + 37)
    assert 20_000 / 8 <= len(table._buckets) <= 20_000 / 8 + 1
