"""Clients behind a load balancer that names them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import struct

import pytest
from pamqp import commands

from sealgate.net import listener
from sealgate.net.proxy_header import V2_START
from sealgate.session.limits import Limits
from support.certificates import Authority
from support.listening import listening
from support.peers import PROTOCOL_HEADER, Client, ScriptedBroker, connect, eventually

pytestmark = pytest.mark.asyncio

LOOPBACK = [ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1")]
ELSEWHERE = [ipaddress.ip_network("192.0.2.0/24")]
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5671\r\n"
V2 = V2_START + struct.pack("!BBH4B4BHH", 0x21, 0x11, 12, 192, 0, 2, 7, 198, 51, 100, 1, 50_000, 5671)
LOCAL = V2_START + struct.pack("!BBH", 0x20, 0x00, 0)
HASTY = Limits(handshake_s=0.3)


async def hears_start(client: Client, broker: ScriptedBroker) -> None:
    """The client has sent its protocol header: it gets through to the broker and back."""
    upstream = await broker.accept()
    assert await upstream.read(8) == PROTOCOL_HEADER
    upstream.say(0, commands.Connection.Start(server_properties={}))
    await client.expect(commands.Connection.Start)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("how", ["one segment", "bytes"])
async def test_client_is_known_by_the_address_in_the_header(header: bytes, how: str) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        data = header + PROTOCOL_HEADER
        for at in range(0, len(data), len(data) if how == "one segment" else 1):
            client.send(data[at:] if how == "one segment" else data[at : at + 1])
            await asyncio.sleep(0.001)
        await hears_start(client, broker)
        (relay,) = place.relays
        assert (relay.host, relay.address) == ("192.0.2.7", "192.0.2.7:50000")
        assert relay.session is not None
        assert relay.session.conversation.peer.address == "192.0.2.7:50000"
        client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.warned == []


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_client_hello_in_the_headers_segment_is_not_lost(authority: Authority, header: bytes) -> None:
    tls = authority.server(authority.issue("localhost"))
    async with ScriptedBroker() as broker, listening(broker.port, tls=tls, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        own = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            own.do_handshake()
        client.send(header + outgoing.read())
        while True:
            try:
                own.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(await client.some())
        own.write(PROTOCOL_HEADER)
        client.send(outgoing.read())
        assert await (await broker.accept()).read(8) == PROTOCOL_HEADER
        assert [relay.host for relay in place.relays] == ["192.0.2.7"]
        client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the client to be forgotten")


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
async def test_connection_of_the_proxys_own_has_its_own_address(header: bytes) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        client.send(header + PROTOCOL_HEADER)
        await hears_start(client, broker)
        assert [relay.host for relay in place.relays] == ["127.0.0.1"]
        client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the client to be forgotten")


@pytest.mark.parametrize("said", [b"", V1[:10], LOCAL], ids=["nothing", "half", "local"])
async def test_health_check_leaves_no_trace(said: bytes) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        client.send(said)
        await eventually(lambda: place.listener.connections == 1, "the connection")
        await client.close()
        await eventually(lambda: place.idle, "it to be forgotten")
        assert (broker.accepted, place.warned) == (0, [])


@pytest.mark.parametrize("said", [PROTOCOL_HEADER, b"\x16\x03\x01", b"PROXY TCP4 nonsense\r\n"])
async def test_proxy_that_does_not_name_its_client_is_refused(said: bytes) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        client.send(said)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "it to be forgotten")
        assert place.reasons == ["conn.protocol"]
        assert "PROXY" in place.warned[0]["detail"]
        assert place.warned[0]["client"].startswith("127.0.0.1:")
        assert broker.accepted == 0
        await client.close()


@pytest.mark.parametrize("said", [b"", V1[:-1]], ids=["nothing", "half"])
async def test_header_has_the_time_of_the_handshake(said: bytes) -> None:
    async with listening(1, proxies=LOOPBACK, limits=HASTY) as place:
        client = await connect(place.port)
        client.send(said)
        assert await client.wait_for_end() == b""
        await eventually(lambda: place.idle, "it to be forgotten")
        assert place.reasons == ["conn.handshake"]
        await client.close()


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_header_from_elsewhere_is_a_wrong_protocol_header(header: bytes) -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=ELSEWHERE) as place:
        client = await connect(place.port)
        client.send(header + PROTOCOL_HEADER)
        assert await client.wait_for_end() == PROTOCOL_HEADER
        assert place.reasons == ["conn.protocol"]
        assert place.warned[0]["client"].startswith("127.0.0.1:")
        assert broker.accepted == 0
        await client.close()


async def test_client_from_elsewhere_needs_no_header() -> None:
    async with ScriptedBroker() as broker, listening(broker.port, proxies=ELSEWHERE) as place:
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        await hears_start(client, broker)
        client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the client to be forgotten")


async def test_limit_counts_clients_not_their_proxy() -> None:
    async with ScriptedBroker() as broker:
        place_of = listening(broker.port, proxies=LOOPBACK, connections_per_address_max=1)
        async with place_of as place:
            clients = []
            for last in (1, 2, 1):
                clients.append(await connect(place.port))
                clients[-1].send(b"PROXY TCP4 192.0.2.%d 198.51.100.1 50000 5671\r\n" % last)
                await eventually(lambda: len(place.relays) + len(place.reasons) == len(clients), "the client")
            assert await clients[-1].wait_for_end() == b""
            assert place.reasons == ["conn.limit"]
            assert place.warned[0]["client"] == "192.0.2.1:50000"
            for client in clients:
                client.abort()
            await eventually(lambda: place.idle, "all to be forgotten")


async def test_connections_without_a_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "UNNAMED_MAX", 2)
    async with listening(1, proxies=LOOPBACK) as place:
        waiting = [await connect(place.port) for _ in range(2)]
        await eventually(lambda: place.listener.connections == 2, "two without a name")
        late = await connect(place.port)
        assert await late.wait_for_end() == b""
        assert place.reasons == ["conn.limit"]
        assert place.tally.limits_hit["unnamed_max"] == 1
        waiting[0].send(V1)
        await eventually(lambda: len(place.relays) == 1, "a name")
        again = await connect(place.port)
        await eventually(lambda: place.listener.connections == 3, "a place for another one")
        for client in (*waiting, late, again):
            client.abort()
        await eventually(lambda: place.idle, "all to be forgotten")


async def test_mapped_address_is_told_as_ipv4() -> None:
    async with listening(1, proxies=LOOPBACK) as place:
        client = await connect(place.port)
        client.send(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 50000 5671\r\n")
        await eventually(lambda: len(place.relays) == 1, "the client")
        assert place.relays[0].address == "192.0.2.7:50000"
        client.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")


@pytest.mark.parametrize("bound", ["::", "::1"])
async def test_proxy_is_known_on_a_socket_for_both_kinds(bound: str) -> None:
    async with listening(1, host=bound, proxies=LOOPBACK) as place:
        client = await connect(place.port, host="::1" if bound == "::1" else "127.0.0.1")
        client.send(b"PROXY TCP6 2001:db8::7 ::1 50000 5671\r\n")
        await eventually(lambda: len(place.relays) == 1, "the client")
        assert place.relays[0].address == "[2001:db8::7]:50000"
        client.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")


@pytest.mark.parametrize("how", ["drain", "close"])
async def test_connections_without_a_name_yet_hold_up_no_end(how: str) -> None:
    async with listening(1, proxies=LOOPBACK, limits=Limits(close_s=0.2)) as place:
        sockets = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(3)]
        sockets[0].sendall(V1[:10])
        await eventually(lambda: place.listener.connections == 3, "the connections")
        if how == "drain":
            place.listener.drain()
            assert await place.listener.emptied(20)
        else:
            await place.listener.close()
        assert place.listener.connections == 0
        assert place.warned == []
        for connected in sockets:
            connected.close()
