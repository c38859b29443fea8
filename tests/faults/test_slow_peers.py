"""Peers that read or write as slowly as they can: others are served, memory is bounded, nothing is left."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest
from pamqp import commands

from sealgate.net.leg import OWED_BYTES_MAX, WRITE_BUFFER_BYTES_MAX
from sealgate.quarantine.publish import BATCH_BYTES_MAX, BYTES_IN_MEMORY_MAX
from support.canary import Canary, canary
from support.gateway import Start
from support.hostile_publish import a_task, publish
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import BODY, HEADER, PROTOCOL_HEADER, RawClient
from support.tcp_table import unread_at, unread_from, wait_until_still
from support.watched import CONNECTION_BYTES, MIB, SLACK_BYTES, Watched, needs_proc

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), needs_proc]


#: Fixed, so that the kernel does not take ever more. Far above one segment, or TCP itself would stall.
RECEIVE_BUFFER_BYTES = MIB
ROUNDS = 50
#: Unsigned publishes would end their connection after 20.
FORGIVING = {"failed_verifications_max": 1_000_000}


@contextmanager
def stalling_clients(port: int, vhost: str, count: int) -> Iterator[list[RawClient]]:
    """Clients with little room in their kernel for what they do not read."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(closing(RawClient(port, vhost)))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            clients.append(client)
        yield clients


# A consumer that stops reading


def receive(client: RawClient, body: bytes) -> None:
    """The next delivery, whole and as it was published."""
    client.expect(1, commands.Basic.Deliver)
    assert client.read().kind == HEADER
    parts: list[bytes] = []
    while sum(map(len, parts)) < len(body):
        heard = client.read()
        assert heard.kind == BODY
        parts.append(heard.payload)
    assert b"".join(parts) == body


