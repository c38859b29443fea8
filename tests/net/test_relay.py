from __future__ import annotations

import pytest
from pamqp import body, commands, header

from sealgate.net import relay as relay_module
from sealgate.session.limits import Limits
from support.listening import listening
from support.peers import ScriptedBroker, connect, eventually, meet, open_channels
from support.talk import sealed

pytestmark = pytest.mark.asyncio

LENIENT = Limits(failed_verifications_max=10**9)


async def test_client_that_only_connects_leaves_no_trace() -> None:
    """Health checks and port scans (protocol.md H4, L7)."""
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        for said in (b"", b"AMQP\x00\x00"):
            client = await connect(place.port)
            client.send(said)
            await eventually(lambda: place.listener.connections == 1, "the client to be accepted")
            await client.close()
            await eventually(lambda: place.idle, "the client to be forgotten")
        assert broker.accepted == 0
        assert place.warned == []


async def test_publish_passes_and_its_confirm_comes_back() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client, upstream = await meet(place.port, broker)
        await open_channels(client, upstream, confirms=True)
        client.say(1, *sealed(b"hello", now=relay_module.instant().wall))
        await upstream.expect(commands.Basic.Publish)
        await upstream.expect(header.ContentHeader)
        assert (await upstream.expect(body.ContentBody)).value == b"hello"
        upstream.say(1, commands.Basic.Ack(1, False))
        assert (await client.expect(commands.Basic.Ack)).delivery_tag == 1
        assert place.store.calls == ["claim", "commit"]
        assert sum(place.tally.verify_seconds.counts) == 1
        await client.close()
        await upstream.answer_close()
        await eventually(lambda: place.idle, "both legs to close")
        assert place.warned == []
