"""What no client may send: each of these must end its connection, and nothing of it may reach the broker."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

from sealgate.session.conversation import Role
from sim import octets
from sim.script import Life
from sim.settings import CHANNELS_MAX, Settings


def poison(
    dice: random.Random, settings: Settings, lives: Mapping[int, list[Life]], frame_max: int
) -> tuple[bytes, bool]:
    """Broken framing; or, on an open channel that is looked into, a broken order of frames.

    With it whether the connection must end for it: not when the channel may be closed by then.
    """
    live = [number for number, all_lives in lives.items() if all_lives and all_lives[-1].state == "open"]
    if live and settings.role is not Role.PASS and dice.random() < 0.6:
        return dice.choice(_in_order(dice.choice(live))), False
    whole = octets.method(0, octets.CLOSE_OK)
    framing = dice.choice(
        (
            whole[:-1] + b"\x00",
            b"\x09" + whole[1:],
            b"GET / HTTP/1.1\r\n\r\n",
            struct.pack(">BHI", octets.BODY, 1, frame_max + 1),
            octets.frame(octets.HEARTBEAT, 0, b"x"),
            octets.method(0, octets.SELECT, b"\0"),
            octets.method(CHANNELS_MAX + 1, octets.PUBLISH, octets.publish_arguments(b"", b"q", False)),
            octets.method(CHANNELS_MAX + 1, octets.CHANNEL_OPEN, b"\0"),
            octets.frame(octets.METHOD, 0, b"\x00"),
        )
    )
    return framing, True


def _in_order(number: int) -> list[bytes]:
    publish = octets.method(number, octets.PUBLISH, octets.publish_arguments(b"", b"q", False))
    header = octets.frame(octets.HEADER, number, struct.pack(">HHQH", 60, 0, 3, 0))
    body = octets.frame(octets.BODY, number, b"abc")
    return [
        publish + publish,
        publish + header + header,
        publish + body,
        publish + header + octets.frame(octets.BODY, number, b"abcd"),
        publish + header + octets.method(number, octets.QOS, b"\0" * 7),
        header,
        body,
        publish + header + octets.frame(octets.BODY, number, b"") * 17,
        octets.method(number, octets.TX_SELECT),
        octets.method(number, octets.PUBLISH, b"\0\0\x00\x01q\x02"),
        octets.method(number, octets.PUBLISH, b"\0\0\xff"),
        octets.frame(octets.HEARTBEAT, number, b""),
        publish + octets.frame(octets.HEADER, number, struct.pack(">HHQH", 61, 0, 3, 0)),
    ]