def test_consumers_that_stop_reading(
    rabbitmq: RabbitMQServer, vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Each is owed far more than it reads; the broker is made to wait, and what is kept has a bound."""
    consumers, messages = (24, 32) if full else (6, 24)
    body = bytes(MIB)
    process = start()
    for number in range(consumers):
        rabbitmq.fill(vhost, f"large{number}", messages, body)
    watched = Watched(process, consumers * (2 * WRITE_BUFFER_BYTES_MAX + CONNECTION_BYTES) + SLACK_BYTES)
    with canary(process.port, vhost) as bird, stalling_clients(process.port, vhost, consumers) as clients:
        for number, client in enumerate(clients):
            client.open_channel()
            client.say(1, commands.Basic.Consume(queue=f"large{number}", no_ack=True))
        wait_until_still(lambda: unread_from(rabbitmq.port), consumers, "the gateway to stop reading")
        bird.sing(ROUNDS)
        watched.check_memory()
        for client in clients[::2]:
            client.expect(1, commands.Basic.ConsumeOk)
            for _ in range(messages):
                receive(client, body)
            bird.sing()
        for client in clients[1::2]:
            client.socket.close()
        bird.sing(ROUNDS)
    watched.check_at_rest()
    closing_lines.append(
        f"consumers that stop reading, {loop}: {consumers} are owed {messages} MiB each, "
        f"the canary was served {bird.served} times; {watched.report()}"
    )


# Clients that never read what they are owed


def test_refused_publishers_that_never_read(
    vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Every publish is refused with a nack; nobody reads one before all is sent (protocol.md B3)."""
    clients_count, publishes = (4, 50_000) if full else (2, 10_000)
    process = start(limits=FORGIVING)
    allowed = clients_count * (OWED_BYTES_MAX + CONNECTION_BYTES) + BYTES_IN_MEMORY_MAX + SLACK_BYTES
    watched = Watched(process, allowed)
    with canary(process.port, vhost) as bird, stalling_clients(process.port, vhost, clients_count) as clients:
        for client in clients:
            client.open_channel(confirms=True)
        unsigned = publish(a_task(routing_key="nowhere", seal=None), clients[0]).frames(clients[0])

        def work(client: RawClient) -> None:
            for _ in range(publishes // 100):
                client.send(unsigned * 100)

        with ThreadPoolExecutor(clients_count) as pool:
            sending = [pool.submit(work, client) for client in clients]
            bird.sing(ROUNDS)
            for each in sending:
                each.result()
        bird.sing(ROUNDS)
        watched.check_memory()
        for client in clients:
            tags = {client.expect(1, commands.Basic.Nack).delivery_tag for _ in range(publishes)}
            assert tags == set(range(1, publishes + 1))
    assert process.refusals() == {"sig.missing": clients_count * publishes}
    watched.check_at_rest()
    closing_lines.append(
        f"refused publishers that never read, {loop}: {clients_count} with {publishes:,} publishes each, "
        f"the canary was served {bird.served} times; {watched.report()}"
    )


def test_refused_publishers_that_never_read_what_is_returned(
    vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Large mandatory publishes come back whole; who does not take them is not read any more."""
    clients_count, publishes = (10, 200) if full else (2, 60)
    process = start(limits=FORGIVING)
    kept = BYTES_IN_MEMORY_MAX + 4 * BATCH_BYTES_MAX  # a batch under way is there in several copies
    allowed = clients_count * (OWED_BYTES_MAX + 2 * CONNECTION_BYTES) + kept + SLACK_BYTES
    watched = Watched(process, allowed)
    with canary(process.port, vhost) as bird, stalling_clients(process.port, vhost, clients_count) as clients:
        for client in clients:
            client.open_channel(confirms=True)
        draft = a_task(routing_key="nowhere", seal=None, body=bytes(MIB))
        unsigned = publish(draft, clients[0]).frames(clients[0], mandatory=True)

        def work(client: RawClient) -> None:
            client.socket.settimeout(None)
            for _ in range(publishes):
                client.socket.sendall(unsigned)

        with ThreadPoolExecutor(clients_count) as pool:
            sending = [pool.submit(work, client) for client in clients]
            wait_until_still(lambda: unread_at(process.port), clients_count, "the gateway to stop reading")
            bird.sing(ROUNDS)
            watched.check_memory()
            assert not any(each.done() for each in sending), "all was read, though nothing was taken"
            for client in clients[1:]:
                client.socket.shutdown(socket.SHUT_RDWR)
            for each in sending[1:]:
                assert each.exception() is not None
            for _ in range(publishes):
                returned(clients[0], draft.body)
            sending[0].result()
        bird.sing(ROUNDS)
    watched.check_at_rest()
    closing_lines.append(
        f"refused publishers that never read what is returned, {loop}: {clients_count} with {publishes} MiB "
        f"each, the canary was served {bird.served} times; {watched.report()}"
    )


def returned(client: RawClient, body: bytes) -> None:
    """A publish comes back with its body, then its nack."""
    client.expect(1, commands.Basic.Return)
    assert client.read().kind == HEADER
    parts: list[bytes] = []
    while sum(map(len, parts)) < len(body):
        parts.append(client.read().payload)
    assert b"".join(parts) == body
    client.expect(1, commands.Basic.Nack)


# Senders of single bytes


class Dribbler(Canary):
    """Whatever it sends, it sends byte by byte."""

    def send(self, data: bytes) -> None:
        for at in range(len(data)):
            self.socket.sendall(data[at : at + 1])


def test_senders_of_single_bytes(
    vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Handshakes, publishes and all else a byte at a time: slow, and as good as any."""
    dribblers, songs = (50, 10) if full else (10, 3)
    process = start()
    watched = Watched(process, dribblers * CONNECTION_BYTES // 4 + SLACK_BYTES)

    def work(_: int) -> int:
        with closing(Dribbler(process.port, vhost, f"dribble{_}")) as client:
            client.sing(songs)
            return client.served

    with canary(process.port, vhost) as bird, ThreadPoolExecutor(dribblers) as pool:
        singing = [pool.submit(work, number) for number in range(dribblers)]
        bird.sing(ROUNDS)
        served = sum(each.result() for each in singing)
    assert served == dribblers * songs
    assert process.refusals() == {}
    watched.check_at_rest()
    closing_lines.append(
        f"senders of single bytes, {loop}: {dribblers} were served {served} times, the canary {bird.served}; "
        + watched.report()
    )


# Handshakes that never end


class Loris:
    """Promises a handshake and gives a byte of it now and then."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        first = (b"", PROTOCOL_HEADER[:3], PROTOCOL_HEADER)[number % 3]
        self.socket.sendall(first)
        self.socket.setblocking(False)
        # After the protocol header a long start-ok, of which nothing is right but its size.
        self._rest = PROTOCOL_HEADER[3:7] if number % 3 == 1 else b"\x01\0\0\0\0\xff\0" + bytes(100)
        self._silent = number % 3 == 0

    def alive(self) -> bool:
        """Go on; false when the gateway has closed the connection."""
        with contextlib.suppress(BlockingIOError):
            try:
                while self.socket.recv(4096):
                    pass
                return False
            except ConnectionError:
                return False
        if not self._silent and self._rest:
            with contextlib.suppress(OSError):
                self.socket.send(self._rest[:1])
                self._rest = self._rest[1:]
        return True


def test_handshakes_that_never_end(
    vhost: str, start: Start, loop: str, full: bool, closing_lines: list[str]
) -> None:
    """Silent, or a byte now and then, before or after the broker is dialed: each is cut at its deadline."""
    count = 1200 if full else 150
    process = start(limits={"handshake_s": 2, "close_s": 2})
    watched = Watched(process, count * CONNECTION_BYTES // 16 + SLACK_BYTES)
    with canary(process.port, vhost) as bird, ExitStack() as stack:
        lorises = [Loris(process.port, number) for number in range(count)]
        for loris in lorises:
            stack.enter_context(loris.socket)
        bird.sing(ROUNDS)
        while lorises:
            lorises = [loris for loris in lorises if loris.alive()]
            bird.sing()
    assert process.refusals() == {"conn.handshake": count}
    watched.check_at_rest()
    closing_lines.append(
        f"handshakes that never end, {loop}: {count}, all cut, the canary was served {bird.served} times; "
        + watched.report()
    )
