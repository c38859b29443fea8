"""The argument reader checks each length first; the encoders cut only what may be cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealgate.reason import GateError, Reason
from sealgate.wire.arguments import Arguments, encode_reply_text, encode_short_text
from support.wire_bytes import long, short

METHOD = b"\x00\x0a\x00\x0b"

READS: list[tuple[Callable[[Arguments], object], bytes, object]] = [
    (Arguments.octet, b"\xff", 255),
    (Arguments.u16, b"\xff\xfe", 65534),
    (Arguments.u32, b"\xff\xff\xff\xfe", 2**32 - 2),
    (Arguments.short_bytes, short(b"\xffab"), b"\xffab"),
    (Arguments.short_text, short("é".encode()), "é"),
    (Arguments.long_bytes, long(b"abc"), b"abc"),
    (Arguments.long_span, long(b"abc"), (8, 11)),
]


@pytest.mark.parametrize(("read", "encoded", "value"), READS)
def test_each_argument_is_read_whole(
    read: Callable[[Arguments], object], encoded: bytes, value: object
) -> None:
    arguments = Arguments(METHOD + encoded)
    assert read(arguments) == value
    arguments.finish()


@pytest.mark.parametrize(("read", "encoded", "value"), READS)
def test_each_argument_cut_short_is_refused(
    read: Callable[[Arguments], object], encoded: bytes, value: object
) -> None:
    for end in range(len(encoded)):
        with pytest.raises(GateError) as refused:
            read(Arguments(METHOD + encoded[:end]))
        assert refused.value.reason is Reason.FRAME_TRUNCATED


@pytest.mark.parametrize(("read", "encoded", "value"), READS)
def test_bytes_after_the_last_argument_are_refused(
    read: Callable[[Arguments], object], encoded: bytes, value: object
) -> None:
    arguments = Arguments(METHOD + encoded + b"\x00")
    assert read(arguments) == value
    with pytest.raises(GateError) as refused:
        arguments.finish()
    assert refused.value.reason is Reason.FRAME_TRAILING


def test_payload_without_a_method_is_refused() -> None:
    with pytest.raises(GateError) as refused:
        Arguments(METHOD[:3])
    assert refused.value.reason is Reason.FRAME_TRUNCATED


def test_shown_text_that_is_not_utf8_is_replaced() -> None:
    assert Arguments(METHOD + short(b"a\xff")).short_text() == "a\ufffd"


def test_short_text_holds_255_bytes() -> None:
    assert encode_short_text("é" * 127 + "a") == short(("é" * 127 + "a").encode())
    with pytest.raises(AssertionError):
        encode_short_text("é" * 128)


def test_reply_text_is_cut_after_a_whole_character() -> None:
    assert encode_reply_text("a" * 255) == short(b"a" * 255)
    assert encode_reply_text("a" * 256) == short(b"a" * 255)
    assert encode_reply_text("é" * 128) == short(("é" * 127).encode())
    assert encode_reply_text("\ud800") == short(b"?")
