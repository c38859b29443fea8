"""TLS towards the broker: its name, our certificate, the versions, and either end without TLS."""

from __future__ import annotations

import ssl
import warnings

import pytest

from sealgate.net.endpoints import Endpoint
from sealgate.net.tls import client_context, server_context
from sealgate.net.upstream import Dialer
from support.certificates import Authority
from support.listening import Listening, listening
from support.peers import PROTOCOL_HEADER, ScriptedBroker, Upstream, connect, eventually

pytestmark = pytest.mark.asyncio


def at(broker: ScriptedBroker, context: ssl.SSLContext | None, name: str = "broker.test") -> Endpoint:
    return Endpoint("127.0.0.1", broker.port, context, name if context is not None else None)


async def reached(place: Listening, broker: ScriptedBroker) -> Upstream:
    """The broker's end of a client's connection, after the client's first words have come through."""
    client = await connect(place.port)
    client.send(PROTOCOL_HEADER)
    upstream = await broker.accept()
    assert await upstream.read(8) == PROTOCOL_HEADER
    client.abort()
    return upstream


async def refused(place: Listening) -> str:
    """Why a client was closed before `start`, from the one line about its broker."""
    client = await connect(place.port)
    client.send(PROTOCOL_HEADER)
    assert await client.wait_for_end() == b""
    await client.close()
    await eventually(lambda: place.idle, "the client to be forgotten")
    (line,) = [line for line in place.warned if line["event"].startswith("upstream.")]
    assert place.reasons == ["conn.upstream"]
    return str(line["error"])


async def test_broker_is_asked_for_by_name_and_shown_our_certificate_and_no_protocol(
    authority: Authority,
) -> None:
    pair, person = authority.issue("broker.test"), authority.issue("gateway.test")
    server = server_context(pair.cert, pair.key, authority.ca)
    server.set_alpn_protocols(["amqp"])
    asked: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    context = client_context(authority.ca, person.cert, person.key, True)
    async with ScriptedBroker(tls=server) as broker, listening(1, endpoints=[at(broker, context)]) as place:
        upstream = await reached(place, broker)
        certificate = upstream.writer.get_extra_info("peercert")
        assert certificate["subject"][0][0][1] == "gateway.test"
        assert upstream.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
        assert asked == ["broker.test"]
        upstream.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")


async def test_broker_that_wants_a_certificate_gets_none_of_who_has_none(authority: Authority) -> None:
    pair = authority.issue("broker.test")
    server = server_context(pair.cert, pair.key, authority.ca)
    context = client_context(authority.ca, None, None, True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with ScriptedBroker(tls=server) as broker, listening(1, endpoints=[at(broker, context)]) as place:
        assert await refused(place)


async def test_broker_with_tls_1_1_only_is_not_talked_to(authority: Authority) -> None:
    old = authority.server(authority.issue("broker.test"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    ours = client_context(authority.ca, None, None, True)
    assert ours.minimum_version is ssl.TLSVersion.TLSv1_2
    async with ScriptedBroker(tls=old) as broker:
        async with listening(1, endpoints=[at(broker, ours)]) as place:
            assert await refused(place)
        # With the same cipher suites allowed, and the version alone in the way.
        ours.set_ciphers("ALL:@SECLEVEL=0")
        async with listening(1, endpoints=[at(broker, ours)]) as place:
            assert await refused(place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            ours.minimum_version = ssl.TLSVersion.TLSv1_1
        async with listening(1, endpoints=[at(broker, ours)]) as place:
            (await reached(place, broker)).abort()
            await eventually(lambda: place.idle, "the client to be forgotten")


async def test_broker_with_another_name_is_not_talked_to(authority: Authority) -> None:
    server = authority.server(authority.issue("other.test"))
    async with ScriptedBroker(tls=server) as broker:
        context = client_context(authority.ca, None, None, True)
        async with listening(1, endpoints=[at(broker, context)]) as place:
            assert "Hostname mismatch" in await refused(place)


async def test_broker_with_tls_is_not_talked_to_without(authority: Authority) -> None:
    server = authority.server(authority.issue("broker.test"))
    async with ScriptedBroker(tls=server) as broker, listening(1, endpoints=[at(broker, None)]) as place:
        assert await refused(place) in ("speaks no AMQP 0-9-1", "lost in the handshake")


async def test_new_context_is_for_the_next_dials_and_what_is_known_of_brokers_stays(
    authority: Authority,
) -> None:
    told: list[str] = []
    server = authority.server(authority.issue("broker.test"))
    async with ScriptedBroker(tls=server) as broker, ScriptedBroker() as plain:
        endpoints = [at(broker, ssl.create_default_context()), at(plain, None)]
        dialer = Dialer(endpoints, lambda event, *_, **__: told.append(event))
        await dialer.probe()
        assert [state.up for state in dialer.states().values()] == [False, True]
        route = dialer.route()
        context = client_context(authority.ca, None, None, True)
        dialer.use_tls(context)
        assert [target.tls for target in dialer.endpoints] == [context, None]
        assert [state.up for state in dialer.states().values()] == [False, True]
        await dialer.probe()
        assert [state.up for state in dialer.states().values()] == [True, True]
        # Who is on its way with the old one may go on, and be remembered.
        route.current = route.left[0]
        dialer.failed(route, "lost in the handshake")
        assert told == ["upstream.unreachable", "upstream.failed"]
