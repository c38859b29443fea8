"""Several brokers: what a client sees, and what is remembered, when one of them fails in any way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pamqp import commands

from sealgate.net import upstream as upstream_module
from sealgate.net.endpoints import Endpoint
from sealgate.session.limits import Limits
from support.listening import Listening, listening
from support.peers import PROTOCOL_HEADER, ScriptedBroker, Upstream, connect, eventually, meet, unanswering
from support.processes import free_port

pytestmark = pytest.mark.asyncio

Failing = Callable[[ScriptedBroker], Awaitable[None]]


def at(*ports: int) -> list[Endpoint]:
    return [Endpoint("127.0.0.1", port) for port in ports]


@asynccontextmanager
async def two_brokers(**options: object) -> AsyncIterator[tuple[Listening, ScriptedBroker, ScriptedBroker]]:
    async with ScriptedBroker() as first, ScriptedBroker() as second:
        endpoints = at(first.port, second.port)
        async with listening(first.port, endpoints=endpoints, **options) as place:
            yield place, first, second
            second.forget()
            first.forget()


async def hang_up(first: ScriptedBroker) -> None:
    (await first.accept()).abort()


async def hang_up_politely(first: ScriptedBroker) -> None:
    upstream = await first.accept()
    assert await upstream.read(8) == PROTOCOL_HEADER
    await upstream.close()


async def be_in_maintenance(first: ScriptedBroker) -> None:
    upstream = await first.accept()
    assert await upstream.read(8) == PROTOCOL_HEADER
    upstream.say(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))
    await upstream.wait_for_end()


async def start_up(first: ScriptedBroker) -> None:
    upstream = await first.accept()
    upstream.say(0, commands.Connection.Close(541, "INTERNAL_ERROR - starting", 0, 0))
    await upstream.wait_for_end()


async def speak_http(first: ScriptedBroker) -> None:
    upstream = await first.accept()
    upstream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await upstream.wait_for_end()


async def say_nothing(first: ScriptedBroker) -> None:
    await (await first.accept()).wait_for_end()


@pytest.mark.parametrize(
    "fail",
    [hang_up, hang_up_politely, be_in_maintenance, start_up, speak_http, say_nothing],
    ids=lambda f: f.__name__,
)
async def test_client_is_served_by_the_second_broker_and_hears_nothing_of_the_first(
    fail: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "DIAL_S_MAX", 0.6)
    monkeypatch.setattr(upstream_module, "DIAL_S_MIN", 0.1)
    async with two_brokers() as (place, first, second):
        failing = asyncio.ensure_future(fail(first))
        client, upstream = await meet(place.port, second)
        await failing
        assert [line["event"] for line in place.warned] == ["upstream.failed"]
        assert place.warned[0]["upstream"] == f"127.0.0.1:{first.port}"
        assert place.tally.upstream_connections == 1
        states = place.dialer.states()
        assert [states[f"127.0.0.1:{broker.port}"].up for broker in (first, second)] == [False, True]
        # The next client does not ask the first one at all.
        other, other_upstream = await meet(place.port, second)
        assert (first.accepted, second.accepted) == (1, 2)
        for peer in (client, upstream, other, other_upstream):
            peer.abort()
        await eventually(lambda: place.idle, "all to be forgotten")


async def test_client_is_closed_before_start_when_all_fail() -> None:
    async with two_brokers() as (place, first, second):
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        await hang_up(first)
        await be_in_maintenance(second)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.reasons == ["conn.upstream"]
        assert place.dialer.reachable is False
        assert (first.accepted, second.accepted) == (1, 1)
        await client.close()


async def test_first_of_two_dead_of_three() -> None:
    async with ScriptedBroker() as third:
        endpoints = at(free_port(), free_port(), third.port)
        async with listening(1, endpoints=endpoints) as place:
            client, upstream = await meet(place.port, third)
            assert [line["event"] for line in place.warned] == ["upstream.unreachable"] * 2
            client.abort()
            upstream.abort()


async def test_only_broker_that_does_not_speak_has_the_whole_handshake() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, limits=Limits(handshake_s=0.3)) as place:
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        upstream = await broker.accept()
        assert await client.wait_for_end() == b""
        assert await upstream.wait_for_end() == PROTOCOL_HEADER
        assert [line["event"] for line in place.warned] == ["upstream.failed", "connection.closed"]
        assert place.warned[0]["error"] == "silent"
        await client.close()


async def test_broker_in_maintenance_is_left_by_the_next_client() -> None:
    """It says so after `open` only: this client is told, the next one goes elsewhere (protocol.md U2, U8)."""
    async with two_brokers() as (place, first, second):
        client = await connect(place.port)
        opening = asyncio.ensure_future(client.open())
        upstream = await first.accept()
        await upstream.answer_up_to_open()
        upstream.say(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))
        close = await opening
        assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - maintenance")
        await client.close()
        other, other_upstream = await meet(place.port, second)
        assert first.accepted == 1
        for peer in (other, other_upstream):
            peer.abort()


async def test_lost_broker_sends_its_clients_to_the_next_one() -> None:
    async with two_brokers() as (place, first, second):
        pairs = [await meet(place.port, first) for _ in range(3)]
        first.stop()
        for client, upstream in pairs:
            upstream.abort()
            close = await client.expect(commands.Connection.Close)
            assert (close.reply_code, "the broker is gone" in close.reply_text) == (320, True)
            client.say(0, commands.Connection.CloseOk())
            await client.wait_for_end()
            await client.close()
            again, again_upstream = await meet(place.port, second)
            again.abort()
            again_upstream.abort()
        await eventually(lambda: place.idle, "all to be forgotten")


@pytest.mark.parametrize("when", ["dialing", "awaiting start"])
async def test_client_that_leaves_on_the_way_to_the_second_broker_is_forgotten(when: str) -> None:
    async with ScriptedBroker() as first, ScriptedBroker() as second:
        with unanswering() as black:
            endpoints = at(first.port, black if when == "dialing" else second.port)
            async with listening(1, endpoints=endpoints) as place:
                client = await connect(place.port)
                client.send(PROTOCOL_HEADER)
                await hang_up(first)
                if when == "dialing":
                    await eventually(lambda: bool(place.warned), "the first to fail")
                    await eventually(lambda: place.dialer.dialing == 1, "the second dial")
                else:
                    upstream: Upstream = await second.accept()
                    assert await upstream.read(8) == PROTOCOL_HEADER
                await client.close()
                await eventually(lambda: place.idle, "the client to be forgotten")
                assert place.dialer.dialing == 0
