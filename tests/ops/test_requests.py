"""Requests that are none, or come as no client sends them; the pages are asked for in test_admin.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sealgate.ops.admin import CONNECTIONS_MAX, HEAD_BYTES_MAX, Admin
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.metrics import build_registry
from sealgate.ops.pages import Pages
from sealgate.ops.tables import Table
from sealgate.session.records import Tally

LIVE = b"GET /livez HTTP/1.1\r\n\r\n"


#: As the kernel writes it.
ESTABLISHED = "01"


@asynccontextmanager
async def served(
    refresh: Callable[[], Awaitable[None]] | None = None,
    tables: Mapping[str, Callable[[], Table]] | None = None,
) -> AsyncIterator[int]:
    tally = Tally()
    registry = build_registry(tally, None, {})
    admin = Admin(
        "127.0.0.1:0", Pages(registry, Health(LoopLag()), tally, {}, refresh=refresh, tables=tables)
    )
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
async def test_connections_are_bounded_and_who_says_nothing_makes_room() -> None:
    async with served() as port, asyncio.timeout(20):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert (await talk(port, LIVE)).endswith(b"ok\n")
        # The first of them was hung up on; the last, and all in between, are still heard.
        assert await gone(held[0][0])
        held[-1][1].write(LIVE)
        assert (await held[-1][0].read()).endswith(b"ok\n")
        for _, writer in held:
            writer.close()


@pytest.mark.asyncio
async def test_newcomer_is_hung_up_on_while_all_are_being_answered() -> None:
    answering = asyncio.Event()

    async def refresh() -> None:
        await answering.wait()

    async with served(refresh) as port, asyncio.timeout(20):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        for _, writer in held:
            writer.write(LIVE)
        while await talk(port, LIVE):
            pass
        answering.set()
        for reader, writer in held:
            assert (await reader.read()).endswith(b"ok\n")
            writer.close()


async def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has hung up, or will."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


@pytest.mark.asyncio
async def test_answer_that_nobody_takes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.ops.admin.REQUEST_S", 0.2)
    large = Table("Large", "", ("n",), [], {"n": "x" * 20_000_000})
    async with served(tables={"/large": lambda: large}) as port, asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        while not connections_of(port):
            await asyncio.sleep(0.01)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        while connections_of(port):
            await asyncio.sleep(0.01)
        writer.transport.abort()


@pytest.mark.asyncio
async def test_who_takes_no_answer_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.ops.admin.CONNECTIONS_MAX", 3)
    monkeypatch.setattr("sealgate.ops.admin.REQUEST_S", 60.0)
    large = Table("Large", "", ("n",), [], {"n": "x" * 20_000_000})
    async with served(tables={"/large": lambda: large}) as port, asyncio.timeout(20):
        held = [await asyncio.open_connection("127.0.0.1", port, limit=64) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET /large HTTP/1.1\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert (await talk(port, LIVE)).endswith(b"ok\n")
        for _, writer in held:
            writer.transport.abort()


def connections_of(port: int) -> int:
    """TCP connections of this host that are open at the side of `port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(cells[1].endswith(f":{port:04X}") and cells[3] == ESTABLISHED for cells in lines)


@pytest.mark.asyncio
async def test_page_that_fails_is_told_and_the_next_one_answered(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Table:
        raise ValueError("year 33658 is out of range")

    async with served(tables={"/broken": fail}) as port:
        answer = await talk(port, b"GET /broken HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"33658" not in answer and "33658" in caplog.text
        assert (await talk(port, LIVE)).endswith(b"ok\n")
