"""Finding the broker: which one, in what order, and for how long."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

import pytest

from sealgate.net import upstream
from sealgate.net.endpoints import AVOID_S_MIN, Endpoint
from sealgate.net.upstream import DIAL_S_MAX, DIAL_S_MIN, Dialer
from support.certificates import Authority
from support.peers import ScriptedBroker, unanswering
from support.processes import free_port


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Warned(list[dict[str, Any]]):
    def __call__(self, event: str, key: str = "", **fields: Any) -> None:
        self.append({"event": event, "key": key, **fields})


class Kept(asyncio.Protocol):
    """A connection that is kept until it is cut."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


async def dialed(dialer: Dialer, *ports: int) -> int:
    """The port that a dial reaches, 0 for none."""
    made: list[Kept] = []

    def protocol() -> Kept:
        made.append(Kept())
        return made[-1]

    if not await dialer.dial(dialer.route(), protocol):
        return 0
    transport = made[-1].transport
    port = transport.get_extra_info("peername")[1]
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    transport.abort()
    await asyncio.sleep(0)
    return int(port)


def local(port: int, **more: Any) -> Endpoint:
    return Endpoint("127.0.0.1", port, **more)


# Which one


@pytest.mark.asyncio
async def test_probe_of_a_listening_broker_leaves_no_trouble() -> None:
    warned = Warned()
    async with ScriptedBroker() as broker:
        dialer = Dialer([local(broker.port)], warned)
        assert dialer.reachable is None
        for _ in range(5):
            assert await dialer.probe()
            assert await (await broker.accept()).wait_for_end() == b""
    assert (dialer.reachable, warned) == (True, [])


@pytest.mark.asyncio
async def test_probe_of_nobody_says_so() -> None:
    warned = Warned()
    port = free_port()
    dialer = Dialer([local(port)], warned)
    assert not await dialer.probe()
    assert dialer.reachable is False
    (line,) = warned
    assert (line["event"], line["upstream"]) == ("upstream.unreachable", f"127.0.0.1:{port}")


@pytest.mark.asyncio
async def test_first_broker_that_answers_is_taken_and_one_that_failed_is_tried_last_for_a_while() -> None:
    clock, warned = Clock(), Warned()
    first = free_port()
    async with ScriptedBroker() as second, ScriptedBroker() as third:
        dialer = Dialer([local(first), local(second.port), local(third.port)], warned, clock, lambda: 0.5)
        assert await dialed(dialer) == second.port
        assert await dialed(dialer) == second.port
        assert len(warned) == 1, "the dead one is tried once"
        async with ScriptedBroker(port=first):
            assert await dialed(dialer) == second.port
            clock.now += AVOID_S_MIN
            assert await dialed(dialer) == first
        assert third.accepted == 0


@pytest.mark.asyncio
async def test_route_leads_to_each_broker_once() -> None:
    async with ScriptedBroker() as first, ScriptedBroker() as second:
        dialer = Dialer([local(first.port), local(second.port), local(first.port)], Warned())
        route = dialer.route()
        made: list[Kept] = []

        def protocol() -> Kept:
            made.append(Kept())
            return made[-1]

        for port in (first.port, second.port):
            assert await dialer.dial(route, protocol) is made[-1]
            assert made[-1].transport.get_extra_info("peername")[1] == port
        assert await dialer.dial(route, protocol) is None
        for kept in made:
            kept.transport.abort()


