"""Nothing is lost while the gateway is stopped and started under load, and what is doubled is known."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pamqp import body, commands, frame, header
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.publisher import Publisher, arrivals
from support.rabbitmq_server import RabbitMQServer
from support.sealed import EMBED, task_headers

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.properties import scan_content_header, splice

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

COUNT = 20_000
QUEUE = "tasks"
BODY = json.dumps([[1, 2], {}, EMBED]).encode()


def task_frames(number: int, seal: Callable[[Message], bytes] | None) -> bytes:
    """A Celery task that carries its number as correlation id; sealed where `seal` is given."""
    task_id = str(uuid.UUID(int=number))
    properties = commands.Basic.Properties(
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=str(number),
        delivery_mode=2,
        headers=task_headers(id=task_id, root_id=task_id),
    )
    payload = header.ContentHeader(body_size=len(BODY), properties=properties).marshal()
    if seal is not None:
        scanned = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES)
        message = Message("", QUEUE, False, scanned, BODY, hashlib.sha256(BODY).digest())
        payload = splice(scanned, frozenset(), seal(message))
    return b"".join(
        [
            frame.marshal(commands.Basic.Publish(routing_key=QUEUE), 1),
            b"\x02\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce",
            frame.marshal(body.ContentBody(BODY), 1),
        ]
    )


class StoredNonceSigner:
    """Seals each task once; a repeat is the same bytes, as a client that resends after a lost confirm does."""

    def __init__(self, secret: str, vhost: str) -> None:
        algorithm = HmacSha256(bytes.fromhex(secret.removeprefix("hex:")))
        self._sealer = Sealer(Keyring([Key("k1", algorithm)]), "k1", "prod", os.urandom)
        self._peer = Peer("prod", vhost)
        self._made: dict[int, bytes] = {}

    def frames(self, number: int) -> bytes:
        if number not in self._made:
            self._made[number] = task_frames(number, self._seal)
        return self._made[number]

    def _seal(self, message: Message) -> bytes:
        return self._sealer.seal(message, self._peer, SignerSession(), time.time())


def declare(server: RabbitMQServer, vhost: str) -> None:
    import pika

    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port, vhost)) as connection:
        connection.channel().queue_declare(QUEUE, durable=True)


def publish_through_restarts(
    publisher: Publisher, process: GatewayProcess, stops: list[signal.Signals]
) -> set[int]:
    """Run the publisher to its end while `process` is stopped by each signal, evenly spread over the load.

    Returns what was unconfirmed when the process was killed: nobody can know whether that had arrived.
    """
    in_doubt: set[int] = set()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(publisher.run())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for turn, number in enumerate(stops, start=1):
        share = COUNT * turn // (len(stops) + 1)
        wait_until(
            lambda share=share: len(publisher.confirmed) >= share or bool(failure), 100, f"{share} confirms"
        )
        assert not failure, failure
        cuts = len(publisher.cuts)
        code = process.stop(number)
        assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0), process.log_text()[-2000:]
        wait_until(lambda cuts=cuts: len(publisher.cuts) > cuts, 10, "the publisher to notice")
        if number is signal.SIGKILL:
            in_doubt |= publisher.cuts[cuts]
        process.start()
    thread.join(120)
    assert not failure, failure
    assert not thread.is_alive(), f"{len(publisher.confirmed)} of {COUNT} confirmed"
    return in_doubt


STOPS = [signal.SIGTERM] * 3 + [signal.SIGKILL] + [signal.SIGTERM] * 2


def count_doubles(
    server: RabbitMQServer, vhost: str, publisher: Publisher, closing_lines: list[str], what: str
) -> set[int]:
    """Check the queue against the publisher's log; returns what is there twice."""
    found = Counter(int(number) for number in arrivals(server.port, vhost, QUEUE, 10 * COUNT))
    assert publisher.confirmed == set(range(COUNT))
    assert set(found) == publisher.confirmed, "a confirmed task is not in the broker"
    doubled = {number for number, times in found.items() if times > 1}
    assert doubled <= publisher.in_doubt, "a task is doubled that was never published again"
    assert all(times <= publisher.sent[number] for number, times in found.items())
    closing_lines.append(
        f"restarts, {what}: {COUNT} tasks confirmed and in the broker, {len(STOPS)} restarts, "
        f"{len(publisher.in_doubt)} published again, {len(doubled)} there twice"
    )
    return doubled


def test_signer_with_stored_nonces_loses_nothing_and_doubles_nothing_over_clean_restarts(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, closing_lines: list[str]
) -> None:
    """The same sealed message sent again is answered from the journal, so that it is never there twice."""
    declare(rabbitmq, vhost)
    secret = new_secret()
    settings = {"replay": {"journal": str(tmp_path / "nonces"), "max_age": "5m", "clock_skew": "1s"}}
    signer = StoredNonceSigner(secret, vhost)
    with gateway(tmp_path / "gateway", rabbitmq.port, [key("k1", secret)], settings) as process:
        # A first start has no journal yet, and refuses what was sealed within the clock skew of it.
        passed = time.time() + 3
        wait_until(lambda: time.time() > passed, 5, "the horizon to pass")
        publisher = Publisher(process.port, vhost, COUNT, signer.frames)
        killed = publish_through_restarts(publisher, process, STOPS)
    doubled = count_doubles(rabbitmq, vhost, publisher, closing_lines, "stored nonces")
    assert doubled <= killed, "a repeat of a sealed message was forwarded after a clean restart"


def test_unchanged_publisher_behind_a_signing_sidecar_loses_nothing(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, closing_lines: list[str]
) -> None:
    declare(rabbitmq, vhost)
    keys = [key("k1", new_secret())]
    sign = {"publish": {"action": "sign", "sign_with": "k1"}}
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, keys) as process,
        gateway(tmp_path / "sidecar", process.port, keys, sign) as sidecar,
    ):
        publisher = Publisher(sidecar.port, vhost, COUNT, lambda number: task_frames(number, None))
        killed = publish_through_restarts(publisher, process, STOPS)
    doubled = count_doubles(rabbitmq, vhost, publisher, closing_lines, "session nonces")
    assert doubled <= killed, "a confirm was lost in a clean restart"
