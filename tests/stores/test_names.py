"""Short names of nonces: one for each, and back."""

from __future__ import annotations

import random

import pytest

from sealgate.stores.names import NAME_BYTES, NONCE_CHARACTERS_MIN, Names, of_kept, to_keep
from sealgate.verify.seals import nonce_name


def test_every_name_is_of_one_length_and_leads_back() -> None:
    names = Names()
    for deployment in ("", "prod", "4:prod", "ünï", "d" * 300):
        for kid in ("k1", "k2", "k" * 64):
            for size in range(16, 24):
                nonce_key = nonce_name(deployment, kid, bytes(range(size)))
                assert len(names.short(nonce_key)) == NAME_BYTES
                assert names.long(names.short(nonce_key)) == nonce_key


def test_what_is_kept_has_the_octets_of_the_nonce() -> None:
    befores = {"": b"0::k1:", "4:prod": b"6:4:prod:k1:", "ünï": b"5:\xc3\xbcn\xc3\xaf:k1:"}
    for deployment, before in befores.items():
        for size in range(16, 24):
            for nonce in (bytes(range(size)), b":" * size, b"k1:" * 5 + b"-" * (size - 15)):
                nonce_key = nonce_name(deployment, "k1", nonce)
                assert to_keep(nonce_key) == before + nonce
                assert of_kept(before + nonce) == nonce_key


@pytest.mark.parametrize("name", [b"", b"n", b"1:d:k", b"1:dd:k:" + bytes(16), b"01:d:k:" + bytes(16)])
def test_what_names_no_nonce_was_never_kept(name: bytes) -> None:
    with pytest.raises(ValueError):
        of_kept(name)


def test_no_two_nonces_share_a_name() -> None:
    """Also where one is the beginning or the end of another, or looks like what stands before another."""
    dice = random.Random(1)
    parts = [b"\0", b"\0\0\0", b":", b"1:d:k:", b"1:", b"k1:", b"a" * 16, bytes(16)]
    keys = set()
    for _ in range(5000):
        nonce = b"".join(dice.choice(parts) for _ in range(9))[: dice.randrange(16, 24)]
        if len(nonce) >= 16:
            keys.add(nonce_name(dice.choice(("", "d", "1:d")), dice.choice(("k", "k1", "1")), nonce))
    names = Names()
    assert len(keys) > 1000
    assert len({names.short(key) for key in keys}) == len(keys)
    # In another order other numbers are given; what leads back does not depend on it.
    again = Names()
    for key in sorted(keys, reverse=True):
        assert again.long(again.short(key)) == key


def test_what_stands_before_a_usual_nonce_is_found_by_cutting_it_off() -> None:
    names = Names()
    usual, longer = nonce_name("d", "k", b"n" * 16), nonce_name("d", "k", b":" + b"n" * 16)
    assert names.short(usual) == names._usual[usual[:-NONCE_CHARACTERS_MIN]] + usual[-22:]
    names.short(longer)
    assert longer[:-NONCE_CHARACTERS_MIN] not in names._usual


@pytest.mark.parametrize(
    "nonce_key",
    [
        b"",
        b"n",
        b"1:d:k",
        b"1:d:kkkkkkkkkkkkkkkkkkkkkkk",
        b"1:dd:k:" + b"A" * 22,
        b"01:d:k:" + b"A" * 22,
        b"-1:d:k:" + b"A" * 22,
        b"9" * 5000 + b":d:k:" + b"A" * 22,
        b":d:k:" + b"A" * 22,
        b"1:d:k:" + b"A" * 21,
        b"1:d:k:" + b"A" * 32,
    ],
)
def test_what_is_no_name_of_a_stored_nonce_is_told(nonce_key: bytes) -> None:
    with pytest.raises(ValueError):
        Names().short(nonce_key)
