"""Messages that lie in two pieces or more: taken whole, and nothing around them is copied."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.wire.frames import encode_frame
from sealgate.wire.splitter import FrameSplitter

METHOD = b"\x00\x3c\x00\x28"
BODY_BYTES_MAX = 4088
AWAITED = 2000


def message(body: bytes, *, class_id: int = 60, size: int | None = None, cuts: tuple[int, ...] = ()) -> bytes:
    """A publish; its body in one frame, or cut at `cuts`."""
    announced = len(body) if size is None else size
    header = class_id.to_bytes(2, "big") + bytes(2) + announced.to_bytes(8, "big") + bytes(2)
    bounds = [0, *cuts, len(body)]
    bodies = [
        encode_frame(3, 1, body[start:stop]) for start, stop in itertools.pairwise(bounds) if stop > start
    ]
    frames = [encode_frame(1, 1, METHOD + b"\x00\x00\x00\x01q\x00"), encode_frame(2, 1, header), *bodies]
    return b"".join(frames)


def fed(*pieces: bytes) -> FrameSplitter:
    splitter = FrameSplitter(BODY_BYTES_MAX)
    for piece in pieces:
        splitter.feed(piece)
    return splitter


@given(st.lists(st.sampled_from([0, 1, 30, 900, 3000]), min_size=1, max_size=6), st.data())
def test_messages_are_whole_wherever_they_are_cut(sizes: list[int], data: st.DataObject) -> None:
    messages = [message(bytes([65 + number]) * size) for number, size in enumerate(sizes)]
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = FrameSplitter(BODY_BYTES_MAX)
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.feed(stream[start:stop])
        if data.draw(st.booleans()):
            continue
        while not splitter.spent() and (whole := splitter.whole(METHOD)) is not None:
            found.append(whole.data[whole.start : whole.stop])
            splitter.skip(whole)
    while not splitter.spent():
        whole = splitter.whole(METHOD)
        assert whole is not None
        found.append(whole.data[whole.start : whole.stop])
        splitter.skip(whole)
    assert found == messages


def test_what_lies_behind_a_message_in_two_pieces_is_not_copied() -> None:
    across, behind = message(bytes(2000)), message(bytes(1500))
    pieces = [across[:900], across[900:] + behind + behind, behind]
    splitter = fed(*pieces)
    first = splitter.whole(METHOD)
    assert first is not None
    assert first.data == across
    splitter.skip(first)
    for piece in (pieces[1], pieces[1], pieces[2]):
        assert not splitter.spent()
        whole = splitter.whole(METHOD)
        assert whole is not None
        assert whole.data is piece
        splitter.skip(whole)
    assert splitter.spent()
    assert splitter.buffered == 0


def test_a_frame_in_many_pieces_is_copied_once() -> None:
    frame = encode_frame(3, 1, bytes(range(250)) * 16)
    splitter = fed(*[frame[at : at + 1500] for at in range(0, len(frame), 1500)])
    taken = splitter.next()
    assert taken is not None
    assert taken.raw == frame
    assert taken.raw is splitter._data


def test_any_beginning_of_a_message_is_one() -> None:
    for stream in (message(bytes(300)), message(b"")):
        for stop in range(1, len(stream)):
            splitter = fed(stream[:stop])
            assert splitter.begins(METHOD, AWAITED)
            assert splitter.whole(METHOD) is None
            splitter.feed(stream[stop:])
            assert splitter.whole(METHOD) is not None


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(encode_frame(8, 0, b""), id="heartbeat"),
        pytest.param(encode_frame(1, 1, b"\x00\x3c\x00\x50" + bytes(9))[:-1], id="another method"),
        pytest.param(encode_frame(1, 1, METHOD + bytes(BODY_BYTES_MAX))[:30], id="a method over frame_max"),
        pytest.param(encode_frame(3, 1, bytes(100))[:50], id="a body alone"),
        pytest.param(message(bytes(AWAITED))[:-1], id="more than is waited for"),
        pytest.param(message(b"x", size=BODY_BYTES_MAX + 1)[:-1], id="a body in frames"),
        pytest.param(message(b"x", size=2**32)[:-1], id="a body of 4 GiB"),
        pytest.param(message(b"x", class_id=50)[:-1], id="content of another class"),
    ],
)
def test_what_can_be_told_to_be_no_such_message_is_not_waited_for(stream: bytes) -> None:
    assert not fed(stream).begins(METHOD, AWAITED)


def test_what_must_be_refused_is_not_waited_for() -> None:
    splitter = fed(b"\x04\x00\x01\x00\x00\x00\x00\xce")
    with pytest.raises(Exception, match="frame"):
        splitter.next()
    assert not splitter.begins(METHOD, AWAITED)
