"""A broker that takes no publishes, or says nothing at all: clients wait or are told, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from pamqp import commands

from sealgate.net.leg import WRITE_BUFFER_BYTES_MAX
from support.canary import canary
from support.gateway import Start
from support.hostile_publish import a_task, publish
from support.peers import Client, connect
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq
from support.raw_client import HEARTBEAT, RawClient, frame, raw_client
from support.tcp_table import unread_at, wait_until_still
from support.watched import CONNECTION_BYTES, MIB, SLACK_BYTES, Watched, needs_proc

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), needs_proc]

SHORT_LOOPS = ("uvloop",)

ROUNDS = 50
HEARTBEAT_S = 1
QUEUE = "work"
BLOCKED = ("connection.blocked",)
ANYTHING = {"profile": "generic", "types": ["*"]}
ALARMED = """
lists:any(fun({{Kind, What, _}, _}) -> {Kind, What} =:= {resource_limit, memory}; (_) -> false end,
    rabbit_alarm:get_alarms()).
"""


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQServer]:
    """A node of its own: an alarm stops every publisher on it."""
    with private_rabbitmq() as server:
        yield server


def alarm(node: RabbitMQServer, on: bool) -> None:
    """Run out of memory, or have plenty again."""
    node.ctl("set_vm_memory_high_watermark", *(("absolute", "1") if on else ("0.9",)))
    wait_until(lambda: node.evaluate(ALARMED) == str(on).lower(), 60, "the memory alarm")


class Publisher(RawClient):
    """Sends all it has, and reads its confirms after that. While it sends it sends no heartbeats."""

    def work(self, messages: list[bytes]) -> int:
        """Publish; returns how many were confirmed. Before that it must have been told why it waits."""
        self.socket.settimeout(None)
        for message in messages:
            self.socket.sendall(message)
        confirmed = 0
        told: list[str] = []
        while confirmed < len(messages):
            try:
                answer = self.read(HEARTBEAT_S / 2).said
            except TimeoutError:
                self.socket.sendall(frame(HEARTBEAT, 0, b""))
                continue
            if answer.name in ("Connection.Blocked", "Connection.Unblocked"):
                told.append(answer.name)
                continue
            assert isinstance(answer, commands.Basic.Ack), answer
            assert told == ["Connection.Blocked", "Connection.Unblocked"]
            confirmed = answer.delivery_tag if answer.multiple else confirmed + 1
        return confirmed


def serve_readers(port: int, vhost: str, times: int) -> None:
    """Everything but publishing works, on old connections and new ones."""
    with raw_client(port, vhost) as client:
        client.open_channel()
        client.ask(1, commands.Queue.Declare(queue="readers", exclusive=True), commands.Queue.DeclareOk)
        for _ in range(times):
            client.ask(1, commands.Basic.Get(queue="readers", no_ack=True), commands.Basic.GetEmpty)


def test_broker_short_of_memory(
    node: RabbitMQServer, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    publishers, messages = (24, 80) if full else (6, 80)
    vhost = node.new_vhost()
    process = start(node.port, content=ANYTHING)
    with raw_client(node.port, vhost) as client:
        client.open_channel()
        client.ask(1, commands.Queue.Declare(queue=QUEUE), commands.Queue.DeclareOk)
    watched = Watched(process, publishers * (WRITE_BUFFER_BYTES_MAX + CONNECTION_BYTES) + SLACK_BYTES)
    draft = a_task(routing_key=QUEUE, body=bytes(MIB // 4))
    with ExitStack() as stack:
        alarm(node, True)
        stack.callback(alarm, node, False)
        pool = stack.enter_context(ThreadPoolExecutor(publishers))

        def work() -> int:
            with closing(
                Publisher(process.port, vhost, heartbeat_s=HEARTBEAT_S, capabilities=BLOCKED)
            ) as client:
                client.open_channel(confirms=True)
                return client.work([publish(draft, client).frames(client) for _ in range(messages)])

        working = [pool.submit(work) for _ in range(publishers)]
        wait_until_still(lambda: unread_at(process.port), publishers, "the gateway to stop reading")
        long_after = time.monotonic() + 5 * HEARTBEAT_S
        while time.monotonic() < long_after:
            serve_readers(process.port, vhost, ROUNDS)
        watched.check_memory()
        assert not any(each.done() for each in working), "a publisher was not made to wait, or was cut"
        alarm(node, False)
        assert [each.result() for each in working] == [messages] * publishers
        with canary(process.port, vhost) as bird:
            bird.sing(ROUNDS)
    assert node.depth(vhost, QUEUE) == publishers * messages
    with raw_client(node.port, vhost) as client:
        client.open_channel()
        client.ask(1, commands.Queue.Delete(queue=QUEUE), commands.Queue.DeleteOk)
    watched.check_at_rest()
    closing_lines.append(
        f"broker short of memory, {loop}: {publishers} publishers held with {messages // 4} MiB each, all "
        f"confirmed afterwards; {watched.report()}"
    )


async def told_to_come_again(port: int, vhost: str, count: int, hang: Callable[[], None]) -> list[int]:
    """Clients that are alive while the broker hangs; the codes of the closes they get."""
    clients: dict[Client, asyncio.Task[None]] = {}
    for _ in range(count):
        client = await (await connect(port)).shake_hands(HEARTBEAT_S, vhost)
        # From the start: by the time the last one is connected the first would be taken for gone.
        clients[client] = asyncio.create_task(beat(client))
    hang()

    async def wait(client: Client, beating: asyncio.Task[None]) -> int:
        close = await client.expect(commands.Connection.Close)
        beating.cancel()
        client.say(0, commands.Connection.CloseOk())
        assert await client.wait_for_end() == b""
        await client.close()
        return int(close.reply_code)

    return list(await asyncio.gather(*[wait(client, beating) for client, beating in clients.items()]))


async def beat(client: Client) -> None:
    while True:
        client.send(frame(HEARTBEAT, 0, b""))
        await asyncio.sleep(HEARTBEAT_S / 2)


def test_broker_that_says_nothing_any_more(
    node: RabbitMQServer, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Its connections stay open and silent: heartbeats end them, and clients are told to come again."""
    count = 200 if full else 30
    vhost = node.new_vhost()
    process = start(node.port)
    watched = Watched(process, count * CONNECTION_BYTES // 8 + SLACK_BYTES)
    try:
        codes = asyncio.run(
            told_to_come_again(process.port, vhost, count, lambda: os.kill(node.pid, signal.SIGSTOP))
        )
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert codes == [320] * count
    with canary(process.port, vhost) as bird:
        bird.sing(ROUNDS)
    watched.check_at_rest()
    closing_lines.append(
        f"broker that says nothing any more, {loop}: {count} clients told to come again; {watched.report()}"
    )
