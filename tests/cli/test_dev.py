"""`sealgate dev` as a process."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pika
import pika.exceptions
import pytest

from sealgate.cli.exits import EXIT_UNAVAILABLE

pytestmark = pytest.mark.system

COMMAND = [sys.executable, "-m", "sealgate", "dev", "--port", "0", "--gateway-port", "0"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The process, and its URLs by what they are."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        urls: dict[str, str] = {}
        while len(urls) < 3:
            line = process.stdout.readline()
            assert line, process.wait(5)
            found = re.match(r"(sidecar|gateway|broker) +(amqp://\S+)", line)
            if found:
                urls[found[1]] = found[2]
        yield process, urls
    finally:
        process.kill()
        process.communicate()


def publish(url: str, body: bytes) -> None:
    """As the JSON task that the gateway's profile wants."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        headers = {"task": "my.task", "id": "c5b5a1f0-0000-4000-8000-000000000000", "lang": "py"}
        properties = pika.BasicProperties("application/json", "utf-8", headers)
        channel.basic_publish("", "q", body, properties, mandatory=True)
    finally:
        connection.close()


def waiting(url: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    count = connection.channel().queue_declare("q").method.message_count
    connection.close()
    return int(count)


BODY = b'[[1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def test_what_goes_through_the_sidecar_arrives_and_the_rest_does_not() -> None:
    with running() as (process, urls):
        assert waiting(urls["broker"]) == 0
        publish(urls["sidecar"], BODY)
        assert waiting(urls["broker"]) == 1
        with pytest.raises(pika.exceptions.NackError) as caught:
            publish(urls["gateway"], BODY)
        assert "sealgate: sig.missing" in caught.value.messages[0].method.reply_text
        assert waiting(urls["broker"]) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_observing_lets_it_pass() -> None:
    with running("--observe") as (process, urls):
        assert waiting(urls["broker"]) == 0
        publish(urls["gateway"], BODY)
        assert waiting(urls["broker"]) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def test_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--broker-port", port], capture_output=True, text=True, timeout=30)
    assert done.returncode == EXIT_UNAVAILABLE
    assert "sealgate: " in done.stderr
