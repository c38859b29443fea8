"""Nothing is lost while the gateway is stopped and started under load, and what is doubled is known."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from sealgate.stores.times import LEASE_S
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.publisher import Publisher, answers, arrivals, arrived, close, connect
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.tasks import StoredNonceSigner, task_frames
from support.valve import Valve, valve

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    # A connection that dies in the middle of its opening leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNT = 20_000
#: Where another test does the whole of it on the other store.
COUNT_SHORT = 3_000
WINDOW = 100
LOOKS = 5
QUEUE = "tasks"


def declare(server: RabbitMQServer, vhost: str, arguments: dict[str, object] | None = None) -> None:
    import pika

    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", server.port, vhost)) as connection:
        connection.channel().queue_declare(QUEUE, durable=True, arguments=arguments)


def pass_horizon() -> None:
    """A first start has no journal yet, and refuses what was sealed within the clock skew of it."""
    passed = time.time() + 3
    wait_until(lambda: time.time() > passed, 5, "the horizon to pass")


def publish_through_restarts(
    publisher: Publisher,
    process: GatewayProcess,
    stops: list[signal.Signals],
    count: int = COUNT,
    killing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> set[int]:
    """Run the publisher to its end while `process` is stopped by each signal, evenly spread over the load.

    Returns what was unconfirmed when the process was killed: nobody can know whether that had arrived.
    The kill happens within `killing`.
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
        share = count * turn // (len(stops) + 1)
        wait_until(
            lambda share=share: len(publisher.confirmed) >= share or bool(failure), 100, f"{share} confirms"
        )
        assert not failure, failure
        cuts = len(publisher.cuts)
        with killing() if number is signal.SIGKILL else nullcontext():
            code = process.stop(number)
        assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0), process.log_text()[-2000:]
        wait_until(lambda cuts=cuts: len(publisher.cuts) > cuts, 10, "the publisher to notice")
        if number is signal.SIGKILL:
            in_doubt |= publisher.cuts[cuts]
        process.start()
    thread.join(120)
    assert not failure, failure
    assert not thread.is_alive(), f"{len(publisher.confirmed)} of {count} confirmed"
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
        pass_horizon()
        publisher = Publisher(process.port, vhost, COUNT, signer.frames)
        killed = publish_through_restarts(publisher, process, STOPS)
    doubled = count_doubles(rabbitmq, vhost, publisher, closing_lines, "stored nonces")
    assert doubled <= killed, "a repeat of a sealed message was forwarded after a clean restart"


def refusing(replay: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"replay": {**replay, "in_doubt": "refuse", "max_age": "5m", "clock_skew": "1s"}}


def publish_and_never_double(
    server: RabbitMQServer,
    vhost: str,
    home: Path,
    replay: dict[str, str],
    count: int,
    closing_lines: list[str],
    what: str,
    away_s: float = 0,
) -> None:
    """With `in_doubt = "refuse"`: no sealed message is in the broker twice, whatever died.

    The kill comes while a full window has arrived and no confirm of it has left the broker: all of it is in
    doubt. It is refused when it is sent again, and sealed afresh by the client, which makes a new message of
    the same task. So these tasks are there twice, and no other. Then the gateway stays away for `away_s`.
    """
    declare(server, vhost)
    secret = new_secret()
    settings = refusing(replay)
    signer = StoredNonceSigner(secret, vhost, QUEUE)
    with (
        valve(server.port) as broker,
        gateway(home, broker.port, [key("k1", secret)], settings) as process,
    ):
        pass_horizon()
        # Slow enough that a busy machine does not miss the moments of the stops.
        publisher = Publisher(
            process.port, vhost, count, signer.frames, WINDOW, count / 10, on_refused=signer.seal_afresh
        )

        def all_in_doubt() -> bool:
            """Looked at again and again, through gateway and publisher: no confirm is on its way any more."""
            looks = (
                publisher.idle
                and server.depth(vhost, QUEUE) == len(publisher.confirmed) + WINDOW
                and process.ready()
                for _ in range(LOOKS)
            )
            return all(looks)

        @contextmanager
        def killing() -> Iterator[None]:
            with broker.muted():
                wait_until(all_in_doubt, 20, "a window of messages to be in doubt")
                yield
            over = time.monotonic() + away_s
            wait_until(lambda: time.monotonic() > over, away_s + 1, "the gateway's absence to be over")

        killed = publish_through_restarts(publisher, process, STOPS, count, killing)
    found = arrived(server.port, vhost, QUEUE, 10 * count)
    seals = Counter(properties.headers["x-seal"] for properties in found)
    assert set(seals.values()) == {1}, "a sealed message was forwarded twice"
    tasks = Counter(int(properties.correlation_id) for properties in found)
    assert set(tasks) == publisher.confirmed == set(range(count)), "a confirmed task is not in the broker"
    doubled = {number for number, times in tasks.items() if times > 1}
    assert len(killed) == WINDOW
    assert doubled == set(signer.afresh) == killed
    assert len(signer.afresh) == len(doubled), "a message that was sealed afresh was refused again"
    closing_lines.append(
        f"restarts, {what}, in doubt is refused: {count} tasks confirmed and in the broker, {len(STOPS)} "
        f"restarts, {len(publisher.in_doubt)} published again, no sealed message there twice; "
        f"{len(signer.afresh)} sealed afresh, {len(doubled)} of these tasks there twice"
    )


