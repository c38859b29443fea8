"""The splitter is fed everything whole, byte by byte, and with a tail."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.splitter import FrameSplitter

PAYLOAD_BYTES_MAX = 4088

PUBLISH = encode_frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00")
HEADER = encode_frame(2, 1, b"\x00\x3c\x00\x00" + bytes(10))
BODY = encode_frame(3, 1, b"[1, 2]")
HEARTBEAT = encode_frame(8, 0, b"")
STREAM = PUBLISH + HEADER + BODY + HEARTBEAT + encode_frame(3, 65535, b"")


def drain(splitter: FrameSplitter) -> list[Frame]:
    frames = []
    while (frame := splitter.next()) is not None:
        frames.append(frame)
    return frames


def split(chunks: list[bytes], payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> list[Frame]:
    """The frames of `chunks`, asked for after each chunk."""
    splitter = FrameSplitter(payload_bytes_max)
    frames = []
    for chunk in chunks:
        splitter.feed(chunk)
        frames += drain(splitter)
    return frames


def octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_frames_come_whole_with_their_raw_bytes() -> None:
    frames = split([STREAM])
    assert [(frame.type, frame.channel) for frame in frames] == [(1, 1), (2, 1), (3, 1), (8, 0), (3, 65535)]
    assert frames[2].payload == b"[1, 2]"
    assert b"".join(frame.raw for frame in frames) == STREAM


def test_frames_are_the_same_byte_by_byte() -> None:
    assert split(octets(STREAM)) == split([STREAM])


def test_a_tail_waits_for_the_rest_of_its_frame() -> None:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    splitter.feed(PUBLISH + HEADER[:-1])
    assert [frame.type for frame in drain(splitter)] == [1]
    assert splitter.buffered == len(HEADER) - 1
    splitter.feed(HEADER[-1:] + BODY[:3])
    assert [frame.type for frame in drain(splitter)] == [2]
    assert splitter.buffered == 3
    splitter.feed(BODY[3:])
    assert [frame.raw for frame in drain(splitter)] == [BODY]
    assert splitter.buffered == 0


def test_bytes_fed_before_they_are_asked_for_are_kept_in_order() -> None:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    for chunk in octets(STREAM):
        splitter.feed(chunk)
    assert splitter.buffered == len(STREAM)
    assert drain(splitter) == split([STREAM])
    assert splitter.next() is None


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_any_chunking_gives_the_same_frames(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(3, number, payload) for number, payload in enumerate(payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    frames = []
    for chunk in chunks:
        splitter.feed(chunk)
        if data.draw(st.booleans()):
            frames += drain(splitter)
    frames += drain(splitter)
    assert [frame.payload for frame in frames] == payloads
    assert b"".join(frame.raw for frame in frames) == stream


@given(st.binary(max_size=64))
def test_random_bytes_raise_nothing_but_gate_error(noise: bytes) -> None:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    splitter.feed(noise)
    try:
        drain(splitter)
    except GateError as error:
        assert error.reason in (Reason.FRAME_TYPE, Reason.FRAME_SIZE, Reason.FRAME_END)


def refuse(stream: bytes) -> list[Reason]:
    """Why `stream` is refused: whole, byte by byte, and with a tail."""
    reasons = []
    for chunks in ([stream], octets(stream), [stream + BODY]):
        with pytest.raises(GateError) as refused:
            split(chunks)
        reasons.append(refused.value.reason)
    return reasons


@pytest.mark.parametrize("kind", [0, 4, 5, 6, 7, 9, 255])
def test_frame_of_unknown_type_is_refused(kind: int) -> None:
    assert refuse(encode_frame(kind, 1, b"x")) == [Reason.FRAME_TYPE] * 3


def test_wrong_end_octet_is_refused() -> None:
    assert refuse(BODY[:-1] + b"\xcf") == [Reason.FRAME_END] * 3


def test_heartbeat_with_a_payload_is_refused() -> None:
    assert refuse(encode_frame(8, 0, b"x")) == [Reason.FRAME_SIZE] * 3


def test_largest_payload_is_taken_and_one_byte_more_refused() -> None:
    largest = encode_frame(3, 1, bytes(PAYLOAD_BYTES_MAX))
    assert [len(frame.raw) for frame in split([largest])] == [4096]
    assert refuse(encode_frame(3, 1, bytes(PAYLOAD_BYTES_MAX + 1))) == [Reason.FRAME_SIZE] * 3


def test_too_large_frame_is_refused_before_its_payload_comes() -> None:
    header = struct.pack(">BHI", 3, 1, 2**32 - 1)
    assert split(octets(header[:6])) == []
    assert refuse(header) == [Reason.FRAME_SIZE] * 3


def test_frames_before_a_bad_one_are_given_out_first() -> None:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    splitter.feed(BODY + b"\x04\x00\x01\x00\x00\x00\x00\xce")
    frame = splitter.next()
    assert frame is not None
    assert frame.raw == BODY
    with pytest.raises(GateError):
        splitter.next()


def test_an_error_is_final_and_stays_the_same() -> None:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    splitter.feed(b"\x04\x00\x01\x00\x00\x00\x00\xce")
    with pytest.raises(GateError) as first:
        splitter.next()
    splitter.feed(BODY)
    with pytest.raises(GateError) as second:
        splitter.next()
    assert (first.value.reason, first.value.detail) == (second.value.reason, second.value.detail)


def test_limit_may_be_raised_after_tuning() -> None:
    splitter = FrameSplitter(8)
    splitter.payload_bytes_max = 16
    splitter.feed(encode_frame(3, 1, bytes(16)))
    assert len(drain(splitter)) == 1


def test_many_small_chunks_of_a_large_frame_are_not_copied_over_and_over() -> None:
    frame = encode_frame(3, 1, bytes(130_000))
    assert [found.raw for found in split(octets(frame), 131_072)] == [frame]


def test_repr_of_a_frame_shows_no_content() -> None:
    assert "secret" not in repr(Frame(3, 1, b"secret"))


@pytest.mark.parametrize("fed", [0, 1, 7, 12, 20])
def test_rest_is_what_was_not_given_out(fed: int) -> None:
    splitter = FrameSplitter(100)
    first = encode_frame(1, 1, b"\x00\x14\x00\x0a")
    no_frame = b"\x01\x00\x01\x00\x00\x00\x01x\xcf and more"
    splitter.feed((first + no_frame)[: len(first) + fed])
    assert splitter.next() is not None
    splitter.feed(no_frame[fed:])
    with pytest.raises(GateError):
        splitter.next()
    assert splitter.rest() == no_frame
    assert splitter.buffered == 0


@pytest.mark.parametrize("rest", [0, 1, 7, 100])
def test_bytes_that_were_given_out_are_let_go(rest: int) -> None:
    """A client that falls silent would keep 256 KiB on each side, which nobody counts."""
    data = encode_frame(3, 1, bytes(1000)) + encode_frame(3, 1, bytes(200))[:rest]
    others = sys.getrefcount(data)
    splitter = FrameSplitter(4096)
    splitter.feed(data)
    assert splitter.next() is not None
    assert splitter.next() is None
    assert sys.getrefcount(data) == others
    assert splitter.buffered == rest
    splitter.feed(encode_frame(3, 1, bytes(200))[rest:])
    assert splitter.next() is not None
    assert splitter.buffered == 0
