"""Frames that are like the one before are taken as one: never one that is not, and none that is wrong."""

from __future__ import annotations

import random

import pytest

from sealgate.wire.constants import BASIC_ACK, BASIC_DELIVER, BASIC_NACK
from sealgate.wire.frames import encode_frame
from sealgate.wire.splitter import FrameSplitter
from support.wire_bytes import content_header

PAYLOAD_BYTES_MAX = 4088
BODY_BYTES_MAX = 100
DELIVER = BASIC_DELIVER.to_bytes(4, "big")


def answer(tag: int, method: int = BASIC_ACK, channel: int = 1, arguments: int = 9) -> bytes:
    payload = method.to_bytes(4, "big") + tag.to_bytes(8, "big") + bytes(arguments - 8)
    return encode_frame(1, channel, payload)


def delivery(tag: int, body: bytes = b"x", channel: int = 1, consumer: bytes = b"\x01c") -> bytes:
    method = DELIVER + consumer + tag.to_bytes(8, "big") + b"\x00\x00\x01q"
    frames = encode_frame(1, channel, method)
    frames += encode_frame(2, channel, content_header(body_size=len(body)))
    return frames + (encode_frame(3, channel, body) if body else b"")


def fed(data: bytes) -> FrameSplitter:
    splitter = FrameSplitter(PAYLOAD_BYTES_MAX)
    splitter.feed(data)
    return splitter


def answers_taken(data: bytes) -> bytes:
    splitter = fed(data)
    assert splitter.method_ahead() == BASIC_ACK
    octets, start, stop = splitter.alike_ahead()
    assert splitter.buffered == len(data)
    splitter.skip_to(stop)
    assert splitter.buffered == len(data) - stop
    return octets[start:stop]


def deliveries_taken(data: bytes) -> bytes:
    splitter = fed(data)
    whole = splitter.whole(DELIVER)
    assert whole is not None
    stop = splitter.skip_alike(whole, BODY_BYTES_MAX)
    assert splitter.buffered == len(data) - stop
    return data[whole.start : stop]


OTHERS = {
    "nothing": b"",
    "another method": answer(9, BASIC_NACK),
    "another channel": answer(9, channel=2),
    "channel 257": answer(9, channel=257),
    "other arguments": answer(9, arguments=10),
    "a heartbeat": encode_frame(8, 0, b""),
    "a body": encode_frame(3, 1, b"\x00\x3c\x00\x50" + bytes(9)),
    "half of one": answer(9)[:-1],
    "no frame end": answer(9)[:-1] + b"\xcf",
}


@pytest.mark.parametrize("other", OTHERS)
def test_answers_like_the_first_are_taken_together(other: str) -> None:
    for count in (1, 2, 7):
        run = b"".join(answer(tag) for tag in range(count))
        assert answers_taken(run + OTHERS[other] + answer(99)) == (
            run if other != "nothing" else run + answer(99)
        )


WRONG = {
    "nothing": b"",
    "another channel": delivery(9, channel=2),
    "a method of another channel": b"\x01\x00\x02" + delivery(9)[3:],
    "another consumer": delivery(9, consumer=b"\x02cd"),
    "an answer": answer(9),
    "a body that is too large": delivery(9, b"x" * (BODY_BYTES_MAX + 1)),
    "half of one": delivery(9)[:-1],
    "two body frames": delivery(9, b"x" * 6)[: -6 - 8] + encode_frame(3, 1, b"xxx") * 2,
    "a body of another channel": delivery(9)[:-9] + encode_frame(3, 2, b"x"),
    "a header of another channel": delivery(9, b"")[: -14 - 8] + delivery(9, b"", 2)[-14 - 8 :],
    "another class": delivery(9).replace(b"\x00\x3c\x00\x00", b"\x00\x3d\x00\x00"),
    "no frame end": delivery(9)[:-1] + b"\xcf",
    "no end of the method": delivery(9).replace(b"\x01q\xce", b"\x01q\xcd"),
}


@pytest.mark.parametrize("other", WRONG)
def test_deliveries_like_the_first_are_taken_together(other: str) -> None:
    for count in (1, 2, 7):
        run = b"".join(delivery(tag, b"x" * (tag % 3 * 50)) for tag in range(count))
        after = delivery(99)
        assert deliveries_taken(run + WRONG[other] + after) == (run if other != "nothing" else run + after)


def test_frames_are_the_same_taken_together_or_one_by_one() -> None:
    """Whatever follows on what: together and one by one are the same octets, in their order."""
    dice = random.Random(7)
    for _ in range(300):
        parts = []
        for tag in range(dice.randrange(1, 20)):
            channel = dice.choice((1, 1, 1, 2))
            method = dice.choice((BASIC_ACK, BASIC_ACK, BASIC_NACK))
            size = dice.choice((0, 1, 90, 101))
            parts.append(dice.choice((answer(tag, method, channel), delivery(tag, b"x" * size, channel))))
        data = b"".join(parts)
        splitter, taken = fed(data), b""
        while splitter.buffered:
            whole = splitter.whole(DELIVER)
            if splitter.method_ahead() in (BASIC_ACK, BASIC_NACK):
                octets, start, stop = splitter.alike_ahead()
                splitter.skip_to(stop)
                taken += octets[start:stop]
            elif whole is not None:
                taken += data[whole.start : splitter.skip_alike(whole, BODY_BYTES_MAX)]
            else:
                frame = splitter.next()
                assert frame is not None
                taken += frame.raw
        assert taken == data
