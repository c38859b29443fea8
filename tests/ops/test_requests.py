"""Requests that are none, or come as no client sends them; the pages are asked for in test_admin.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sealgate.ops.admin import CONNECTIONS_MAX, HEAD_BYTES_MAX, Admin
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.metrics import build_registry
from sealgate.ops.pages import Pages
from sealgate.session.records import Tally

LIVE = b"GET /livez HTTP/1.1\r\n\r\n"


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    tally = Tally()
    admin = Admin("127.0.0.1:0", Pages(build_registry(tally, None, {}), Health(LoopLag()), tally, {}))
    await admin.start()
    try:
        yield admin.port
    finally:
        await admin.close()


async def talk(port: int, sent: bytes) -> bytes:
    """What comes back until the other side hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(sent)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / SMTP\r\n\r\n",
        b"\xff\x00 \xfe\r\n\r\n",
        b"AMQP\x00\x00\x09\x01\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes) -> None:
    async with served() as port:
        assert (await talk(port, sent)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.asyncio
async def test_head_without_end_is_hung_up_on() -> None:
    async with served() as port:
        assert await talk(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 3 * HEAD_BYTES_MAX) == b""
        assert (await talk(port, LIVE)).endswith(b"ok\n")


@pytest.mark.asyncio
async def test_request_may_come_in_pieces_and_more_may_follow_it() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for octet in LIVE:
            writer.write(bytes([octet]))
            await writer.drain()
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        assert (await talk(port, LIVE * 3)).count(b"HTTP/1.1 200") == 1


@pytest.mark.asyncio
async def test_connections_are_bounded() -> None:
    async with served() as port, asyncio.timeout(20):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert await talk(port, LIVE) == b""
        for _, writer in held:
            writer.close()
        while not (await talk(port, LIVE)).endswith(b"ok\n"):
            await asyncio.sleep(0)
