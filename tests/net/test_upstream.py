"""Looking for the broker."""

from __future__ import annotations

import asyncio

import pytest

from sealgate.net.upstream import Dialer, Endpoint
from support.processes import free_port


@pytest.mark.asyncio
async def test_probe_of_a_listening_broker_leaves_no_trouble() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        dialer = Dialer([Endpoint("127.0.0.1", port)], no_warning)
        for _ in range(5):
            assert await dialer.probe()
        assert dialer.reachable


@pytest.mark.asyncio
async def test_probe_of_nobody_says_so() -> None:
    told: list[str] = []
    dialer = Dialer([Endpoint("127.0.0.1", free_port())], lambda event, *_, **__: told.append(event))
    assert not await dialer.probe()
    assert (dialer.reachable, told) == (False, ["upstream.unreachable"])


def no_warning(event: str, *details: object, **fields: object) -> None:
    raise AssertionError(event)
