"""A sidecar that verifies deliveries, on a real RabbitMQ: what consumers are handed, and what becomes of the
rest. Rows CO of hostile.jsonl are here, with classic and with quorum queues."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.hostile_broker import Direct
from support.processes import free_port, wait_until
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.sealed_pika import Sealed, connect

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

KEPT = "sealgate.quarantine"
TYPES = ("classic", "quorum")
TARGETS = [
    {"match": "dead.*", "target": "dead_letter"},
    {"match": "later.*", "target": "delayed"},
    {"match": "once.*", "once": True},
]


class Stage:
    """A worker's sidecar in front of the broker, and the broker itself, for who walks around it."""

    def __init__(
        self,
        sidecar: GatewayProcess,
        broker: RabbitMQServer,
        vhost: str,
        table: dict[str, object],
        signer: Key,
    ) -> None:
        """`signer` signs as producers do; `table` is its key in key files."""
        self.key = table
        self.sidecar = sidecar
        self.vhost = vhost
        self.signer = signer
        self.kept = Direct(broker, vhost)
        #: A connection of its own for each test: the broker may end it.
        self.worker: pika.BlockingConnection
        self.broker = connect(broker.port, vhost)
        self.direct = self.broker.channel()
        self.direct.confirm_delivery()
        self._queues = 0
        wait_until(lambda: self.kept.exists(KEPT), 10, "the quarantine")

    def queue(self, kind: str, prefix: str = "q.", **arguments: Any) -> str:
        """A new queue."""
        self._queues += 1
        name = f"{prefix}{kind}.{self._queues}"
        self.direct.queue_declare(
            name,
            durable=True,
            arguments={"x-queue-type": kind, **{k.replace("_", "-"): v for k, v in arguments.items()}},
        )
        return name

    def message(self, queue: str, body: bytes = b"hello", **options: Any) -> Sealed:
        return Sealed(self.signer, self.vhost, body, **{"routing_key": queue, **options})

    def forge(self, queue: str, body: bytes = b"evil") -> None:
        """Write a message into the queue that nobody signed."""
        self.direct.basic_publish("", queue, body, pika.BasicProperties(content_type="text/plain"))

    def consume(
        self, queue: str, count: int, prefetch: int = 0, **options: Any
    ) -> list[tuple[Any, Any, bytes]]:
        """Exactly so many, through the sidecar, each acknowledged."""
        channel = self.worker.channel()
        taken = []
        for method, properties, body in channel.consume(queue, inactivity_timeout=10, **options):
            assert method is not None, f"{len(taken)} of {count} arrived"
            taken.append((method, properties, body))
            if not options.get("auto_ack"):
                channel.basic_ack(method.delivery_tag)
            if len(taken) == count:
                break
        channel.cancel()
        channel.close()
        return taken

    def reasons(self, count: int) -> list[str]:
        """Why exactly so many deliveries were kept since the last look."""
        self.kept.wait_for(KEPT, count)
        return [arrived.properties.headers["x-sealgate-reason"] for arrived in self.kept.drain(KEPT)]

    def is_empty(self, queue: str) -> bool:
        """Whether nothing is left in it, unacknowledged messages included (the broker counts ready ones)."""
        return int(self.direct.queue_declare(queue, passive=True).method.message_count) == 0

    def counted(self, verdict: str, reason: str) -> float:
        return self.sidecar.metric(
            "sealgate_messages_total", direction="deliver", verdict=verdict, reason=reason
        )

    def check_refused(self, queue: str, reason: str) -> None:
        """The one message of the queue is not handed over: it is kept, and gone from the queue."""
        before = self.counted("refused", reason)
        channel = self.worker.channel()
        channel.basic_consume(queue, lambda *seen: pytest.fail(f"the consumer saw {seen}"))
        wait_until(lambda: self.turn() and self.counted("refused", reason) == before + 1, 10, reason)
        assert self.reasons(1) == [reason]
        # It is rejected once quarantine has confirmed it; a channel that closes before gives it back.
        wait_until(
            lambda: self.turn() and self.sidecar.metric("sealgate_buffered_bytes") == 0, 10, "the reject"
        )
        channel.close()
        assert self.is_empty(queue)

    def check_accepted(self, queue: str, body: bytes = b"hello") -> Any:
        """The one message of the queue is handed over, without its seal; returns its properties."""
        [(_, properties, seen)] = self.consume(queue, 1)
        assert seen == body
        assert "x-seal" not in (properties.headers or {})
        return properties

    def turn(self) -> bool:
        """Let the worker's connection do what there is to do."""
        self.worker.process_data_events(0)
        return True


