"""Nothing is lost while the gateway is stopped and started under load, and what is doubled is known."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.publisher import Publisher, arrivals
from support.rabbitmq_server import RabbitMQServer
from support.tasks import StoredNonceSigner, task_frames

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    # A connection that dies in the middle of its opening leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNT = 20_000
QUEUE = "tasks"


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
    signer = StoredNonceSigner(secret, vhost, QUEUE)
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
        publisher = Publisher(sidecar.port, vhost, COUNT, lambda number: task_frames(number, QUEUE))
        killed = publish_through_restarts(publisher, process, STOPS)
    doubled = count_doubles(rabbitmq, vhost, publisher, closing_lines, "session nonces")
    assert doubled <= killed, "a confirm was lost in a clean restart"
