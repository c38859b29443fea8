from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
from pamqp import body, commands, header

from sealgate.net import leg
from sealgate.net import relay as relay_module
from sealgate.net.endpoints import Route
from sealgate.session.limits import Limits
from sealgate.session.session import Session
from support.listening import Listening, listening
from support.peers import (
    PROTOCOL_HEADER,
    Client,
    ScriptedBroker,
    Upstream,
    connect,
    eventually,
    meet,
    open_channels,
    unanswering,
)
from support.talk import sealed, unsealed

pytestmark = pytest.mark.asyncio

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
HASTY = Limits(handshake_s=0.2, close_s=0.2)


def fresh(payload: bytes = b"hello") -> list[object]:
    """The parts of a publish that was sealed just now."""
    return sealed(payload, now=relay_module.instant().wall)


async def take_publish(upstream: Upstream) -> bytes:
    """The body of the next message that reaches the broker."""
    await upstream.expect(commands.Basic.Publish)
    await upstream.expect(header.ContentHeader)
    return bytes((await upstream.expect(body.ContentBody)).value)


async def both_closed(place: Listening, client: Client, upstream: Upstream) -> None:
    """The client hangs up, the broker is told, nothing is left."""
    await client.close()
    await upstream.answer_close()
    await eventually(lambda: place.idle, "both legs to close")


# The way in


@pytest.mark.parametrize("said", [b"", b"AMQP\x00\x00"])
async def test_client_that_only_connects_leaves_no_trace(said: bytes) -> None:
    """Health checks and port scans (protocol.md H4, L7)."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client = await connect(place.port)
        client.send(said)
        await eventually(lambda: place.listener.connections == 1, "the client to be accepted")
        await client.close()
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert (broker.accepted, place.warned) == (0, [])


async def test_client_that_speaks_something_else_is_told_our_protocol_and_closed() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client = await connect(place.port)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.wait_for_end() == PROTOCOL_HEADER
        assert broker.accepted == 0
        (line,) = place.warned
        assert (line["event"], line["reason"]) == ("connection.closed", "conn.protocol")
        assert line["client"].startswith("127.0.0.1:")
        await client.close()


@pytest.mark.parametrize("said", [b"", PROTOCOL_HEADER], ids=["silent", "silent after its header"])
async def test_handshake_that_takes_too_long_is_cut(said: bytes) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, limits=HASTY) as place:
        client = await connect(place.port)
        client.send(said)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "both legs to close")
        assert place.reasons == ["conn.handshake"]
        await client.close()


async def test_client_that_leaves_while_the_broker_is_dialed_is_forgotten() -> None:
    """The dial must not outlive its client, nor keep the place of its address."""
    with unanswering() as port:
        async with listening(port, connections_per_address_max=1) as place:
            for _ in range(2):
                client = await connect(place.port)
                client.send(PROTOCOL_HEADER)
                await eventually(lambda: place.dialer.dialing == 1, "the dial to begin")
                await client.close()
                await eventually(lambda: place.idle, "the client to be forgotten")
                assert place.dialer.dialing == 0
            assert place.reasons == []


async def test_client_of_an_unreachable_broker_is_closed_before_start(unused_tcp_port: int) -> None:
    async with listening(unused_tcp_port) as place:
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert [line["event"] for line in place.warned] == ["upstream.unreachable", "connection.closed"]
        assert place.reasons == ["conn.upstream"]
        await client.close()


# The way through


async def test_publish_passes_and_its_confirm_comes_back() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream, confirms=True)
        client.say(1, *fresh())
        assert await take_publish(upstream) == b"hello"
        upstream.say(1, commands.Basic.Ack(1, False))
        assert (await client.expect(commands.Basic.Ack)).delivery_tag == 1
        assert sum(place.tally.verify_seconds.counts) == 1
        await both_closed(place, client, upstream)
        assert place.warned == []


async def test_store_is_asked_and_told_in_order() -> None:
    """What is settled goes before what is claimed anew: a nonce given back can be claimed again at once."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream, confirms=True)
        again = fresh(b"first")
        client.say(1, *again, *fresh(b"second"))
        assert [await take_publish(upstream) for _ in range(2)] == [b"first", b"second"]
        upstream.say(1, commands.Basic.Nack(1, False), commands.Basic.Ack(2, False))
        await client.expect(commands.Basic.Nack)
        await client.expect(commands.Basic.Ack)
        client.say(1, *again)
        assert await take_publish(upstream) == b"first"
        assert place.store.calls == ["claim", "claim", "commit", "release", "claim"]
        await client.close()
        upstream.say(1, commands.Basic.Ack(3, False))
        await upstream.answer_close()
        await eventually(lambda: place.idle, "both legs to close")
        assert place.store.calls[5:] == ["commit"]


