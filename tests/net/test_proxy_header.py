"""The header of a load balancer: read exactly, whole or byte by byte, and nothing of what follows it."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.net.proxy_header import (
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    V2_START,
    ProxyHeader,
    ProxyHeaderError,
    Source,
)

HELLO = b"\x16\x03\x01\x02\x00\x01"
TCP4, TCP6, UDP4, UDP6, UNIX, UNIX_DATAGRAM, UNSPECIFIED = 0x11, 0x21, 0x12, 0x22, 0x31, 0x32, 0x00
IPV4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 50_000, 5671)
IPV6 = ipaddress.ip_address("2001:db8::7").packed + bytes(16) + struct.pack("!HH", 50_000, 5671)


def v2(family: int, rest: bytes, command: int = 0x21) -> bytes:
    return V2_START + struct.pack("!BBH", command, family, len(rest)) + rest


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def in_pieces(data: bytes, size: int) -> tuple[Source, bytes]:
    """What the header in `data` says when it comes in pieces, and what is left after it."""
    header = ProxyHeader()
    at = 0
    while header.source is None:
        piece = data[at : at + size]
        assert piece, "more is wanted than there is"
        taken = header.take(piece)
        assert taken == len(piece) or header.source is not None
        at += taken
    return header.source, data[at:]


GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5671\r\n": Source("192.0.2.7", 50_000),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": Source("255.255.255.255", 65_535),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 5671\r\n": Source("2001:db8::7", 50_000),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 5671\r\n": Source("::ffff:c000:207", 0),
    b"PROXY UNKNOWN\r\n": Source(),
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": Source(),
    v2(TCP4, IPV4): Source("192.0.2.7", 50_000),
    v2(TCP6, IPV6): Source("2001:db8::7", 50_000),
    v2(TCP4, IPV4 + extension(4, b"") + extension(0x20, bytes(300))): Source("192.0.2.7", 50_000),
    v2(TCP6, IPV6 + extension(0xFF, b"x")): Source("2001:db8::7", 50_000),
    v2(TCP4, IPV4 + extension(4, bytes(V2_BYTES_MAX - 16 - 12 - 3))): Source("192.0.2.7", 50_000),
    v2(UNIX, bytes(216)): Source(),
    v2(UNSPECIFIED, b""): Source(),
    v2(UNSPECIFIED, b"whatever"): Source(),
    v2(UNSPECIFIED, b"", command=0x20): Source(),
    v2(TCP4, IPV4, command=0x20): Source(),
    v2(0x77, b"whatever", command=0x20): Source(),
}


@pytest.mark.parametrize("size", [1, 2, 7, 16, 10_000])
@pytest.mark.parametrize("header", GOOD, ids=lambda header: repr(header[:40]))
def test_header_names_the_client_and_leaves_what_follows(header: bytes, size: int) -> None:
    source = GOOD[header]
    if source.host:
        source = Source(str(ipaddress.ip_address(source.host)), source.port)
    assert in_pieces(header + HELLO, size) == (source, (header + HELLO)[len(header) :])
    assert in_pieces(header, size) == (source, b"")


BAD = [
    b"AMQP\x00\x00\x09\x01",
    HELLO,
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 50000 5671\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5671 \r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 50000 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5671\n\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 50000 5671\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 50000 5671\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 50000 5671\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 50000 5671\r\n",
    b"PROXY TCP6 fe80::7%lo 2001:db8::1 50000 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 050000 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 5671\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1  5671\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 ٣ 5671\r\n".encode(),
    b"PROXY UDP4 192.0.2.7 198.51.100.1 50000 5671\r\n",
    b"PROXY UNKNOWN" + b" " * (V1_BYTES_MAX - 14) + b"\r\n",
    b"PROXY UNKNOWN" + b" " * 10_000,
    v2(TCP4, IPV4, command=0x11),
    v2(TCP4, IPV4, command=0x22),
    v2(TCP4, IPV4, command=0x31),
    v2(TCP4, IPV4[:-1]),
    v2(TCP4, b""),
    v2(TCP6, IPV4),
    v2(UDP4, IPV4),
    v2(UDP6, IPV6),
    v2(UNIX, bytes(215)),
    v2(UNIX_DATAGRAM, bytes(216)),
    v2(0x10, IPV4),
    v2(TCP4, IPV4 + b"\x04"),
    v2(TCP4, IPV4 + b"\x04\x00"),
    v2(TCP4, IPV4 + b"\x04\x00\x02x"),
    v2(TCP4, IPV4 + extension(4, bytes(V2_BYTES_MAX - 16 - 12 - 2))),
    v2(TCP4, bytes(65_535)),
]


@pytest.mark.parametrize("size", [1, 5, 100_000])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad[:50]))
def test_anything_else_is_refused(bad: bytes, size: int) -> None:
    with pytest.raises(ProxyHeaderError) as refused:
        in_pieces(bad + bytes(200), size)
    assert "192" not in str(refused.value)


def test_longest_line_of_version_1_is_taken() -> None:
    line = b"PROXY UNKNOWN".ljust(V1_BYTES_MAX - 2) + b"\r\n"
    assert in_pieces(line + HELLO, 1) == (Source(), HELLO)


def test_what_can_be_no_header_is_refused_at_its_first_wrong_byte() -> None:
    header = ProxyHeader()
    assert header.take(b"PROX") == 4
    with pytest.raises(ProxyHeaderError):
        header.take(b"I")


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_START]))
def test_bytes_of_any_kind_are_a_header_or_refused_or_unfinished(tail: bytes, start: bytes) -> None:
    """However they come in, the same is said of them, and never more is taken than was given."""
    outcomes = set()
    for size in (1, 3, 1000):
        header = ProxyHeader()
        data, taken = start + tail, 0
        try:
            while header.source is None and taken < len(data):
                taken += header.take(data[taken : taken + size])
        except ProxyHeaderError:
            outcomes.add("refused")
        else:
            outcomes.add((header.source, taken))
            assert taken <= len(data)
    assert len(outcomes) == 1


@given(st.data())
def test_header_with_one_byte_changed_is_never_taken_for_a_longer_or_shorter_one(data: st.DataObject) -> None:
    header = data.draw(st.sampled_from(sorted(GOOD)))
    at = data.draw(st.integers(0, len(header) - 1))
    changed = header[:at] + data.draw(st.binary(min_size=1, max_size=1)) + header[at + 1 :]
    try:
        _, left = in_pieces(changed + bytes(V2_BYTES_MAX + 70_000), 50_000)
    except ProxyHeaderError:
        return
    announced = len(changed) + V2_BYTES_MAX + 70_000 - len(left)
    assert announced <= V2_BYTES_MAX
