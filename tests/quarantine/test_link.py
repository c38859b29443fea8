from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from sealgate.quarantine.link import (
    Link,
    LinkLostError,
    LinkRefusedError,
    Topology,
    error_text,
    without_credentials,
)
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer

TOPOLOGY = Topology("sealgate.quarantine", length_max=10, bytes_max=1000, age_max_s=60)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672/vhost", "amqp://host:5672/vhost"),
        ("amqps://user:secret@[::1]/a%2Fb?heartbeat=10", "amqps://[::1]/a%2Fb"),
        ("amqp://host", "amqp://host"),
        ("amqp://user:secret@host:99999/", "amqp://host:99999/"),
        ("amqp://us@er:sec@ret@host/", "amqp://host/"),
        ("amqp://user:secret@[::1", "an unreadable URL"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_an_error_is_one_short_line() -> None:
    assert error_text(ValueError("a\nb" + "c" * 500)) == "ValueError: a b" + "c" * 197
    assert error_text(TimeoutError()) == "TimeoutError"


def test_the_bounds_of_the_queue_are_its_arguments() -> None:
    assert TOPOLOGY.queue_arguments() == {
        "x-max-length": 10,
        "x-max-length-bytes": 1000,
        "x-message-ttl": 60_000,
        "x-overflow": "drop-head",
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["amqp://guest:hunter2@host:99999/", "bogus"])
async def test_an_unusable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(LinkRefusedError) as refused:
        await Link.open(url, None, TOPOLOGY, 5, lambda: None)
    assert "hunter2" not in str(refused.value)


@pytest.mark.asyncio
async def test_a_listener_that_says_nothing_is_lost_in_time() -> None:
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    started = time.monotonic()
    with pytest.raises(LinkLostError):
        await Link.open(f"amqp://127.0.0.1:{port}", None, TOPOLOGY, 0.2, lambda: None)
    assert time.monotonic() - started < 3
    async with asyncio.timeout(5):
        await left.wait()
    silent.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        [*command, "-nodes", "-days", "2", "-keyout", key, "-out", cert, *subject],
        check=True,
        capture_output=True,
    )
    return cert, key


async def serve_tls(cert: Path, key: Path, plain_port: int) -> asyncio.Server:
    """TLS in front of a plain port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", plain_port)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)

    return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)


@pytest.mark.system
@pytest.mark.asyncio
async def test_tls_works_with_a_trusted_certificate_and_not_without(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path)
    server = await serve_tls(cert, key, rabbitmq.port)
    url = f"amqps://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/{vhost}"
    link = await Link.open(url, ssl.create_default_context(cafile=cert), TOPOLOGY, 5, lambda: None)
    assert not link.lost
    await link.close()
    with pytest.raises(LinkLostError, match="CERTIFICATE_VERIFY_FAILED"):
        await Link.open(url, ssl.create_default_context(), TOPOLOGY, 5, lambda: None)
    server.close()


@pytest.mark.asyncio
async def test_nobody_there_is_lost() -> None:
    with pytest.raises(LinkLostError):
        await Link.open(f"amqp://127.0.0.1:{free_port()}", None, TOPOLOGY, 5, lambda: None)
