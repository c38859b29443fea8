"""A publish that only gets a seal leaves as parts of the bytes it came in: the same as it would else."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from sealgate.reason import Reason
from sealgate.session.conversation import Role
from sealgate.signing.keyring import Keyring
from sealgate.verify.sealer import Sealer
from sealgate.wire.constants import BASIC_PUBLISH, FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from sealgate.wire.frames import encode_frame
from support.talk import DEPLOYMENT, KEY, Talk
from support.wire_bytes import content_header, entry, long, short

METHOD = struct.pack(">I", BASIC_PUBLISH) + b"\x00\x00" + short(b"") + short(b"celery") + b"\x00"


def publish(
    number: int, channel: int = 1, origin: bytes = b"host", size: int = 300, seal: bytes = b""
) -> bytes:
    """A task like all others but for its number, and what is given."""
    values = {"task": long(b"app.add"), "id": long(b"%036d" % number), "origin": long(origin)}
    if seal:
        values["x-seal"] = long(seal)
    table = long(b"".join([entry(name, "S", value) for name, value in values.items()]))
    properties = short(b"application/json") + table + b"\x02" + short(b"%d" % number)
    frames = encode_frame(FRAME_METHOD, channel, METHOD)
    frames += encode_frame(FRAME_HEADER, channel, content_header(0xB400, properties, size))
    return frames + (encode_frame(FRAME_BODY, channel, b"x" * size) if size else b"")


def sent(data: list[bytes], whole: bool, frame_max: int = 131_072) -> Talk:
    """What becomes of `data`, each piece of it a read, or each of its octets but a few."""
    talk = Talk(Role.SIGN).shake_hands(tune=(2047, frame_max, 60)).open_channel().open_channel(2)
    talk.heard_by_broker()
    for number, piece in enumerate(data):
        if number == len(data) // 2:
            # The seals of another key are longer.
            ring = Keyring([replace(KEY, kid="another")])
            talk.terms.sealer = Sealer(ring, "another", DEPLOYMENT, lambda size: bytes(size))
        for part in [piece] if whole else [piece[:5], piece[5:-1], piece[-1:]]:
            talk.client_bytes(part)
    return talk


@pytest.mark.parametrize("seed", range(5))
def test_publishes_alike_leave_as_they_would_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    data = []
    for number in range(200):
        data.append(
            b"".join(
                publish(
                    number * 3 + more,
                    dice.choice((1, 1, 2)),
                    dice.choice((b"host", b"host", b"tsoh", b"a host")),
                    dice.choice((300, 300, 0, 301)),
                    dice.choice((b"", b"", b"", b"an old one")) if seed % 2 else b"",
                )
                for more in range(dice.randrange(1, 4))
            )
        )
    whole, parts = sent(data, True), sent(data, False)
    assert whole.to_broker == parts.to_broker
    assert len(whole.to_broker) > sum(map(len, data))
    assert whole.records == parts.records == []


def test_header_like_those_before_that_outgrows_frame_max_with_its_seal_is_refused_alone() -> None:
    origins = [b"a", b"b", b"c", b"x" * 3850, b"d"]
    talk = sent([publish(number, origin=origin) for number, origin in enumerate(origins)], True, 4096)
    assert [record.reason for record in talk.records] == [Reason.HEADER_SIZE]
    assert talk.to_broker.count(b"app.add") == len(origins) - 1
