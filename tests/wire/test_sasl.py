"""SASL responses, read as RabbitMQ reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.wire.entries import entry_longstr
from sealgate.wire.sasl import encode_plain, read_login, sasl_user
from support.wire_bytes import entry, long

LOGIN = entry_longstr("LOGIN", b"guest")
PASSWORD = entry_longstr("PASSWORD", b"secret")


@pytest.mark.parametrize(
    ("mechanism", "response", "user"),
    [
        ("PLAIN", b"\x00guest\x00secret", "guest"),
        ("PLAIN", b"\x00guest\x00", "guest"),
        ("PLAIN", "\x00é\x00p".encode(), "é"),
        ("PLAIN", b"\x00\xff\x00p", "\ufffd"),
        ("PLAIN", b"authzid\x00user\x00secret", ""),
        ("PLAIN", b"guest", ""),
        ("PLAIN", b"\x00guest\x00pass\x00word", ""),
        ("plain", b"\x00guest\x00secret", ""),
        ("AMQPLAIN", LOGIN + PASSWORD, "guest"),
        ("AMQPLAIN", PASSWORD + LOGIN, "guest"),
        ("AMQPLAIN", LOGIN, ""),
        ("AMQPLAIN", PASSWORD, ""),
        ("AMQPLAIN", LOGIN + LOGIN + PASSWORD, ""),
        ("AMQPLAIN", LOGIN + entry("PASSWORD", "x", long(b"secret")), ""),
        ("AMQPLAIN", b"\x05LOGIN", ""),
        ("RABBIT-CR-DEMO", b"guest", "guest"),
        ("EXTERNAL", b"guest", ""),
        ("", b"", ""),
    ],
)
def test_user_is_read_from_the_response(mechanism: str, response: bytes, user: str) -> None:
    assert sasl_user(mechanism, response) == user


def test_name_that_is_longer_than_any_is_cut_and_stays_longer_than_any() -> None:
    assert len(sasl_user("PLAIN", b"\x00" + b"u" * 100_000 + b"\x00p")) == 256


@pytest.mark.parametrize("password", [b"", b"secret", b"\xff\xfe", "ü".encode(), b"x" * 20_000])
def test_password_is_read_as_the_bytes_it_is(password: bytes) -> None:
    assert read_login("PLAIN", b"\x00guest\x00" + password) == (b"guest", password)
    response = LOGIN + entry("PASSWORD", "S", long(password))
    assert read_login("AMQPLAIN", response) == (b"guest", password)


def test_our_own_response_is_read_back() -> None:
    assert read_login("PLAIN", encode_plain("gäteway", "pässword")) == (
        "gäteway".encode(),
        "pässword".encode(),
    )


@given(st.sampled_from(["PLAIN", "AMQPLAIN"]), st.binary(max_size=60))
def test_any_response_gives_a_user_or_none(mechanism: str, response: bytes) -> None:
    assert isinstance(sasl_user(mechanism, response), str)
