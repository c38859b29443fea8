from __future__ import annotations

import pytest

from sealgate.config.fields import Address, format_duration, parse_address, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30.0), ("1.5s", 1.5), ("5m", 300.0), ("24h", 86400.0), ("7d", 604800.0)],
)
def test_duration_is_float_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0, 59.0, 60.0, 90.0, 3600.0, 86400.0, 604800.0])
def test_duration_printed_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "value", ["", "5", "m", "5 m", "-5m", "5M", "1e3s", "٥m", "5m ", 300, 300.0, True, None]
)
def test_duration_without_its_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="with its unit"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6672", Address("127.0.0.1", 6672)),
        ("[::1]:6672", Address("::1", 6672)),
        ("sealgate.internal:0", Address("sealgate.internal", 0)),
    ],
)
def test_address_is_host_and_port_and_prints_as_it_was(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":1",
        "host",
        "host:",
        "host:-1",
        "host:65536",
        "host:x",
        "::1:5",
        "[host]:1",
        "[::1]",
        "a b:1",
        "a@b:1",
        5,
    ],
)
def test_address_that_names_no_port_of_a_host_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must|brackets"):
        parse_address(value)