async def test_leases_are_renewed_while_the_broker_owes_an_answer() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, limits=Limits(renew_s=0.01)) as place:
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream, confirms=True)
        client.say(1, *fresh())
        await take_publish(upstream)
        await eventually(lambda: place.store.calls[1:2] == ["renew"], "a renewal, at the next tick")
        upstream.say(1, commands.Basic.Ack(1, False))
        await client.expect(commands.Basic.Ack)
        assert place.store.calls[-1] == "commit"
        await both_closed(place, client, upstream)


async def test_client_is_not_read_while_too_much_waits_for_the_store() -> None:
    limits = Limits(claims_inflight_max=1)
    async with ScriptedBroker() as broker, listening(broker.port, limits=limits) as place:
        place.store.answers_at_once = False
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream)
        client.say(1, *fresh(b"first"))
        await eventually(lambda: place.store.calls == ["claim"], "the first claim")
        client.say(1, *fresh(b"second"))
        await asyncio.sleep(0.1)
        assert place.store.calls == ["claim"]
        place.store.waiting.pop()()
        assert await take_publish(upstream) == b"first"
        await eventually(lambda: len(place.store.waiting) == 1, "the second claim")
        place.store.waiting.pop()()
        assert await take_publish(upstream) == b"second"
        await both_closed(place, client, upstream)


async def test_refused_publish_is_handed_on_to_be_kept() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream, confirms=True)
        client.say(1, *unsealed())
        await client.expect(commands.Basic.Nack)
        assert [record.reason.value for record in place.kept] == ["sig.missing"]
        assert place.kept[0].client.startswith("127.0.0.1:")
        await both_closed(place, client, upstream)


# The ends


async def test_half_closed_client_is_let_go_at_once() -> None:
    """As RabbitMQ does (protocol.md X6)."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        client.writer.write_eof()
        assert await client.wait_for_end() == b""
        await upstream.answer_close()
        await eventually(lambda: place.idle, "both legs to close")
        await client.close()


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_lost_broker_is_told_as_320_and_logged_once(how: str) -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        if how == "reset":
            upstream.abort()
        else:
            upstream.writer.write_eof()
        close = await client.expect(commands.Connection.Close)
        assert (close.reply_code, close.reply_text[:16]) == (320, "CONNECTION_FORCE")
        client.say(0, commands.Connection.CloseOk())
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "both legs to close")
        assert place.reasons == ["conn.upstream"]
        await client.close()


@pytest.mark.replaces_core
async def test_a_bug_at_a_tick_ends_its_own_session_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[Session] = []

    def rests(session: Session, mono: float, late_s: float) -> bool:
        if session in broken:
            raise RuntimeError("a bug")
        ticked.append(session)
        return True

    ticked: list[Session] = []
    monkeypatch.setattr(Session, "rests", rests)
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await eventually(lambda: bool(ticked), "a tick of the first")
        broken.append(ticked[0])
        other, other_upstream = await meet(place.port, broker)
        assert await client.wait_for_end() == b""
        assert await upstream.wait_for_end() == b""
        await eventually(lambda: ticked[-1] is not broken[0], "a tick of the second")
        assert place.tally.client_connections == 1
        await other.close()
        await other_upstream.answer_close()
        await client.close()


async def test_client_that_vanishes_takes_the_broker_side_with_it() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        client.abort()
        await upstream.answer_close()
        await eventually(lambda: place.idle, "both legs to close")
        assert place.warned == []


async def close_and_hear(client: Client, upstream: Upstream) -> None:
    """The client closes as it should, and is told so; its socket is still open."""
    client.say(0, commands.Connection.Close(200, "bye", 0, 0))
    await upstream.expect(commands.Connection.Close)
    upstream.say(0, commands.Connection.CloseOk())
    await client.expect(commands.Connection.CloseOk)


@pytest.mark.replaces_core
async def test_client_that_has_closed_is_left_to_hang_up_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of several threads take a socket that ends before they do for a loss (protocol.md X3)."""
    monkeypatch.setattr(leg, "LINGER_S_MAX", 3600)
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await close_and_hear(client, upstream)
        await eventually(lambda: place.tally.upstream_connections == 0, "the broker to be let go")
        client.send(b"whatever it still says counts for nothing")
        assert await upstream.wait_for_end() == b""
        assert place.tally.client_connections == 1
        await client.close()
        await eventually(lambda: place.idle, "both legs to close")
        assert place.warned == []