def test_signer_with_stored_nonces_doubles_nothing_even_over_a_kill_where_doubt_is_refused(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, closing_lines: list[str]
) -> None:
    replay = {"journal": str(tmp_path / "nonces")}
    publish_and_never_double(
        rabbitmq, vhost, tmp_path / "gateway", replay, COUNT, closing_lines, "stored nonces"
    )


def test_signer_with_stored_nonces_doubles_nothing_over_a_kill_with_redis(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, vhost: str, tmp_path: Path, closing_lines: list[str]
) -> None:
    redis_server.age("prod")
    publish_and_never_double(
        rabbitmq,
        vhost,
        tmp_path / "gateway",
        {"store": redis_server.url},
        COUNT_SHORT,
        closing_lines,
        "stored nonces in Redis",
        # Where leases are taken over, these would be by then.
        away_s=LEASE_S + 1,
    )


def test_doubt_after_a_lost_broker_connection_outlives_a_clean_restart_where_it_is_refused(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    declare(rabbitmq, vhost)
    secret = new_secret()
    signer = StoredNonceSigner(secret, vhost, QUEUE)
    settings = refusing({"journal": str(tmp_path / "nonces")})

    async def lose_the_confirm(process: GatewayProcess, broker: Valve) -> str:
        incoming, writer = await connect(process.port, vhost)
        with broker.muted():
            writer.write(signer.frames(1))
            await writer.drain()
            wait_until(lambda: rabbitmq.depth(vhost, QUEUE) == 1, 10, "the message to arrive")
            broker.hang_up()
            closed = await incoming.expect("Connection.Close")
        await close(writer)
        return str(closed.reply_text)

    with (
        valve(rabbitmq.port) as broker,
        gateway(tmp_path / "gateway", broker.port, [key("k1", secret)], settings) as process,
    ):
        pass_horizon()
        assert "conn.upstream" in asyncio.run(lose_the_confirm(process, broker))
        for _ in range(2):
            assert asyncio.run(answers(process.port, vhost, [signer.frames(1)])) == ["Basic.Nack"]
            assert process.refusals() == {"replay.inflight": 1}
            assert process.stop() == 0
            process.start()
        signer.seal_afresh(1)
        assert asyncio.run(answers(process.port, vhost, [signer.frames(1)])) == ["Basic.Ack"]
    found = arrived(rabbitmq.port, vhost, QUEUE, 10)
    assert [properties.correlation_id for properties in found] == ["1", "1"]
    assert len({properties.headers["x-seal"] for properties in found}) == 2


def test_what_the_broker_nacked_is_not_in_doubt(rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path) -> None:
    """It is given back, on disk too: the same sealed message is taken after a restart, and once."""
    declare(rabbitmq, vhost, {"x-max-length": 1, "x-overflow": "reject-publish"})
    secret = new_secret()
    signer = StoredNonceSigner(secret, vhost, QUEUE)
    settings = refusing({"journal": str(tmp_path / "nonces")})
    with gateway(tmp_path / "gateway", rabbitmq.port, [key("k1", secret)], settings) as process:
        pass_horizon()
        both = [signer.frames(1), signer.frames(2)]
        assert asyncio.run(answers(process.port, vhost, both)) == ["Basic.Ack", "Basic.Nack"]
        assert process.stop() == 0
        assert arrivals(rabbitmq.port, vhost, QUEUE, 10) == ["1"]
        process.start()
        assert asyncio.run(answers(process.port, vhost, both)) == ["Basic.Ack"] * 2
        assert process.refusals() == {"replay.duplicate": 1}
    assert arrivals(rabbitmq.port, vhost, QUEUE, 10) == ["2"]


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
