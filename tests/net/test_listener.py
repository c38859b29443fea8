from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from pamqp import commands

from sealgate.net import listener
from sealgate.net.relay import Relay
from sealgate.session.limits import Limits
from support.certificates import Authority
from support.listening import Listening, listening
from support.peers import ANSWER_S_MAX, PROTOCOL_HEADER, Client, ScriptedBroker, connect, eventually, meet

pytestmark = pytest.mark.asyncio

HASTY = Limits(handshake_s=0.2, close_s=0.2)


# Where


async def test_port_0_lets_the_system_choose() -> None:
    place = Listening(1)
    assert (place.port, place.listener.listening) == (0, False)
    await place.listener.start()
    assert place.port > 0
    assert place.listener.listening
    await place.listener.close()
    assert not place.listener.listening


@pytest.mark.parametrize(
    ("bound", "dialed", "seen"),
    [("::1", "::1", "[::1]:"), ("::", "::1", "[::1]:"), ("::", "127.0.0.1", "127.0.0.1:")],
)
async def test_ipv6_addresses_are_served_and_the_unspecified_one_is_ipv4_as_well(
    bound: str, dialed: str, seen: str
) -> None:
    async with listening(1, host=bound) as place:
        client = await connect(place.port, host=dialed)
        client.send(b"nonsense")
        assert await client.wait_for_end() == PROTOCOL_HEADER
        assert place.warned[0]["client"].startswith(seen)
        await client.close()


# How many


async def test_connection_over_the_limit_of_its_address_is_closed_and_told() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, connections_per_address_max=2) as place:
        clients = [await connect(place.port) for _ in range(2)]
        await eventually(lambda: place.listener.connections == 2, "two clients")
        late = await connect(place.port)
        assert await late.wait_for_end() == b""
        assert place.reasons == ["conn.limit"]
        assert place.warned[0]["client"].startswith("127.0.0.1:")
        assert place.tally.limits_hit["connections_per_address_max"] == 1
        assert place.tally.messages["publish", "refused", "conn.limit"] == 1
        await clients.pop().close()
        await eventually(lambda: place.listener.connections == 1, "a place")
        again, upstream = await meet(place.port, broker)
        for peer in (*clients, late, again, upstream):
            peer.abort()
        await eventually(lambda: place.idle, "all to be forgotten")


async def test_clients_in_their_tls_handshake_count_and_are_cut_in_time(authority: Authority) -> None:
    """They cost the most of all that have said nothing."""
    tls = authority.server(authority.issue("localhost"))
    async with listening(1, tls=tls, limits=HASTY, connections_per_address_max=2) as place:
        silent = [await connect(place.port) for _ in range(2)]
        await eventually(lambda: place.listener.connections == 2, "two clients")
        late = await connect(place.port)
        assert await late.wait_for_end() == b""
        for client in silent:
            assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "all to be forgotten")
        assert place.reasons == ["conn.limit", "conn.handshake", "conn.handshake"]
        for client in (*silent, late):
            await client.close()


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process has every file open that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    fillers: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_client_waits_while_the_system_has_no_more_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "EXHAUSTED_PAUSE_S", 0.05)
    async with listening(1) as place:
        with socket.socket() as client:
            with no_more_files():
                client.connect(("127.0.0.1", place.port))
                await eventually(lambda: len(place.warned) > 1, "the system to say no")
                assert {line["event"] for line in place.warned} == {"listener.exhausted"}
            await eventually(lambda: place.listener.connections == 1, "the client to be let in")
        await eventually(lambda: place.idle, "the client to be forgotten")


# The end


async def test_door_is_closed_at_last_and_those_who_do_not_answer_yet_hold_nobody_up() -> None:
    async with listening(1) as place:
        port = place.port
        place.listener.drain()
        assert place.listener.listening
        assert await place.listener.emptied(ANSWER_S_MAX)
        assert not place.listener.listening
        with pytest.raises(ConnectionRefusedError):
            await connect(port)


async def test_client_that_does_not_leave_is_waited_for_and_then_cut() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        place.listener.drain()
        await client.expect(commands.Connection.Close)
        assert not await place.listener.emptied(0.1)
        await place.listener.close()
        assert await client.wait_for_end() == b""
        assert place.idle
        await client.close()
        upstream.abort()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_handshakes_under_way_are_cut_when_a_drain_has_waited(
    authority: Authority, secure: bool
) -> None:
    tls = authority.server(authority.issue("localhost")) if secure else None
    async with listening(1, tls=tls, limits=Limits(close_s=0.2)) as place:
        client = await connect(place.port)
        await eventually(lambda: place.listener.connections == 1, "the client")
        place.listener.drain()
        assert await client.wait_for_end() == b""
        assert await place.listener.emptied(ANSWER_S_MAX)
        assert place.warned == []
        await client.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "where the kernel can not"])
