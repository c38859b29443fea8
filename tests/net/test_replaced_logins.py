"""A relay whose client logs in here: sockets, threads and certificates, on both event loops."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pamqp import commands

from sealgate.accounts.attempts import Attempts, LockOut
from sealgate.accounts.desk import Desk
from sealgate.accounts.passwords import COST_DEFAULT, Cost, hash_password, parse_hash
from sealgate.accounts.users import BrokerLogin, User, UserBook
from sealgate.net.logins import Logins
from sealgate.net.tls import certificate_names, server_context
from support.certificates import Authority
from support.listening import Listening, listening
from support.peers import (
    PROTOCOL_HEADER,
    SERVER_PROPERTIES,
    Client,
    ScriptedBroker,
    Upstream,
    connect,
    eventually,
)

pytestmark = pytest.mark.asyncio

CHEAP = Cost(10, 8, 1)
BROKER = BrokerLogin("gateway", "cheshire-4242")
TELLS = {"capabilities": {"authentication_failure_close": True}}


@asynccontextmanager
async def replacing(cost: Cost = CHEAP, **options: Any) -> AsyncIterator[tuple[Listening, ScriptedBroker]]:
    known = parse_hash(hash_password(b"wonder", bytes(16), cost))
    book = UserBook([User("alice", BROKER, known), User("bob", BROKER, None, "bob.example")])
    rule = LockOut(100, 60.0, 10.0)
    logins = Logins(Desk(book, Attempts(rule, rule), bytes(32)), 1, 100)
    try:
        async with (
            ScriptedBroker() as broker,
            listening(broker.port, logins=logins, **options) as place,
        ):
            yield place, broker
            broker.forget()
    finally:
        logins.close()


async def greeted(place: Listening, broker: ScriptedBroker, tls: Any = None) -> tuple[Client, Upstream, str]:
    """A client, the broker's end, and the mechanisms the client was offered."""
    client = await connect(place.port, tls)
    client.send(PROTOCOL_HEADER)
    upstream = await broker.accept()
    assert await upstream.read(8) == PROTOCOL_HEADER
    upstream.say(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES), mechanisms="PLAIN"))
    start = await client.expect(commands.Connection.Start)
    return client, upstream, str(start.mechanisms)


async def test_right_password_makes_the_gateway_log_in() -> None:
    async with replacing() as (place, broker):
        client, upstream, _ = await greeted(place, broker)
        client.say(0, commands.Connection.StartOk(TELLS, "PLAIN", "\x00alice\x00wonder", "en_US"))
        start_ok = await upstream.expect(commands.Connection.StartOk)
        assert (start_ok.mechanism, start_ok.response) == ("PLAIN", "\x00gateway\x00cheshire-4242")
        assert start_ok.client_properties == TELLS
        assert place.tally.logins == {"ok": 1}
        client.abort()


async def test_wrong_password_is_told_to_the_client_and_the_log() -> None:
    async with replacing() as (place, broker):
        client, upstream, _ = await greeted(place, broker)
        client.say(0, commands.Connection.StartOk(TELLS, "PLAIN", "\x00alice\x00hunter2", "en_US"))
        close = await client.expect(commands.Connection.Close)
        assert close.reply_code == 403
        assert await upstream.wait_for_end() == b""
        (line,) = [line for line in place.warned if line["event"] == "login.refused"]
        assert (line["result"], line["user"], line["mechanism"]) == ("password", "alice", "PLAIN")
        assert line["client"].startswith("127.0.0.1:")
        assert "hunter2" not in repr(place.warned)
        client.say(0, commands.Connection.CloseOk())
        assert await client.wait_for_end() == b""
        await client.close()


async def test_client_that_leaves_takes_its_login_with_it() -> None:
    async with replacing(COST_DEFAULT) as (place, broker):
        clients = [(await greeted(place, broker))[0] for _ in range(5)]
        for client in clients:
            client.say(0, commands.Connection.StartOk(TELLS, "PLAIN", "\x00alice\x00wrong", "en_US"))
        logins = place.relays[0]._shared.logins
        assert logins is not None
        await eventually(lambda: logins.waiting == 4, "the logins to wait")
        for client in clients:
            client.abort()
        await eventually(lambda: place.idle, "the clients to be forgotten")
        assert logins.waiting == 0
        assert logins.hashes == 1


@pytest.mark.parametrize(("name", "known"), [("bob.example", True), ("eve.example", False)])
async def test_certificate_of_a_user_is_offered_external(
    name: str, known: bool, authority: Authority
) -> None:
    served = authority.issue("localhost")
    tls = server_context(served.cert, served.key, authority.ca)
    async with replacing(tls=tls) as (place, broker):
        client, upstream, offered = await greeted(place, broker, authority.client(authority.issue(name)))
        assert ("EXTERNAL" in offered.split()) is known
        client.say(0, commands.Connection.StartOk(TELLS, "EXTERNAL", "", "en_US"))
        if known:
            start_ok = await upstream.expect(commands.Connection.StartOk)
            assert start_ok.mechanism == "PLAIN"
            assert place.relays[0].session is not None
            assert place.relays[0].session.conversation.peer.user == "bob"
        else:
            assert await upstream.wait_for_end() == b""
            assert place.tally.logins == {"malformed": 1}
        client.abort()


async def test_loopback_is_told_of_both_sockets() -> None:
    async with ScriptedBroker() as broker, listening(broker.port) as place:
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        await (await broker.accept()).read(8)
        (relay,) = place.relays
        assert relay.session is not None
        conversation = relay.session.conversation
        await eventually(lambda: conversation.upstream_loopback, "the broker to be known")
        assert conversation.caller.loopback
        client.abort()
        await asyncio.sleep(0)


async def test_client_behind_a_local_proxy_is_not_local_itself() -> None:
    local = ipaddress.ip_network("127.0.0.0/8")
    async with ScriptedBroker() as broker, listening(broker.port, proxies=[local]) as place:
        client = await connect(place.port)
        client.send(b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 5672\r\n" + PROTOCOL_HEADER)
        await (await broker.accept()).read(8)
        (relay,) = place.relays
        assert relay.session is not None
        assert not relay.session.conversation.caller.loopback
        client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the client to be forgotten")


async def test_names_of_a_certificate_are_its_common_and_alternative_names() -> None:
    certificate = {
        "subject": ((("organizationName", "x"),), (("commonName", "web"), ("commonName", "web.internal"))),
        "subjectAltName": (
            ("DNS", "web.internal"), ("email", "web@example.org"), ("URI", "spiffe://x/web"),
            ("DirName", ((("commonName", "other"),),)), ("DNS", "x" * 256), ("DNS", ""),
        ),
    }  # fmt: skip
    names = ("web", "web.internal", "web@example.org", "spiffe://x/web")
    assert certificate_names(certificate) == names
    assert certificate_names(None) == certificate_names({}) == ()
    many = {"subjectAltName": tuple([("DNS", f"n{number}") for number in range(1000)])}
    assert len(certificate_names(many)) == 100