@pytest.fixture(scope="module")
def stage(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    secret = new_secret()
    vhost = rabbitmq.new_vhost()
    settings = {
        "publish": {"action": "sign", "sign_with": "k1"},
        "deliver": {"action": "verify", "queue": TARGETS},
        "content": {"profile": "generic", "types": ["*"]},
        "replay": {"clock_skew": "1s"},
        "quarantine": {"url": rabbitmq.url_of(vhost)},
    }
    signer = Key("k1", HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))
    home: Path = tmp_path_factory.mktemp("deliveries")
    with gateway(home, rabbitmq.port, [key("k1", secret)], settings) as sidecar:
        stage = Stage(sidecar, rabbitmq, vhost, key("k1", secret), signer)
        yield stage
        stage.kept.close()
        stage.broker.close()


@pytest.fixture(autouse=True)
def worker(stage: Stage) -> Iterator[None]:
    stage.worker = connect(stage.sidecar.port, stage.vhost)
    yield
    assert stage.worker.is_open
    stage.worker.close()


def reject_once(stage: Stage, queue: str) -> None:
    """A consumer does not want the message: the broker dead-letters it."""
    channel = stage.worker.channel()
    method, _, _ = next(channel.consume(queue, inactivity_timeout=10))
    channel.basic_reject(method.delivery_tag, requeue=False)
    channel.cancel()
    channel.close()