async def test_those_who_connected_before_a_drain_are_let_in_and_told_320(
    authority: Authority, soft: bool, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reset in the backlog would be an error of ours to a client that came in time."""
    if not soft:
        monkeypatch.setattr(listener, "turn_away", lambda _: False)
    tls = authority.server(authority.issue("localhost")) if secure else None
    options = {"ssl": authority.client(), "server_hostname": "localhost"} if secure else {}
    async with ScriptedBroker() as broker, listening(broker.port, tls=tls) as place:
        # Nobody has accepted them: the event loop has had no turn.
        sockets = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(20)]
        place.listener.drain()
        for connected in sockets:
            connected.setblocking(False)
            client = Client(*await asyncio.open_connection(sock=connected, **options))
            shaking = asyncio.ensure_future(broker.accept_and_shake_hands())
            answer = await client.open()
            # As soon as the door is closed nobody is let in any more.
            close = answer if isinstance(answer, commands.Connection.Close) else await client.next()
            assert (close.reply_code, "conn.shutdown" in close.reply_text) == (320, True)
            client.say(0, commands.Connection.CloseOk())
            assert await client.wait_for_end() == b""
            await (await shaking).answer_close()
            await client.close()
        assert await place.listener.emptied(ANSWER_S_MAX)
        assert place.warned == []


async def test_another_listener_takes_over_the_port_and_no_client_notices() -> None:
    """Clients connect one after the other, from threads, all through the change."""
    served = 0

    async def play(broker: ScriptedBroker) -> None:
        nonlocal served
        while True:
            upstream = await broker.accept()
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await upstream.read(8)
                upstream.say(0, commands.Connection.Start(server_properties={}))
                served += 1

    stop = threading.Event()
    async with ScriptedBroker() as broker, listening(broker.port, reuse_port=True) as old:
        playing = asyncio.ensure_future(play(broker))
        knocking = [asyncio.ensure_future(asyncio.to_thread(knock, old.port, stop)) for _ in range(4)]
        try:
            await eventually(lambda: served > 20, "clients of the old one")
            async with listening(broker.port, port=old.port, reuse_port=True) as new:
                await eventually(lambda: new.tally.client_connections > 0, "clients of both")
                old.listener.drain()
                assert await old.listener.emptied(ANSWER_S_MAX)
                so_far = served
                await eventually(lambda: served > so_far + 20, "clients of the new one")
                stop.set()
                heard = await asyncio.gather(*knocking)
                await eventually(lambda: new.idle, "the last to be forgotten")
        finally:
            stop.set()
            playing.cancel()
    assert sum(heard) > 40


def knock(port: int, stop: threading.Event) -> int:
    """Connect and hear `connection.start`, again and again; how often. Any error is raised."""
    heard = 0
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX) as client:
            client.sendall(PROTOCOL_HEADER)
            assert client.recv(1) == b"\x01", "the frame of connection.start"
            heard += 1
    return heard


async def test_port_is_shared_only_when_both_ask_for_it() -> None:
    async with listening(1) as place:
        with pytest.raises(OSError, match="in use"):
            await Listening(1, port=place.port, reuse_port=True).listener.start()


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("how", ["drain", "close"])
async def test_client_that_comes_right_before_the_end_is_not_left_behind(how: str, turns: int) -> None:
    """Wherever its socket is on the way in."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        clients = []
        for _ in range(3):
            clients.append(socket.create_connection(("127.0.0.1", place.port)))
            clients[-1].sendall(PROTOCOL_HEADER)
        for _ in range(turns):
            await asyncio.sleep(0)
        if how == "drain":
            place.listener.drain()
            for client in clients:
                client.close()
            assert await place.listener.emptied(ANSWER_S_MAX)
        else:
            await place.listener.close()
        assert place.idle
        for client in clients:
            client.close()


# Nothing is left


async def hang_up(client: Client, broker: ScriptedBroker) -> None:
    """Nothing was said."""


async def say_nothing_more(client: Client, broker: ScriptedBroker) -> None:
    client.send(PROTOCOL_HEADER)


async def say_nonsense(client: Client, broker: ScriptedBroker) -> None:
    client.send(b"nonsense")


async def stop_in_the_handshake(client: Client, broker: ScriptedBroker) -> None:
    client.send(PROTOCOL_HEADER)
    upstream = await broker.accept()
    upstream.say(0, commands.Connection.Start(server_properties={}))
    await client.expect(commands.Connection.Start)


async def get_in(client: Client, broker: ScriptedBroker) -> None:
    shaking = asyncio.ensure_future(client.shake_hands())
    upstream = await (await broker.accept()).shake_hands()
    await shaking
    client.say(1, commands.Channel.Open(), commands.Basic.Publish(routing_key="half a message"))
    await upstream.expect(commands.Channel.Open)


@pytest.mark.parametrize(
    "stage",
    [hang_up, say_nothing_more, say_nonsense, stop_in_the_handshake, get_in],
    ids=lambda f: f.__name__,
)
async def test_nothing_is_left_of_clients_wherever_they_stopped(
    stage: Callable[[Client, ScriptedBroker], Awaitable[None]],
) -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:

        async def visit(end: Callable[[Client], None]) -> None:
            client = await connect(place.port)
            await stage(client, broker)
            end(client)
            broker.forget()
            await eventually(lambda: place.listener.connections == 0, "the client to be forgotten")
            await client.close()

        await visit(Client.abort)
        files, tasks, relays = open_files(), len(asyncio.all_tasks()), relays_in_memory()
        for _ in range(20):
            await visit(Client.abort)
            await visit(lambda client: client.writer.write_eof())
        await eventually(lambda: open_files() <= files, "the sockets to be closed")
        assert len(asyncio.all_tasks()) <= tasks
        assert place.idle
        await eventually(lambda: relays_in_memory() <= relays, "their memory to be given back")


def relays_in_memory() -> int:
    gc.collect()
    return sum(isinstance(found, Relay) for found in gc.get_objects())


def open_files() -> int:
    return len(os.listdir("/dev/fd"))
