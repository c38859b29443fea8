"""Every address of a name is tried, and one that does not answer holds up nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path

import pytest

from sealgate.net import connecting
from sealgate.net.connecting import addresses_of, connect
from sealgate.net.endpoints import Endpoint
from support.certificates import Authority
from support.listening import listening
from support.peers import ScriptedBroker, eventually, unanswering
from support.processes import free_port

pytestmark = pytest.mark.asyncio


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""

    async def told(_: Endpoint) -> list[str]:
        return list(addresses)

    monkeypatch.setattr(connecting, "addresses_of", told)


async def reached(target: Endpoint) -> str:
    """The address that a connection leads to; it is then cut."""
    transport, _ = await connect(target, asyncio.Protocol)
    address = transport.get_extra_info("peername")[0]
    transport.abort()
    await asyncio.sleep(0)
    return str(address)


async def test_name_is_asked_for_all_its_addresses() -> None:
    assert await addresses_of(Endpoint("127.0.0.1", 1)) == ["127.0.0.1"]
    assert await addresses_of(Endpoint("::1", 1)) == ["::1"]
    assert "127.0.0.1" in await addresses_of(Endpoint("localhost", 1))


def scoped_address() -> str:
    """An address of this machine that only means something with the name of its link; skips without one."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else []:
        digits, _, _, scope, flags, name = line.split()
        if scope == "20" and not int(flags, 16) & 0x40:  # of one link, and not tentative
            return f"{ipaddress.IPv6Address(bytes.fromhex(digits))}%{name}"
    pytest.skip("no link-local address here")


async def test_scoped_address_is_listened_on_connected_to_and_told_without_its_scope() -> None:
    address = scoped_address()
    async with ScriptedBroker() as broker, listening(broker.port, host=address) as place:
        heard = asyncio.Event()

        class Hearing(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                heard.set()

        for number in (False, True):
            host, _, name = address.partition("%")
            scope = str(socket.if_nametoindex(name)) if number else name
            transport, _ = await connect(Endpoint(f"{host}%{scope}", place.port), Hearing)
            transport.write(b"nonsense")
            await asyncio.wait_for(heard.wait(), 20)
            transport.abort()
            await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.warned[0]["client"].startswith(f"[{host}]:")
        with pytest.raises(OSError):
            await connect(Endpoint(f"{host}%nothing", place.port), Hearing)


async def test_address_that_refuses_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "HEAD_START_S", 1000)
    resolve_to(monkeypatch, "127.0.0.2", "::1", "127.0.0.1")
    async with ScriptedBroker() as broker:
        assert await reached(Endpoint("broker", broker.port)) == "127.0.0.1"


async def test_address_that_does_not_answer_has_a_head_start_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedBroker() as broker:
        with unanswering("127.0.0.2", broker.port):
            resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
            assert await reached(Endpoint("broker", broker.port)) == "127.0.0.1"
            # Though it comes last, the one under way is waited for.
            resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
            assert await reached(Endpoint("broker", broker.port)) == "127.0.0.1"


async def test_error_of_the_last_address_is_told_when_none_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        await connect(Endpoint("broker", port), asyncio.Protocol)


async def test_those_that_come_too_late_are_cut(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    """Both answer, the second one first: a TLS handshake is begun with each, and one is kept."""
    monkeypatch.setattr(connecting, "HEAD_START_S", 0)
    resolve_to(monkeypatch, *["127.0.0.1"] * 5)
    lost = 0

    class Noting(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            nonlocal lost
            lost += 1

    tls = authority.server(authority.issue("broker.test"))
    async with ScriptedBroker(tls=tls) as broker:
        target = Endpoint("broker", broker.port, authority.client(), "broker.test")
        transport, protocol = await connect(target, Noting)
        assert isinstance(protocol, Noting)
        assert not transport.is_closing()
        tasks = len(asyncio.all_tasks())
        for upstream in [await broker.accept() for _ in range(broker.accepted)]:
            upstream.send(b"x")
        transport.abort()
        await eventually(lambda: lost >= 1, "the end")
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks, "the others to be gone")


async def test_cancelled_connecting_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with unanswering() as port:
        resolve_to(monkeypatch, "127.0.0.1", "127.0.0.1")
        before = len(asyncio.all_tasks())
        connecting_now = asyncio.ensure_future(connect(Endpoint("broker", port), asyncio.Protocol))
        await asyncio.sleep(0.05)
        connecting_now.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting_now
        await eventually(lambda: len(asyncio.all_tasks()) == before, "the attempts to be gone")
