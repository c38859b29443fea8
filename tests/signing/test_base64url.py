"""The ways to decode base64url against each other: the general one, and those for what every message has."""

from __future__ import annotations

import random

import pytest

from sealgate.reason import GateError
from sealgate.signing.base64url import (
    ALPHABET,
    b64url_decode,
    b64url_encode,
    decoded,
    is_decodable,
    number_48,
)


def general(text: bytes) -> bytes | None:
    """Also asked is whether it would be decoded, amid others."""
    decodable = is_decodable(b"-." + text + b"!", 2, 2 + len(text))
    try:
        data = b64url_decode(text)
    except GateError:
        assert not decodable
        return None
    assert decodable
    return data


@pytest.mark.parametrize("size", range(40))
def test_what_is_encoded_is_decoded_by_every_way(size: int) -> None:
    dice = random.Random(size)
    data = dice.randbytes(size)
    text = b64url_encode(data)
    assert general(text) == decoded(text) == data


@pytest.mark.parametrize("at", range(22))
def test_each_octet_in_each_place_of_a_nonce_is_read_by_every_way_alike(at: int) -> None:
    dice = random.Random(at)
    refused = 0
    for octet in range(256):
        text = bytearray(dice.choice(ALPHABET) for _ in range(21)) + b"g"
        text[at] = octet
        expected = general(bytes(text))
        refused += expected is None
        assert decoded(bytes(text)) == expected
    # The last one of 22 has two bits only.
    assert refused == 256 - (4 if at == 21 else 64)


def test_eight_characters_are_six_octets() -> None:
    dice = random.Random(8)
    for octet in range(256):
        text = bytearray(dice.choice(ALPHABET) for _ in range(8))
        text[dice.randrange(8)] = octet
        expected = general(bytes(text))
        number = number_48(b"." + text, 1)
        assert number == (-1 if expected is None else int.from_bytes(expected, "big"))


@pytest.mark.parametrize("size", [1, 2, 3, 22, 23, 24, 25])
def test_one_text_alone_stands_for_some_octets(size: int) -> None:
    """Of the last characters that leave other octets the same, only one is taken."""
    head = b"A" * (size - 1)
    taken = [last for last in ALPHABET if general(head + bytes([last])) is not None]
    assert taken == [last for last in ALPHABET if decoded(head + bytes([last])) is not None]
    assert len(taken) == {0: 64, 1: 0, 2: 4, 3: 16}[size % 4]
    assert all(b64url_encode(b64url_decode(head + bytes([last]))) == head + bytes([last]) for last in taken)
