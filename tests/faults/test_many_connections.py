"""Very many clients: idle, or coming and going all the time. Others are served, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pamqp import commands

from support.canary import Canary, canary
from support.gateway import Start
from support.peers import GUEST, PROTOCOL_HEADER, Client, connect
from support.talk import on
from support.watched import SLACK_BYTES, Watched, needs_proc

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), needs_proc]


#: A connection that does nothing: its session, two sockets and their buffers. Measured: 11 kB.
IDLE_BYTES = 65_536
#: So many handshakes at once; the rest of the clients wait for their turn.
AT_ONCE = 50
CLOSE_OK = on(0, commands.Connection.CloseOk())


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    """Sockets for everybody in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def singing(bird: Canary) -> Iterator[None]:
    """The canary sings all the time in a thread of its own; what goes wrong there is raised at the end."""
    silence = threading.Event()
    failures: list[BaseException] = []

    def sing() -> None:
        try:
            while not silence.is_set():
                bird.sing()
                time.sleep(0.02)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sing)
    thread.start()
    try:
        yield
    finally:
        silence.set()
        thread.join()
    if failures:
        raise failures[0]


async def idle_clients(port: int, vhost: str, count: int) -> list[Client]:
    """So many connections with a channel each, opened a few at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one() -> Client:
        async with turns:
            client = await (await connect(port)).shake_hands(vhost=vhost)
            return await client.open_channel()

    return list(await asyncio.gather(*[one() for _ in range(count)]))


async def leave(clients: list[Client]) -> None:
    """Every other one says good-bye, the others vanish."""
    for client in clients[::2]:
        client.say(0, commands.Connection.Close(200, "done", 0, 0))
        await client.expect(commands.Connection.CloseOk)
        await client.close()
    for client in clients[1::2]:
        client.abort()


def test_idle_connections(vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]) -> None:
    count = 2000 if full else 250
    process = start()
    watched = Watched(process, count * IDLE_BYTES + SLACK_BYTES)

    async def stay(bird: Canary) -> int:
        clients = await idle_clients(process.port, vhost, count)
        now = watched.holdings()
        assert (now.client_connections, now.upstream_connections) == (count + 1, count + 1)
        assert now.tasks <= watched.before.tasks + 2, "a task for each client"
        taken = watched.memory("VmRSS") - watched.base_bytes
        await asyncio.to_thread(bird.sing, 50)
        await leave(clients)
        return taken

    with canary(process.port, vhost) as bird:
        taken = asyncio.run(stay(bird))
    watched.check_at_rest()
    closing_lines.append(
        f"idle connections, {loop}: {count}, {taken // count:,} bytes each, the canary was served "
        f"{bird.served} times; {watched.report()}"
    )


# Coming and going

#: All a client ever says, at once, as it may (protocol.md H3): one write and a few reads for a whole life.
LIFE = PROTOCOL_HEADER + on(
    0,
    commands.Connection.StartOk({"product": "mayfly"}, "PLAIN", GUEST, "en_US"),
    commands.Connection.TuneOk(2047, 131_072, 0),
)


async def live(port: int, vhost: str, lives: Counter[str], number: int) -> None:
    """One short life: most end as they should, some vanish on the way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if number % 10 == 7:
            writer.write(LIFE[: number % len(LIFE)])
            lives["vanished"] += 1
            writer.transport.abort()
            return
        opened = on(0, commands.Connection.Open(vhost)) + on(1, commands.Channel.Open())
        writer.write(LIFE + opened + on(0, commands.Connection.Close(200, "done", 0, 0)))
        told = await reader.read()
        assert told.endswith(CLOSE_OK), told[-100:]
        lives["closed"] += 1
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def churn(port: int, vhost: str, rate: int, seconds: float) -> tuple[Counter[str], float]:
    """`rate` new clients each second; what became of them, and how long it took."""
    lives: Counter[str] = Counter()
    began = time.monotonic()
    async with asyncio.TaskGroup() as living:
        for number in range(int(rate * seconds)):
            living.create_task(live(port, vhost, lives, number))
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    return lives, time.monotonic() - began


def test_connections_that_come_and_go(
    vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    rate, seconds = 200, 60 if full else 10
    process = start()
    watched = Watched(process, AT_ONCE * IDLE_BYTES + SLACK_BYTES)
    with canary(process.port, vhost) as bird, singing(bird):
        lives, took = asyncio.run(churn(process.port, vhost, rate, seconds))
    assert lives.total() == rate * seconds
    assert process.metric("sealgate_messages_total", verdict="refused") == 0
    watched.check_at_rest()
    closing_lines.append(
        f"connections that come and go, {loop}: {lives['closed']:,} closed and {lives['vanished']:,} "
        f"vanished in {took:.0f} s, the canary was served {bird.served} times; {watched.report()}"
    )
