"""What the kernel was told about the sockets of both legs, over IPv4 and IPv6, and what passers-by leave."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct

import pytest

from sealgate.net.endpoints import Endpoint
from sealgate.net.sockets import KEEPALIVE
from support.certificates import Authority
from support.listening import Listening, listening
from support.peers import PROTOCOL_HEADER, ScriptedBroker, eventually, meet
from support.processes import free_port

pytestmark = pytest.mark.asyncio

RESET = struct.pack("ii", 1, 0)
PASSERS_BY = 60


def sockets_of(place: Listening) -> list[socket.socket]:
    """The gateway's own, of its only relay: towards the client and towards the broker."""
    (relay,) = place.relays
    legs = (relay.client, relay._dialing.upstream)
    transports = [leg.transport for leg in legs if leg is not None and leg.transport is not None]
    return [transport.get_extra_info("socket") for transport in transports]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_both_legs_send_at_once_and_notice_a_peer_that_vanished(
    authority: Authority, secure: bool, host: str
) -> None:
    """Without a heartbeat nothing else would (protocol.md K7); small frames wait for nothing."""
    server: ssl.SSLContext | None = None
    own: ssl.SSLContext | None = None
    if secure:
        server, own = authority.server(authority.issue("localhost")), authority.client()
    async with ScriptedBroker(tls=server, host=host) as broker:
        endpoint = Endpoint(host, broker.port, own, "localhost" if secure else None)
        async with listening(1, endpoints=[endpoint], host=host, tls=server) as place:
            client, upstream = await meet(place.port, broker, tls=own, host=host)
            sockets = sockets_of(place)
            assert len(sockets) == 2
            for used in sockets:
                assert used.family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
                assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                for name, value in KEEPALIVE:
                    if hasattr(socket, name):
                        assert used.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
            assert place.relays[0].address.startswith(f"[{host}]:" if ":" in host else f"{host}:")
            client.abort()
            upstream.abort()
            await eventually(lambda: place.idle, "both to be forgotten")


async def test_broker_on_ipv6_is_reached_through_a_socket_for_both_kinds() -> None:
    port = free_port()
    both_kinds = listening(1, endpoints=[Endpoint("::1", port)], host="::")
    async with ScriptedBroker(port=port, host="::1") as broker, both_kinds as place:
        client, upstream = await meet(place.port, broker)
        assert place.relays[0].host == "127.0.0.1"
        client.abort()
        upstream.abort()
        await eventually(lambda: place.idle, "both to be forgotten")


async def test_clients_of_both_kinds_share_no_limit_and_one_client_does_not_get_round_it() -> None:
    """An IPv4 client is one address, whether it is told as such or as mapped."""
    async with listening(1, host="::", connections_per_address_max=1) as place:
        sockets = []
        for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            sockets.append(socket.create_connection((host, place.port)))
            await eventually(lambda: len(place.relays) + len(place.reasons) == len(sockets), "the client")
        assert sorted(relay.host for relay in place.relays) == ["127.0.0.1", "::1"]
        assert place.reasons == ["conn.limit"]
        for connected in sockets:
            connected.close()
        await eventually(lambda: place.idle, "all to be forgotten")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("said", [b"", PROTOCOL_HEADER[:3], b"\x16\x03\x01"], ids=["", "AMQP", "TLS"])
async def test_passers_by_leave_no_connection_to_the_broker_no_warning_and_no_file(
    authority: Authority, how: str, secure: bool, said: bytes
) -> None:
    """Port scans and health checks (protocol.md H4, L7)."""
    server = authority.server(authority.issue("localhost")) if secure else None
    quiet = said == b"" or (said[:1] == b"\x16") is secure
    async with ScriptedBroker() as broker, listening(broker.port, tls=server) as place:
        files = len(os.listdir("/dev/fd"))
        for _ in range(PASSERS_BY):
            with socket.create_connection(("127.0.0.1", place.port)) as passing:
                if how == "reset":
                    passing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                passing.sendall(said)
            await asyncio.sleep(0)
        # The last one behind all others: they were seen when it is.
        with socket.create_connection(("127.0.0.1", place.port)):
            await eventually(lambda: place.listener.connections > 0, "the last one")
        await eventually(lambda: place.idle, "all to be forgotten")
        await eventually(lambda: len(os.listdir("/dev/fd")) <= files, "the sockets to be closed")
        assert broker.accepted == 0
        if quiet:
            assert place.warned == []