@pytest.mark.parametrize("kind", TYPES)
def test_CO01_CO02_dead_letters(stage: Stage, kind: str) -> None:  # noqa: N802 - the rows
    """With the policy of the dead-letter queue; in another queue it is not where it was sent."""
    for prefix in ("dead.", "strict."):
        dead = stage.queue(kind, prefix)
        queue = stage.queue(kind, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
        stage.message(queue, expiration="60000").publish(stage.direct)
        reject_once(stage, queue)
        if prefix == "dead.":
            properties = stage.check_accepted(dead)
            assert properties.expiration is None
            assert properties.headers["x-death"][0]["original-expiration"] == "60000"
        else:
            stage.check_refused(dead, "target.mismatch")


def test_CO03_CO04_quorum_queue(stage: Stage) -> None:  # noqa: N802
    """As it came or with its headers sorted and retyped; then again, and counted."""
    queue = stage.queue("quorum")
    stage.message(queue, headers={"z": 2**40, "a": True, "list": [1, 2]}).publish(stage.direct)
    channel = stage.worker.channel()
    method, properties, _ = next(channel.consume(queue, inactivity_timeout=10))
    assert {"a", "list", "z"} <= set(properties.headers) and "x-seal" not in properties.headers
    channel.basic_nack(method.delivery_tag, requeue=True)
    channel.cancel()
    channel.close()
    assert stage.check_accepted(queue).headers["x-delivery-count"] >= 1


@pytest.mark.parametrize("kind", TYPES)
def test_CO05_timestamp_of_the_brokers(stage: Stage, kind: str) -> None:  # noqa: N802
    queue = stage.queue(kind)
    now = int(time.time())
    stage.message(queue).publish(stage.direct, timestamp=now, headers={"timestamp_in_ms": now * 1000})
    assert stage.check_accepted(queue).timestamp == now


def without_expiration(stage: Stage, kind: str) -> str:
    queue = stage.queue(kind)
    stage.message(queue, expiration="60000").publish(stage.direct, expiration=None)
    return queue


def without_some_headers(stage: Stage, kind: str) -> str:
    """As a stream gives it to consumers of AMQP 0-9-1."""
    queue = stage.queue(kind)
    message = stage.message(queue, headers={"n": 1, "timelimit": [None, None], "stamps": {}})
    message.headers = {"n": 1}
    message.publish(stage.direct)
    return queue


def expired(stage: Stage, kind: str) -> str:
    queue = stage.queue(kind)
    stage.message(queue, expires_s=1).publish(stage.direct)
    end = int(time.time()) + 3
    wait_until(lambda: time.time() > end, 10, "the end of the seal")
    return queue


def unsigned(stage: Stage, kind: str) -> str:
    queue = stage.queue(kind)
    stage.forge(queue)
    return queue


def with_another_body(stage: Stage, kind: str) -> str:
    queue = stage.queue(kind)
    stage.message(queue).publish(stage.direct, body=b"other")
    return queue


def of_another_queue(stage: Stage, kind: str) -> str:
    queue = stage.queue(kind)
    stage.message("elsewhere").publish(stage.direct, routing_key=queue)
    return queue


def with_a_forged_death(stage: Stage, kind: str) -> str:
    """x-death is nobody's word where the queue is no dead-letter queue."""
    queue = stage.queue(kind)
    death = {"exchange": "", "routing-keys": ["elsewhere"], "queue": "elsewhere", "count": 1}
    stage.message("elsewhere").publish(stage.direct, routing_key=queue, headers={"x-death": [death]})
    return queue


HOSTILE = {
    "CO06": (without_expiration, "target.mismatch"),
    "CO07": (without_some_headers, "sig.bad"),
    "CO10": (expired, "time.expired"),
    "SG01": (unsigned, "sig.missing"),
    "SG18": (with_another_body, "sig.bad"),
    "SG27": (of_another_queue, "target.mismatch"),
    "x-death": (with_a_forged_death, "target.mismatch"),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("row", HOSTILE)
def test_what_no_consumer_sees(stage: Stage, row: str, kind: str) -> None:
    prepare, reason = HOSTILE[row]
    stage.check_refused(prepare(stage, kind), reason)


def test_CO07_stream(stage: Stage) -> None:  # noqa: N802
    """Real streams drop headers, and know no reject: the broker ends the connection. They are unsupported."""
    queue = stage.queue("stream")
    headers = {"n": 1, "timelimit": [None, None], "stamps": {}}
    stage.message(queue, headers=headers).publish(stage.direct)
    reader = connect(stage.sidecar.port, stage.vhost)
    channel = reader.channel()
    channel.basic_qos(prefetch_count=10)
    offset = {"x-stream-offset": "first"}
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="not supported by stream queues"):
        channel.basic_consume(queue, lambda *seen: pytest.fail(f"the consumer saw {seen}"), arguments=offset)
        reader.process_data_events(20)
    assert stage.reasons(1) == ["sig.bad"]


@pytest.mark.parametrize("kind", TYPES)
def test_CO08_negated_delay(stage: Stage, kind: str) -> None:  # noqa: N802
    """What the delayed-message plugin makes of a delay."""
    queue = stage.queue(kind)
    stage.message(queue, headers={"x-delay": 5000}).publish(stage.direct, headers={"x-delay": -5000})
    assert stage.check_accepted(queue).headers == {"x-delay": -5000}


@pytest.mark.parametrize("kind", TYPES)
def test_CO09_acknowledged_is_done(stage: Stage, kind: str) -> None:  # noqa: N802
    """Somebody who has read the message writes it into the queue once more."""
    queue = stage.queue(kind, "once.")
    message = stage.message(queue)
    message.publish(stage.direct)
    channel = stage.worker.channel()
    method, _, _ = next(channel.consume(queue, inactivity_timeout=10))
    channel.basic_nack(method.delivery_tag, requeue=True)
    channel.cancel()
    channel.close()
    stage.check_accepted(queue)
    message.publish(stage.direct)
    stage.check_refused(queue, "replay.duplicate")


def test_message_that_is_worked_on_is_not_given_to_another_consumer(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two sidecars share what was acknowledged. A copy waits while the first is at work; then it is done."""
    vhost = rabbitmq.new_vhost()
    secret = new_secret()
    signer = Key("k1", HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))
    settings = {
        "publish": {"action": "sign", "sign_with": "k1"},
        "deliver": {"action": "verify", "queue": [{"once": True}]},
        "content": {"profile": "generic", "types": ["*"]},
        "quarantine": {"url": rabbitmq.url_of(vhost)},
        "replay": {"store": redis_server.url},
    }
    message = Sealed(signer, vhost, routing_key="work")
    with (
        gateway(tmp_path / "a", rabbitmq.port, [key("k1", secret)], settings) as one,
        gateway(tmp_path / "b", rabbitmq.port, [key("k1", secret)], settings) as other,
        connect(one.port, vhost) as working,
        connect(other.port, vhost) as waiting,
        connect(rabbitmq.port, vhost) as attacker,
    ):
        direct = attacker.channel()
        direct.queue_declare("work")
        message.publish(direct)
        channel = working.channel()
        channel.basic_qos(prefetch_count=1)
        method, _, _ = next(channel.consume("work", inactivity_timeout=10))
        message.publish(direct)
        seen: list[bytes] = []
        second = waiting.channel()
        second.basic_qos(prefetch_count=1)
        second.basic_consume("work", lambda ch, method, properties, body: seen.append(body))
        waiting.process_data_events(3)
        assert seen == [] and other.metric("sealgate_messages_total", direction="deliver") == 0
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        duplicate = lambda: other.metric("sealgate_messages_total", reason="replay.duplicate")  # noqa: E731
        wait_until(lambda: waiting.process_data_events(0) or duplicate() == 1, 10, "the copy to be known")
        assert seen == []


# Ways to be delivered something


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("prefetch", [1, 3])
def test_rejected_delivery_frees_its_place_in_the_prefetch(stage: Stage, kind: str, prefetch: int) -> None:
    dead = stage.queue("classic", "grave.")
    queue = stage.queue(kind, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    for number in range(17):
        if number % 4:
            stage.forge(queue)
        else:
            stage.message(queue, b"%d" % number).publish(stage.direct)
    channel = stage.worker.channel()
    channel.basic_qos(prefetch_count=prefetch)
    seen: list[bytes] = []

    def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, take)
    wait_until(lambda: stage.turn() and len(seen) == 5, 10, "the good ones")
    assert seen == [b"0", b"4", b"8", b"12", b"16"]
    assert stage.reasons(12) == ["sig.missing"] * 12
    stage.kept.wait_for(dead, 12)
    assert [arrived.body for arrived in stage.kept.drain(dead)] == [b"evil"] * 12
    channel.close()


@pytest.mark.parametrize("kind", TYPES)
def test_multiple_acknowledgement_over_what_was_refused(stage: Stage, kind: str) -> None:
    queue = stage.queue(kind)
    for number in range(12):
        if number % 3 == 1:
            stage.forge(queue)
        else:
            stage.message(queue, b"%d" % number).publish(stage.direct)
    channel = stage.worker.channel()
    seen: list[int] = []
    channel.basic_consume(queue, lambda ch, method, properties, body: seen.append(method.delivery_tag))
    wait_until(lambda: stage.turn() and len(seen) == 8, 10, "the good ones")
    channel.basic_ack(seen[5], multiple=True)
    channel.basic_nack(0, multiple=True, requeue=True)
    wait_until(lambda: stage.turn() and len(seen) == 10, 10, "the last two once more")
    channel.basic_ack(0, multiple=True)
    assert stage.reasons(4) == ["sig.missing"] * 4
    channel.close()
    assert stage.is_empty(queue)


@pytest.mark.parametrize("kind", TYPES)
def test_get_finds_the_next_good_one(stage: Stage, kind: str) -> None:
    queue = stage.queue(kind)
    channel = stage.worker.channel()
    for _ in range(3):
        stage.forge(queue)
    stage.message(queue).publish(stage.direct)
    stage.forge(queue)
    method, properties, body = channel.basic_get(queue)
    assert (body, properties.headers["n"]) == (b"hello", 1)
    channel.basic_ack(method.delivery_tag)
    assert channel.basic_get(queue, auto_ack=True) == (None, None, None)
    assert stage.reasons(4) == ["sig.missing"] * 4
    channel.close()
    assert stage.is_empty(queue)


def test_consumer_without_acknowledgements(stage: Stage) -> None:
    """A reject would close its channel: the message is in quarantine, and nowhere else."""
    queue = stage.queue("classic")
    stage.forge(queue)
    stage.message(queue).publish(stage.direct)
    assert [body for _, _, body in stage.consume(queue, 1, auto_ack=True)] == [b"hello"]
    assert stage.reasons(1) == ["sig.missing"]


def test_direct_reply_to(stage: Stage) -> None:
    """The broker writes a name of its own into the request; an answer that nobody signed is not heard."""
    queue = stage.queue("classic")
    reply_to = "amq.rabbitmq.reply-to"
    asking, heard = stage.worker.channel(), []
    asking.basic_consume(reply_to, lambda ch, method, properties, body: heard.append(body), auto_ack=True)
    asking.basic_publish("", queue, b"question", pika.BasicProperties(reply_to=reply_to))
    [(_, properties, body)] = stage.consume(queue, 1)
    assert body == b"question" and properties.reply_to.startswith(reply_to + ".")
    stage.forge(properties.reply_to, b"forged")
    answering = stage.worker.channel()
    answering.basic_publish("", properties.reply_to, b"answer")
    wait_until(lambda: stage.turn() and bool(heard), 10, "the answer")
    assert heard == [b"answer"]
    assert stage.reasons(1) == ["sig.missing"]
    asking.close()
    answering.close()


def test_large_delivery(stage: Stage) -> None:
    """In many frames, and as it was sent."""
    queue = stage.queue("classic")
    body = bytes(range(256)) * 4096
    stage.message(queue, body).publish(stage.direct)
    stage.check_accepted(queue, body)


def test_key_that_is_revoked_while_messages_wait(
    stage: Stage, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    """What lies in the queue is judged by the keys of now."""
    queue = stage.queue("quorum")
    secret = new_secret()
    settings = {
        "publish": {"action": "sign", "sign_with": "own"},
        "deliver": {"action": "verify"},
        "content": {"profile": "generic", "types": ["*"]},
        "quarantine": {"url": rabbitmq.url_of(stage.vhost), "exchange": "revoked"},
    }
    signer = Key("k2", HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))
    own = key("own", new_secret())
    with gateway(tmp_path, rabbitmq.port, [own, key("k2", secret)], settings) as sidecar:
        for _ in range(2):
            Sealed(signer, stage.vhost, routing_key=queue).publish(stage.direct)
        with connect(sidecar.port, stage.vhost) as connection:
            channel = connection.channel()
            assert channel.basic_get(queue, auto_ack=True)[2] == b"hello"
            sidecar.write_keys([own, key("k2", secret, state="revoked")])
            reloaded = lambda: sidecar.metric("sealgate_config_reloads_total", result="ok") > 0  # noqa: E731
            wait_until(reloaded, 10, "the new keys")
            assert channel.basic_get(queue) == (None, None, None)
        refused = sidecar.metric("sealgate_messages_total", direction="deliver", reason="sig.key_state")
        assert refused == 1


def test_message_that_waited_for_its_rate_arrives_where_it_was_sent(
    stage: Stage, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    """A gateway lets it wait in a queue of its own: strict consumers take it, without its expiration."""
    settings = {
        "content": {"profile": "generic", "types": ["*"]},
        "rate": {"q.classic.*": "5/s burst 1", "q.quorum.*": "5/s burst 1"},
        "replay": {"clock_skew": "1s"},
        "quarantine": {"exchange": "paced"},
    }
    queues = [stage.queue(kind) for kind in TYPES]
    with gateway(tmp_path, rabbitmq.port, [stage.key], settings) as pacing:
        ready = int(time.time()) + 3
        wait_until(lambda: time.time() >= ready, 10, "the horizon of the memory store")
        with connect(pacing.port, stage.vhost) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for queue in queues:
                for number in range(3):
                    stage.message(queue, b"%d" % number, expiration="60000").publish(channel)
    for queue in queues:
        taken = stage.consume(queue, 3)
        assert [body for _, _, body in taken] == [b"0", b"1", b"2"]
        deaths = [properties.headers.get("x-death") for _, properties, _ in taken]
        assert deaths[0] is None
        assert all(death[0]["queue"].startswith("sealgate.wait.") for death in deaths[1:])


def test_flood_of_forged_messages(stage: Stage) -> None:
    """More than may wait here at once, to a consumer without a prefetch: the broker is not read meanwhile."""
    queue = stage.queue("classic")
    flooding = stage.broker.channel()
    for _ in range(2000):
        flooding.basic_publish("", queue, b"x" * 4096)
    flooding.close()
    stage.message(queue).publish(stage.direct)
    channel = stage.worker.channel()
    seen: list[bytes] = []
    channel.basic_consume(queue, lambda ch, method, properties, body: seen.append(body), auto_ack=False)
    wait_until(lambda: stage.turn() and seen == [b"hello"], 60, "the one good message")
    wait_until(lambda: stage.turn() and stage.kept.depth(KEPT) == 2000, 60, "the forged ones to be kept")
    stage.kept.purge(KEPT)
    # What quarantine has confirmed is rejected next; a channel that closes before gives it back to its queue.
    wait_until(
        lambda: stage.turn() and stage.sidecar.metric("sealgate_buffered_bytes") == 0, 30, "the memory"
    )
    channel.basic_ack(0, multiple=True)
    channel.close()
    assert stage.is_empty(queue)


def test_without_quarantine_the_broker_keeps_what_is_refused(
    stage: Stage, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    """It is not rejected before it is safe; the sidecar is killed, and the message is where it was."""
    queue = stage.queue("quorum")
    settings = {
        "publish": {"action": "sign", "sign_with": "k1"},
        "deliver": {"action": "verify"},
        "content": {"profile": "generic", "types": ["*"]},
        "quarantine": {"url": f"amqp://guest:guest@127.0.0.1:{free_port()}"},
    }
    with gateway(tmp_path, rabbitmq.port, [stage.key], settings) as sidecar:
        connection = connect(sidecar.port, stage.vhost)
        channel = connection.channel()
        channel.basic_consume(queue, lambda *seen: pytest.fail(f"the consumer saw {seen}"))
        stage.forge(queue)
        refused = lambda: sidecar.metric("sealgate_messages_total", reason="sig.missing")  # noqa: E731
        wait_until(lambda: connection.process_data_events(0) or refused() == 1, 10, "the refusal")
        connection.process_data_events(1)
        sidecar.stop(signal.SIGKILL)
        # Only by this does pika close its sockets.
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            connection.process_data_events(10)
    wait_until(lambda: stage.direct.basic_get(queue, auto_ack=True)[2] == b"evil", 10, "the message again")


def test_wait_in_the_queue_is_told(stage: Stage) -> None:
    """The generic profile takes each message for a task, named by its routing key."""
    queue = stage.queue("classic")
    stage.message(queue).publish(stage.direct)
    before = stage.sidecar.metric("sealgate_queue_wait_seconds_count")
    stage.check_accepted(queue)
    assert stage.sidecar.metric("sealgate_queue_wait_seconds_count") == before + 1