@pytest.mark.asyncio
async def test_endpoint_that_does_not_answer_gets_its_share_of_the_patience_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it together stays below what clients wait (protocol.md U1)."""
    monkeypatch.setattr(upstream, "DIAL_S_MAX", 0.4)
    monkeypatch.setattr(upstream, "DIAL_S_MIN", 0.1)
    warned = Warned()
    with unanswering() as black, unanswering() as hole:
        async with ScriptedBroker() as broker:
            dialer = Dialer([local(black), local(hole), local(broker.port)], warned)
            assert await dialed(dialer) == broker.port
            assert [line["error"] for line in warned] == ["no answer"] * 2
            states = dialer.states()
            assert [state.up for state in states.values()] == [False, False, True]
            assert dialer.reachable
            assert await dialed(dialer) == broker.port
            assert len(warned) == 2


def test_patience_is_shared_out_over_those_that_are_left() -> None:
    clock = Clock()
    dialer = Dialer([local(1), local(2), local(3)], Warned(), clock)
    route = dialer.route()
    shares = []
    while route.left:
        route.current = route.left.pop(0)
        shares.append(dialer._share_s(route))
        clock.now += shares[-1]
    assert shares == pytest.approx([DIAL_S_MAX / 3] * 3)
    assert dialer.patience_s(route) is None, "there is no other to turn to"
    route = dialer.route()
    route.current = route.left.pop(0)
    dialer._share_s(route)
    clock.now += 1
    assert dialer.patience_s(route) == pytest.approx(DIAL_S_MAX / 3 - 1)
    clock.now += 100
    assert dialer.patience_s(route) == 0
    route.current = route.left.pop(0)
    assert dialer._share_s(route) == DIAL_S_MIN


@pytest.mark.asyncio
async def test_broker_that_could_be_connected_to_but_did_not_serve_is_not_trusted_for_its_socket() -> None:
    clock, warned = Clock(), Warned()
    async with ScriptedBroker() as first, ScriptedBroker() as second:
        dialer = Dialer([local(first.port), local(second.port)], warned, clock, lambda: 0.5)
        route = dialer.route()
        connected = await dialer.dial(route, Kept)
        assert isinstance(connected, Kept)
        connected.transport.abort()
        dialer.failed(route, "closed before connection.start")
        assert warned == [
            {
                "event": "upstream.failed",
                "key": f"127.0.0.1:{first.port}",
                "upstream": f"127.0.0.1:{first.port}",
                "error": "closed before connection.start",
            }
        ]
        assert await dialer.probe()
        assert dialer.states()[f"127.0.0.1:{first.port}"].up is False
        assert await dialed(dialer) == second.port
        clock.now += AVOID_S_MIN
        route = dialer.route()
        connected = await dialer.dial(route, Kept)
        assert isinstance(connected, Kept)
        connected.transport.abort()
        dialer.served(route)
        assert dialer.states()[f"127.0.0.1:{first.port}"].up is True


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["a" * 300, "not a host", ".starts.with.a.dot"])
async def test_name_that_can_not_be_asked_for_is_a_broker_that_is_away(name: str) -> None:
    warned = Warned()
    assert not await Dialer([Endpoint(name, 1)], warned).probe()
    assert warned[0]["event"] == "upstream.unreachable"


@pytest.mark.asyncio
async def test_broker_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    """A port that accepts and then says nothing to a TLS client."""
    monkeypatch.setattr(upstream, "DIAL_S_MAX", 0.1)
    warned = Warned()
    async with ScriptedBroker() as broker:
        dialer = Dialer([local(broker.port, tls=authority.client(), server_name="localhost")], warned)
        assert not await dialer.probe()
    assert [line["error"] for line in warned] == ["no answer"]


@pytest.mark.asyncio
async def test_broker_is_known_by_the_name_in_its_certificate(authority: Authority) -> None:
    warned = Warned()
    context = authority.client()
    async with ScriptedBroker(tls=authority.server(authority.issue("broker.test"))) as broker:
        right = Dialer([local(broker.port, tls=context, server_name="broker.test")], warned)
        assert await dialed(right) == broker.port
        assert warned == []
        for name in ("other.test", "127.0.0.1"):
            assert not await Dialer([local(broker.port, tls=context, server_name=name)], warned).probe()
        stranger = local(broker.port, tls=ssl.create_default_context(), server_name="broker.test")
        assert not await Dialer([stranger], warned).probe()
    assert len(warned) == 3
    assert all("certificate verify failed" in line["error"].lower() for line in warned)


@pytest.mark.asyncio
async def test_broker_without_tls_is_not_talked_to_by_a_dialer_with(authority: Authority) -> None:
    warned = Warned()
    async with ScriptedBroker() as broker:
        dialer = Dialer([local(broker.port, tls=authority.client(), server_name="localhost")], warned)
        probing = asyncio.ensure_future(dialer.probe())
        hello = await broker.accept()
        hello.send(b"AMQP\x00\x00\x09\x01")
        assert not await probing
        assert b"AMQP" not in await hello.wait_for_end()
    assert len(warned) == 1


# How many


@pytest.mark.asyncio
async def test_dials_beyond_the_limit_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted broker is not run over by everyone at once."""
    monkeypatch.setattr(upstream, "DIALS_MAX", 2)
    under_way, most = 0, 0
    dialer = Dialer([local(1)], Warned())

    async def slow(*_: object) -> asyncio.Protocol:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return asyncio.Protocol()

    monkeypatch.setattr(dialer, "_connect", slow)
    dials = [dialer.dial(dialer.route(), asyncio.Protocol) for _ in range(10)]
    assert None not in await asyncio.gather(*dials)
    assert most == 2
