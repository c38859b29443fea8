"""Which certificate a client is shown, and whom the gateway believes once files have changed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from sealgate.net.tls import client_context, serve_by_name, server_context
from support.certificates import Authority
from support.listening import listening
from support.peers import PROTOCOL_HEADER, Client, ScriptedBroker, connect, eventually

pytestmark = pytest.mark.asyncio


def serving(authority: Authority, name: str, client_ca: str | None = None) -> ssl.SSLContext:
    pair = authority.issue(name)
    return server_context(pair.cert, pair.key, client_ca)


def shown(client: Client) -> str:
    """The name in the certificate that the client was shown."""
    certificate = client.writer.get_extra_info("peercert")
    return str(certificate["subject"][0][0][1])


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("amqp.example.com", "amqp.example.com"),
        ("AMQP.example.COM", "amqp.example.com"),
        ("eu.example.com", "*.example.com"),
        ("deep.eu.example.com", "localhost"),
        ("example.com", "localhost"),
        ("stranger.test", "localhost"),
        ("127.0.0.1", "localhost"),
        (None, "localhost"),
    ],
)
async def test_certificate_is_chosen_by_the_name_the_client_asks_for(
    authority: Authority, asked: str | None, answered: str
) -> None:
    context = serving(authority, "localhost")
    others = {name: serving(authority, name) for name in ("AMQP.Example.com", "*.example.com")}
    others["amqp.example.com"] = serving(authority, "amqp.example.com")
    serve_by_name(context, others)
    anyone = authority.client()
    anyone.check_hostname = False
    async with listening(1, tls=context) as place:
        client = await connect(place.port, anyone, name=asked)
        assert shown(client) == answered
        client.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.warned == []


async def test_client_certificate_is_asked_for_under_every_name(authority: Authority, tmp_path: Path) -> None:
    context = serving(authority, "localhost", authority.ca)
    serve_by_name(context, {"amqp.example.com": serving(authority, "amqp.example.com", authority.ca)})
    impostor = Authority(tmp_path, "another authority").issue("sidecar")
    person = authority.issue("sidecar")
    async with ScriptedBroker() as broker, listening(broker.port, tls=context) as place:
        for own, known in ((None, False), (impostor, False), (person, True)):
            client_tls = authority.client(own)
            client = await connect(place.port, client_tls, name="amqp.example.com")
            client.send(PROTOCOL_HEADER)
            if known:
                upstream = await broker.accept()
                assert await upstream.read(8) == PROTOCOL_HEADER
                client.abort()
                assert await upstream.wait_for_end() == b""
            else:
                assert await client.wait_for_end() == b""
                await client.close()
        await eventually(lambda: place.idle, "the clients to be forgotten")
        assert [line["event"] for line in place.warned] == ["tls.refused"] * 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_authority_that_was_taken_out_of_the_file_is_believed_no_more(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Who is connected stays."""
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    both = tmp_path / "both.pem"
    both.write_text(Path(old.ca).read_text() + Path(new.ca).read_text())
    pair = old.issue("localhost")
    client_tls = old.client(old.issue("person"))
    client_tls.maximum_version = version
    first = server_context(pair.cert, pair.key, str(both))
    async with ScriptedBroker() as broker, listening(broker.port, tls=first) as place:
        before = await connect(place.port, client_tls)
        before.send(PROTOCOL_HEADER)
        upstream = await broker.accept()
        assert await upstream.read(8) == PROTOCOL_HEADER
        place.tls = server_context(pair.cert, pair.key, new.ca)
        try:
            late = await connect(place.port, client_tls)
            late.send(PROTOCOL_HEADER)
            assert await late.wait_for_end() == b""
            await late.close()
        except (ssl.SSLError, ConnectionError):
            assert version is ssl.TLSVersion.TLSv1_2
        newcomer = new.issue("person")
        trusted = client_context(old.ca, newcomer.cert, newcomer.key, True)
        known = await connect(place.port, trusted)
        known.send(PROTOCOL_HEADER)
        assert await (await broker.accept()).read(8) == PROTOCOL_HEADER
        assert not before.writer.is_closing()
        upstream.send(b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce")
        for client in (before, known):
            client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "all to be forgotten")


async def test_session_of_a_client_does_not_outlive_its_authority(tmp_path: Path) -> None:
    """A ticket spares the certificate: one that is still good would let the client in without."""
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    pair = old.issue("localhost")
    client_tls = old.client(old.issue("person"))
    client_tls.maximum_version = ssl.TLSVersion.TLSv1_2  # in which a ticket comes with the handshake

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        """(whether the session was taken up, the next one)"""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
            client_tls.wrap_socket(raw, server_hostname="localhost", session=session) as secure,
        ):
            return bool(secure.session_reused), secure.session

    async with listening(1, tls=server_context(pair.cert, pair.key, old.ca)) as place:
        _, session = await asyncio.to_thread(visit, place.port, None)
        resumed, session = await asyncio.to_thread(visit, place.port, session)
        assert resumed
        place.tls = server_context(pair.cert, pair.key, new.ca)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(visit, place.port, session)
        await eventually(lambda: place.idle, "the clients to be forgotten")


async def test_no_protocol_is_negotiated_with_clients(authority: Authority) -> None:
    offering = authority.client()
    offering.set_alpn_protocols(["http/1.1", "amqp"])
    async with listening(1, tls=serving(authority, "localhost")) as place:
        client = await connect(place.port, offering)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
        client.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")
