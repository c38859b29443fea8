"""TLS towards clients, and files that change while the gateway runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pamqp import commands

from sealgate.net.tls import client_context, server_context
from support.certificates import Authority, Pair
from support.listening import Listening, listening
from support.peers import PROTOCOL_HEADER, Client, ScriptedBroker, connect, eventually

pytestmark = pytest.mark.asyncio


def serving(pair: Pair, client_ca: str | None = None) -> ssl.SSLContext:
    return server_context(pair.cert, pair.key, client_ca)


async def hears_the_broker(place: Listening, broker: ScriptedBroker, tls: ssl.SSLContext) -> bool:
    """Whether a client gets through to the broker and back."""
    client = await connect(place.port, tls)
    client.send(PROTOCOL_HEADER)
    upstream = await broker.accept()
    upstream.say(0, commands.Connection.Start(server_properties={}))
    await client.expect(commands.Connection.Start)
    client.abort()
    assert await upstream.wait_for_end() == PROTOCOL_HEADER
    await eventually(lambda: place.idle, "the client to be forgotten")
    return True


async def test_client_that_knows_our_authority_gets_through(authority: Authority) -> None:
    server = serving(authority.issue("localhost"))
    async with ScriptedBroker() as broker, listening(broker.port, tls=server) as place:
        assert await hears_the_broker(place, broker, client_context(authority.ca, None, None, True))
        assert await hears_the_broker(place, broker, client_context(None, None, None, False))
        assert place.warned == []


async def test_client_that_does_not_trust_us_is_told_in_the_log(authority: Authority) -> None:
    server = serving(authority.issue("localhost"))
    async with ScriptedBroker() as broker, listening(broker.port, tls=server) as place:
        await asyncio.to_thread(distrust, place.port)
        await eventually(lambda: place.idle, "the client to be forgotten")
        await eventually(lambda: bool(place.warned), "the log")
        (line,) = place.warned
        assert (line["event"], line["error"]) == ("tls.refused", "TLSV1_ALERT_UNKNOWN_CA")
        assert broker.accepted == 0


def distrust(port: int) -> None:
    """Connect as most clients do, and say why not (asyncio's hang up without a word)."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


async def test_client_certificate_is_asked_for_where_there_is_an_authority_for_them(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "another authority")
    server = serving(authority.issue("localhost"), client_ca=authority.ca)
    async with ScriptedBroker() as broker, listening(broker.port, tls=server) as place:
        person = authority.issue("sidecar")
        known = client_context(authority.ca, person.cert, person.key, True)
        assert await hears_the_broker(place, broker, known)
        assert place.warned == []
        impostor = stranger.issue("sidecar")
        for context in (authority.client(), client_context(authority.ca, impostor.cert, impostor.key, True)):
            # With TLS 1.3 a client only learns when it reads.
            client = await connect(place.port, context)
            client.send(PROTOCOL_HEADER)
            assert await client.wait_for_end() == b""
            await client.close()
        assert [line["event"] for line in place.warned] == ["tls.refused"] * 2
        assert place.warned[0]["error"] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert broker.accepted == 1


async def test_tls_1_1_is_refused_by_us(authority: Authority) -> None:
    old = authority.client()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(1, tls=serving(authority.issue("localhost"))) as place:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(place.port, old)
        await eventually(lambda: place.idle and bool(place.warned), "the log")
        assert place.warned[0]["error"] == "UNSUPPORTED_PROTOCOL"


async def test_plain_client_on_the_tls_port_is_closed_at_once(authority: Authority) -> None:
    async with listening(1, tls=serving(authority.issue("localhost"))) as place:
        client = await connect(place.port)
        client.send(PROTOCOL_HEADER)
        assert b"AMQP" not in await client.wait_for_end()
        await eventually(lambda: place.idle, "the client to be forgotten")
        (line,) = place.warned
        assert (line["event"], line["detail"]) == ("tls.refused", "the client speaks no TLS")
        assert line["client"].startswith("127.0.0.1:")
        await client.close()


async def test_tls_client_on_the_plain_port_is_closed_at_once(authority: Authority) -> None:
    async with listening(1) as place:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(place.port, authority.client())
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.reasons == ["conn.protocol"]
        assert place.warned[0]["detail"] == "TLS on a port without"


async def test_client_that_only_connects_to_the_tls_port_leaves_no_trace(authority: Authority) -> None:
    async with listening(1, tls=serving(authority.issue("localhost"))) as place:
        client = await connect(place.port)
        await eventually(lambda: place.listener.connections == 1, "the client to be accepted")
        await client.close()
        await eventually(lambda: place.idle, "the client to be forgotten")
        assert place.warned == []


async def test_what_comes_with_the_last_flight_of_the_handshake_is_not_lost(authority: Authority) -> None:
    """The client's Finished and its first words in one segment, right after it connected."""
    server = serving(authority.issue("localhost"))
    async with ScriptedBroker() as broker, listening(broker.port, tls=server) as place:
        client = await connect(place.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(await client.some())
        tls.write(PROTOCOL_HEADER)
        client.send(outgoing.read())
        upstream = await broker.accept()
        assert await upstream.read(8) == PROTOCOL_HEADER
        client.abort()
        upstream.abort()
        await eventually(lambda: place.idle, "the client to be forgotten")


async def test_renewed_certificate_is_shown_to_the_next_client_and_disturbs_nobody(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    served = authority.issue("localhost")
    context = serving(served, client_ca=authority.ca)
    person = authority.issue("person")
    own = authority.client(person)
    async with ScriptedBroker() as broker, listening(broker.port, tls=context) as place:
        before = await connect(place.port, own)
        authority.issue("localhost")
        place.tls = serving(served, client_ca=authority.ca)
        after = await connect(place.port, own)
        assert serial(before) != serial(after)
        for client in (before, after):
            client.send(PROTOCOL_HEADER)
            assert await (await broker.accept()).read(8) == PROTOCOL_HEADER
            client.abort()
        broker.forget()
        await eventually(lambda: place.idle, "the clients to be forgotten")


def serial(client: Client) -> str:
    certificate = client.writer.get_extra_info("peercert")
    return str(certificate["serialNumber"])


@pytest.mark.parametrize("missing", ["cert", "key", "ca"])
async def test_file_that_is_not_there_is_an_error(authority: Authority, missing: str) -> None:
    pair = authority.issue("localhost")
    files = {"cert": pair.cert, "key": pair.key, "ca": authority.ca, missing: "/nowhere/file.pem"}
    with pytest.raises(FileNotFoundError):
        server_context(files["cert"], files["key"], files["ca"])
    with pytest.raises(FileNotFoundError):
        client_context(files["ca"], files["cert"], files["key"], True)


async def test_key_that_does_not_fit_its_certificate_is_an_error(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(ssl.SSLError, match=r"one\.crt with \S*other\.key: the private key is not that of"):
        server_context(one.cert, other.key, None)


async def test_files_that_are_no_certificates_are_named(authority: Authority) -> None:
    pair = authority.issue("localhost")
    with pytest.raises(ssl.SSLError, match=r"localhost\.key with \S*localhost\.crt: not PEM, or not a cert"):
        server_context(pair.key, pair.cert, None)
    with pytest.raises(ssl.SSLError, match=r"localhost\.key: there is no PEM certificate in it"):
        server_context(pair.cert, pair.key, pair.key)
    with pytest.raises(ssl.SSLError, match=r"localhost\.key: there is no PEM certificate in it"):
        client_context(pair.key, None, None, True)


async def test_nobody_is_asked_for_the_passphrase_of_a_key(authority: Authority) -> None:
    pair = authority.issue("localhost")
    key = serialization.load_pem_private_key(Path(pair.key).read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    Path(pair.key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    with pytest.raises(ssl.SSLError, match=r"localhost\.key: the private key has a passphrase"):
        server_context(pair.cert, pair.key, None)
