"""Turns: a socket with very much to read does not keep the others waiting."""

from __future__ import annotations

import socket

import pytest

from sealgate.net.leg import Leg
from sealgate.net.relay import Relay
from support.listening import listening
from support.peers import eventually

pytestmark = pytest.mark.asyncio

#: Room in the kernel for very much that is not read yet.
BUFFER_BYTES = 4_000_000


async def test_others_have_their_turn_after_each_read_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a flood a word comes from each of the others."""
    heard: list[int] = []
    spoken: list[int] = []

    def received(relay: Relay, leg: Leg, data: bytes) -> None:
        heard.append(len(data))
        if not spoken and sum(heard) > 1_000_000:
            # By now the kernel has opened a wide window for the flood.
            spoken.append(len(heard))
            for other in others:
                other.send(b"x")

    monkeypatch.setattr(Relay, "received", received)
    async with listening(1) as place:
        clients = [socket.create_connection(("127.0.0.1", place.port), timeout=20) for _ in range(4)]
        await eventually(lambda: place.tally.client_connections == 4, "all to be let in")
        flood, *others = clients
        flood.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        flood.setblocking(False)
        sent = 0
        while sent < 64_000_000:
            try:
                sent += flood.send(bytes(1_000_000))
            except BlockingIOError:
                break
        assert sent > 4_000_000
        await eventually(lambda: sum(heard) >= sent + len(others), "everything to be read")
        words = [at for at, size in enumerate(heard) if size == 1]
        assert len(words) == len(others)
        between = words[-1] - spoken[0] + 1 - len(others)
        assert between <= 2, f"the flood was read {between} times before the others were"
        for client in clients:
            client.close()
        await eventually(lambda: place.listener.connections == 0, "all to leave")
