"""Back-pressure (protocol.md B1 to B3): a peer that does not read stops only what is sent to it."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pamqp import body, commands, header

from sealgate.net import leg
from sealgate.net.relay import instant
from sealgate.session.conversation import Role
from sealgate.session.limits import Limits
from support.certificates import Authority
from support.listening import Listening, listening
from support.peers import Client, ScriptedBroker, Upstream, at_rest, connect, eventually, open_channels
from support.talk import on, sealed, unsealed

pytestmark = pytest.mark.asyncio

LENIENT = Limits(failed_verifications_max=10**9)
CHUNK = bytes(100_000)
#: What one read of a socket can bring on top of any bound.
READ_BYTES = 262_144
#: Far more than both sockets' buffers in the kernel take on loopback.
FLOOD_BYTES = 64_000_000


@asynccontextmanager
async def flowing(
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    confirms: bool = False,
    role: Role = Role.VERIFY,
) -> AsyncIterator[tuple[Listening, ScriptedBroker, Client, Upstream]]:
    """A client and its upstream with a channel; more may be added. `tls` is (server's, client's)."""
    server, own = tls or (None, None)
    async with (
        ScriptedBroker() as broker,
        listening(broker.port, role=role, limits=LENIENT, tls=server) as place,
    ):
        client, upstream = await add_client(place, broker, own, confirms)
        try:
            yield place, broker, client, upstream
        finally:
            client.abort()
            upstream.abort()
        await eventually(lambda: place.listener.connections == 0, "both legs to close")


async def add_client(
    place: Listening, broker: ScriptedBroker, tls: ssl.SSLContext | None = None, confirms: bool = False
) -> tuple[Client, Upstream]:
    client = await connect(place.port, tls)
    shaking = asyncio.ensure_future(client.shake_hands())
    upstream = await (await broker.accept()).shake_hands()
    await shaking
    await open_channels(client, upstream, confirms)
    return client, upstream


async def serves_another(place: Listening, broker: ScriptedBroker, tls: ssl.SSLContext | None) -> bool:
    """Whether a second client publishes and is told, both in a moment."""
    client, upstream = await add_client(place, broker, tls, confirms=True)
    client.say(1, *sealed(now=instant().wall))
    await upstream.expect(commands.Basic.Publish)
    upstream.say(1, commands.Basic.Ack(1, False))
    answer = await client.expect(commands.Basic.Ack)
    client.abort()
    upstream.abort()
    return answer.delivery_tag == 1


@pytest.fixture(params=["plain", "tls"])
def contexts(
    request: pytest.FixtureRequest, authority: Authority
) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    if request.param == "plain":
        return None
    return authority.server(authority.issue("localhost")), authority.client()


async def test_client_that_does_not_read_stops_its_own_deliveries_only(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None,
) -> None:
    async with flowing(contexts) as (place, broker, client, upstream):
        client.stop_reading()
        (relay,) = place.relays
        delivery = on(
            1,
            commands.Basic.Deliver("tag", 1, False, "", "q"),
            header.ContentHeader(body_size=len(CHUNK)),
            body.ContentBody(CHUNK),
        )
        count = FLOOD_BYTES // len(delivery)
        for _ in range(count):
            upstream.send(delivery)
        assert await at_rest(upstream.writer.transport.get_write_buffer_size) > FLOOD_BYTES / 4
        assert relay.client.transport is not None
        assert relay.client.transport.get_write_buffer_size() < leg.WRITE_BUFFER_BYTES_MAX + 2 * READ_BYTES
        assert await serves_another(place, broker, contexts[1] if contexts else None)
        # What it says itself is still heard: it may acknowledge, or leave.
        client.say(1, commands.Basic.Ack(1, False))
        await upstream.expect(commands.Basic.Ack)
        client.resume_reading()
        for _ in range(count):
            await client.expect(commands.Basic.Deliver)
            await client.expect(header.ContentHeader)
            assert len((await client.expect(body.ContentBody)).value) == len(CHUNK)


async def test_broker_that_does_not_read_stops_its_own_client_only(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None,
) -> None:
    async with flowing(contexts) as (place, broker, client, upstream):
        upstream.stop_reading()
        count = FLOOD_BYTES // len(CHUNK)
        now = instant().wall
        for _ in range(count):
            client.say(1, *sealed(CHUNK, now=now))
        assert await at_rest(lambda: place.tally.messages["publish", "accepted", "ok"]) < count * 3 / 4
        (relay,) = place.relays
        assert relay.client.paused
        # A paused client is not judged by its silence, and the broker still is heard.
        upstream.say(1, commands.Basic.CancelOk("tag"))
        await client.expect(commands.Basic.CancelOk)
        assert await serves_another(place, broker, contexts[1] if contexts else None)
        upstream.resume_reading()
        for _ in range(count):
            await upstream.expect(commands.Basic.Publish)
            await upstream.expect(header.ContentHeader)
            assert len((await upstream.expect(body.ContentBody)).value) == len(CHUNK)


@pytest.mark.parametrize("role", [Role.VERIFY, Role.PASS])
async def test_burst_of_all_sizes_arrives_in_order_over_a_broker_that_pauses(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None, role: Role
) -> None:
    """Messages end anywhere in a read, and parts of reads wait to be sent."""
    dice = random.Random(7)
    sizes = [dice.choice((0, 30, 900, 16_384, 60_000, 300_000)) for _ in range(300)]
    bodies = [dice.randbytes(size) for size in sizes]
    async with flowing(contexts, role=role) as (place, _, client, upstream):
        upstream.stop_reading()
        now = instant().wall
        for content in bodies:
            method, header_, *_ = sealed(content, now=now)
            parts = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
            client.say(1, method, header_, *map(body.ContentBody, parts))
        await at_rest(client.writer.transport.get_write_buffer_size)
        (relay,) = place.relays
        assert relay.client.paused
        upstream.resume_reading()
        for content in bodies:
            await upstream.expect(commands.Basic.Publish)
            announced = await upstream.expect(header.ContentHeader)
            assert announced.body_size == len(content)
            came = b""
            while len(came) < len(content):
                came += (await upstream.expect(body.ContentBody)).value
            assert came == content


async def test_publisher_that_reads_nothing_until_it_is_done_gets_every_nack(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None,
) -> None:
    """No answer waits for the client to read, so that it never waits for itself."""
    count = 50_000
    async with flowing(contexts, confirms=True) as (_, _, client, _):
        client.stop_reading()
        refused = on(1, *unsealed())
        for _ in range(count // 100):
            client.send(refused * 100)
            await client.writer.drain()
        client.resume_reading()
        answers = await client.read(count * 21)
        nacks = {answers[at + 11 : at + 19] for at in range(0, len(answers), 21)}
        assert nacks == {tag.to_bytes(8, "big") for tag in range(1, count + 1)}
        assert answers[7:11] == b"\x00\x3c\x00\x78", "basic.nack"


@pytest.mark.replaces_core
async def test_client_that_does_not_read_what_it_is_owed_is_not_read_either(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Returned messages are as large as what was published; they do not pile up without end."""
    monkeypatch.setattr(leg, "OWED_BYTES_MAX", 1_000_000)
    async with flowing(contexts, confirms=True) as (place, _, client, _):
        client.stop_reading()
        count = FLOOD_BYTES // len(CHUNK)
        mandatory = on(1, *unsealed(CHUNK, mandatory=True))
        for _ in range(count):
            client.send(mandatory)
        assert (
            await at_rest(lambda: place.tally.messages["publish", "refused", "sig.missing"]) < count * 3 / 4
        )
        (relay,) = place.relays
        assert relay.client.transport is not None
        owed = relay.client.transport.get_write_buffer_size()
        # All of one read may be answered with its messages.
        assert owed < leg.OWED_BYTES_MAX + 2 * READ_BYTES + len(mandatory)
        client.resume_reading()
        for tag in range(1, count + 1):
            await client.expect(commands.Basic.Return)
            await client.expect(header.ContentHeader)
            await client.expect(body.ContentBody)
            assert (await client.expect(commands.Basic.Nack)).delivery_tag == tag


@pytest.mark.replaces_core
async def test_socket_that_was_asked_to_close_is_cut_when_it_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leg, "FLUSH_S_MAX", 0.2)
    async with flowing() as (place, _, client, upstream):
        client.stop_reading()
        for _ in range(FLOOD_BYTES // len(CHUNK)):
            upstream.say(1, body.ContentBody(CHUNK))
        await at_rest(upstream.writer.transport.get_write_buffer_size)
        # Held up as it is, the gateway still hears its client say good-bye.
        client.writer.write_eof()
        upstream.resume_reading()
        await eventually(lambda: place.tally.client_connections == 0, "the client to be cut")
        await upstream.answer_close()
        await eventually(lambda: place.idle, "both legs to close")