@pytest.mark.replaces_core
async def test_client_that_has_closed_and_does_not_hang_up_is_closed_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leg, "LINGER_S_MAX", 0.2)
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await close_and_hear(client, upstream)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "both legs to close")
        await client.close()


async def test_broker_that_does_not_answer_a_close_is_cut() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, limits=HASTY) as place:
        client, upstream = await meet(place.port, broker)
        await client.close()
        await upstream.expect(commands.Connection.Close)
        assert await upstream.wait_for_end() == b""
        await eventually(lambda: place.idle, "both legs to close")


async def test_silent_broker_is_told_as_320_by_heartbeats() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker, heartbeat_s=1)
        close = asyncio.ensure_future(client.expect(commands.Connection.Close))
        while not close.done():
            client.send(HEARTBEAT)
            await asyncio.sleep(0.2)
        assert close.result().reply_code == 320
        client.say(0, commands.Connection.CloseOk())
        assert HEARTBEAT in await upstream.wait_for_end()
        await eventually(lambda: place.idle, "both legs to close")
        assert place.reasons == ["conn.upstream"]
        assert "silent" in place.warned[0]["detail"]
        await client.close()


async def test_drain_sends_clients_away_and_cuts_those_that_do_not_come_in() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, limits=Limits(close_s=0.5)) as place:
        client, upstream = await meet(place.port, broker)
        newcomer = await connect(place.port)
        await eventually(lambda: place.listener.connections == 2, "both clients")
        place.listener.drain()
        close = await client.expect(commands.Connection.Close)
        assert "conn.shutdown" in close.reply_text
        client.say(0, commands.Connection.CloseOk())
        await upstream.answer_close()
        assert await newcomer.wait_for_end() == b""
        assert await place.listener.emptied(5)
        assert place.warned == []
        for peer in (client, newcomer):
            await peer.close()


# Our own bugs


async def test_bug_ends_one_connection_and_gives_its_memory_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        other, other_upstream = await meet(place.port, broker)
        await open_channels(client, upstream)
        await open_channels(other, other_upstream)
        half = unsealed(b"half a body")[:2]
        client.say(1, *half)
        await eventually(lambda: place.tally.buffered_bytes > 0, "half a message")

        def broken(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(place.store, "claim", broken)
        with caplog.at_level(logging.ERROR):
            client.say(2, commands.Channel.Open())
            client.say(2, *fresh())
            assert await client.wait_for_end() == b""
            await upstream.wait_for_end()
        assert [record.getMessage() for record in caplog.records] == ["session failed"]
        monkeypatch.undo()
        await eventually(lambda: place.tally.buffered_bytes == 0, "its memory back")
        other.say(1, *fresh(b"other"))
        assert await take_publish(other_upstream) == b"other"
        await client.close()
        await both_closed(place, other, other_upstream)


async def test_broker_that_answers_after_its_client_left_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dial that could not be stopped any more finds its session closed."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        dial = place.dialer.dial
        client_left = asyncio.Event()

        async def stubborn(route: Route, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Protocol | None:
            with contextlib.suppress(asyncio.CancelledError):
                await client_left.wait()
            return await dial(route, protocol)

        monkeypatch.setattr(place.dialer, "dial", stubborn)
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        await eventually(lambda: place.listener.connections == 1, "the client to be accepted")
        await asyncio.sleep(0.05)
        await client.close()
        upstream = await broker.accept()
        assert await upstream.wait_for_end() == b""
        await eventually(lambda: place.idle, "both legs to close")
