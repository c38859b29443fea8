"""pika, aio-pika, dramatiq and taskiq, signing for themselves, against real servers."""

from __future__ import annotations

import asyncio
import decimal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import dramatiq
import pika
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from taskiq_aio_pika import AioPikaBroker

from integrations.conftest import write_keys
from sealgate.integrations.aio_pika import sealing_connection
from sealgate.integrations.dramatiq import SealingMiddleware
from sealgate.integrations.options import read_options
from sealgate.integrations.pika import SealingChannel, seal
from sealgate.integrations.signer import Signer, open_signer
from sealgate.reason import GateError
from sealgate.signing.token import is_session_nonce, parse_token
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

#: No skew: of messages with random nonces a new gateway takes what is younger than itself by that much.
SKEW = {"replay": {"clock_skew": "0s"}}
GENERIC = {"content": {"profile": "generic", "types": ["*"]}, **SKEW}
SECONDS_MAX = 20
HEADERS: Mapping[str, Any] = {
    "text": "é",
    "many": [1, 2**40, None, True, {"deep": [{}]}],
    "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "price": decimal.Decimal("12.50"),
    "negative": -5,
}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    write_keys(path, [key("k1", new_secret())])
    return {"keys": f"file:{path}"}


@contextmanager
def running(
    rabbitmq: RabbitMQServer, home: Path, options: Mapping[str, str], settings: Mapping[str, Any]
) -> Iterator[GatewayProcess]:
    with gateway(home, rabbitmq.port, [], {**settings, "keys": {"source": options["keys"]}}) as process:
        if "nonces" not in settings["replay"]:
            ready = time.time()
            wait_until(lambda: time.time() > ready + 2, 5, "its horizon to pass")
        yield process


@pytest.fixture(scope="module")
def process(
    rabbitmq: RabbitMQServer, options: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    with running(rabbitmq, tmp_path_factory.mktemp("generic"), options, GENERIC) as gate:
        yield gate


@pytest.fixture
def through(process: GatewayProcess, vhost: str) -> Iterator[pika.BlockingConnection]:
    """A pika connection through the gateway."""
    with pika.BlockingConnection(pika.URLParameters(process.url(vhost))) as connection:
        yield connection


def taken(broker: RabbitMQServer, vhost: str, queue: str, count: int) -> list[tuple[Any, bytes]]:
    """Properties and body of what is to be in a queue, which is then empty."""
    found: list[tuple[Any, bytes]] = []
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port, vhost)) as connection:
        channel = connection.channel()
        while len(found) < count:
            for _, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=SECONDS_MAX):
                assert properties is not None, f"{len(found)} of {count} messages"
                found.append((properties, body))
                if len(found) == count:
                    break
        channel.cancel()
    return found


def token_of(properties: Any) -> Any:
    return parse_token(properties.headers["x-seal"].encode())


class TestPika:
    def test_channel_that_is_wrapped_seals_whatever_it_publishes(
        self, rabbitmq: RabbitMQServer, vhost: str, through: Any, process: GatewayProcess, options: Any
    ) -> None:
        channel = SealingChannel(through.channel(), options)
        channel.confirm_delivery()
        channel.queue_declare("orders")
        properties = pika.BasicProperties(
            headers={**HEADERS, "octets": b"\xff\x00"},
            priority=3,
            timestamp=5,
            expiration="60000",
            type="t",
            message_id="m",
        )
        for given in (properties, pika.BasicProperties(), None):
            channel.basic_publish("", "orders", b"octets", given, mandatory=True)
        channel.basic_publish("", "orders", "text")
        assert "x-seal" not in properties.headers
        found = taken(rabbitmq, vhost, "orders", 4)
        assert [body for _, body in found] == [b"octets"] * 3 + [b"text"]
        tokens = [token_of(seen) for seen, _ in found]
        assert [int.from_bytes(token.nonce[16:], "big") for token in tokens] == [0, 1, 2, 3]
        assert process.refusals() == {}

    def test_channels_of_a_connection_share_its_row_of_numbers(
        self, rabbitmq: RabbitMQServer, vhost: str, through: Any, process: GatewayProcess, options: Any
    ) -> None:
        channels = [SealingChannel(through.channel(), options) for _ in range(3)]
        channels[0].queue_declare("orders")
        for _ in range(3):
            for channel in channels:
                channel.basic_publish("", "orders", b"x")
        found = taken(rabbitmq, vhost, "orders", 9)
        numbers = [int.from_bytes(token_of(seen).nonce[16:], "big") for seen, _ in found]
        assert sorted(numbers) == list(range(9))
        assert process.refusals() == {}

    def test_seal_alone_gives_properties_for_one_publish(
        self, rabbitmq: RabbitMQServer, vhost: str, through: Any, process: GatewayProcess, options: Any
    ) -> None:
        channel = through.channel()
        channel.queue_declare("orders")
        signer = open_signer(options)
        channel.basic_publish("", "orders", b"x", seal(signer, "", "orders", b"x", None, vhost))
        channel.basic_publish("", "orders", b"x", seal(signer, "", "orders", b"x", None, vhost))
        tokens = [token_of(seen) for seen, _ in taken(rabbitmq, vhost, "orders", 2)]
        assert len({token.nonce for token in tokens}) == 2
        assert not any(is_session_nonce(token.nonce) for token in tokens)

    def test_what_can_not_be_sealed_is_not_published(self, through: Any, options: Any) -> None:
        channel = SealingChannel(through.channel(), options)
        with pytest.raises(GateError, match="a name of 200 bytes"):
            channel.basic_publish("", "q", b"x", pika.BasicProperties(headers={"n" * 200: 1}))
        channel.basic_publish("", "q", b"x")

    def test_connection_that_does_not_block(
        self, rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, options: Any
    ) -> None:
        confirmed: list[Any] = []

        def opened(channel: Any) -> None:
            sealing = SealingChannel(channel, options)
            channel.confirm_delivery(lambda frame: (confirmed.append(frame.method), connection.close()))
            sealing.basic_publish("", "nowhere", b"x", pika.BasicProperties(headers={"a": 1}))

        connection = pika.SelectConnection(
            pika.URLParameters(process.url(vhost)),
            on_open_callback=lambda _: connection.channel(on_open_callback=opened),
            on_close_callback=lambda *_: connection.ioloop.stop(),
        )
        connection.ioloop.start()
        connection.ioloop.close()
        assert [type(answer) for answer in confirmed] == [pika.spec.Basic.Ack]


class TestPikaVerifies:
    """What pika has decoded is judged: all that it does not lose is told back."""

    @pytest.fixture
    def channel(self, through: Any, options: Any) -> Any:
        channel = SealingChannel(through.channel(), {**options, "verify": True})
        channel.queue_declare("dead")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("tasks", arguments=arguments)
        return channel

    @pytest.fixture
    def forger(self, rabbitmq: RabbitMQServer, vhost: str, channel: Any) -> Iterator[Any]:
        """Who writes to the broker itself: what is forged lies before what is good."""
        parameters = pika.ConnectionParameters("127.0.0.1", rabbitmq.port, vhost)
        with pika.BlockingConnection(parameters) as connection:
            forging = connection.channel()
            forging.confirm_delivery()
            forging.basic_publish("", "tasks", b"forged", pika.BasicProperties(headers={"n": 1}))
            yield forging

    def publish(self, channel: Any) -> None:
        channel.confirm_delivery()
        full = pika.BasicProperties(
            headers={**HEADERS, "octets": b"\xff\x00"}, priority=3, timestamp=5, type="t", content_type=""
        )
        for properties in (full, None):
            channel.basic_publish("", "tasks", b"good", properties)

    def is_as_sent(self, seen: list[Any]) -> bool:
        return [properties.headers for properties in seen] == [{**HEADERS, "octets": b"\xff\x00"}, None]

    @pytest.mark.parametrize("auto_ack", [True, False], ids=["no_ack", "ack"])
    def test_callbacks_see_nothing_forged(
        self, rabbitmq: RabbitMQServer, vhost: str, channel: Any, forger: Any, auto_ack: bool
    ) -> None:
        seen: list[Any] = []

        def arrived(_: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(properties)
            assert body == b"good"
            if len(seen) == 2:
                channel.stop_consuming()

        self.publish(channel)
        channel.basic_consume("tasks", arrived, auto_ack=auto_ack)
        channel.start_consuming()
        assert self.is_as_sent(seen)
        wait_until(lambda: rabbitmq.depth(vhost, "dead") == (0 if auto_ack else 1), 20, "the dead letter")

    def test_consume_yields_nothing_forged(
        self, rabbitmq: RabbitMQServer, vhost: str, channel: Any, forger: Any
    ) -> None:
        self.publish(channel)
        seen = []
        for method, properties, _ in channel.consume("tasks", inactivity_timeout=SECONDS_MAX):
            assert method is not None
            seen.append(properties)
            if len(seen) == 2:
                break
        channel.cancel()
        assert self.is_as_sent(seen)

    def test_get_skips_what_is_forged(
        self, rabbitmq: RabbitMQServer, vhost: str, channel: Any, forger: Any
    ) -> None:
        self.publish(channel)
        seen = [channel.basic_get("tasks", auto_ack=True)[1] for _ in range(2)]
        assert self.is_as_sent(seen)
        assert channel.basic_get("tasks", auto_ack=True) == (None, None, None)
        with pytest.raises(TypeError, match="not checked"):
            channel.basic_get("tasks", print)

    def test_sealed_message_in_another_queue_is_refused(
        self, rabbitmq: RabbitMQServer, vhost: str, channel: Any, forger: Any
    ) -> None:
        self.publish(channel)
        forger.queue_declare("other")
        for _ in range(3):
            _, properties, body = forger.basic_get("tasks", auto_ack=True)
            forger.basic_publish("", "other", body, properties)
        assert channel.basic_get("other") == (None, None, None)


class TestAioPika:
    def test_connection_seals_whatever_its_exchanges_publish(
        self, rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, options: Any
    ) -> None:
        async def publish() -> None:
            connection = await aio_pika.connect_robust(
                process.url(vhost), connection_class=sealing_connection(options)
            )
            async with connection:
                channel = await connection.channel()
                await channel.declare_queue("orders")
                exchange = await channel.declare_exchange("shop", "fanout")
                await (await channel.get_queue("orders")).bind(exchange)
                message = aio_pika.Message(
                    b"octets",
                    headers={**HEADERS, "ratio": 1.1},
                    priority=3,
                    expiration=60,
                    type="t",
                    timestamp=5,
                )
                await channel.default_exchange.publish(message, "orders", timeout=SECONDS_MAX)
                await exchange.publish(message, "any", timeout=SECONDS_MAX)
                await channel.default_exchange.publish(aio_pika.Message(b""), "orders", timeout=SECONDS_MAX)
                assert "x-seal" not in message.headers

        asyncio.run(publish())
        found = taken(rabbitmq, vhost, "orders", 3)
        assert len({token_of(seen).nonce for seen, _ in found}) == 3
        assert process.refusals() == {}

    def test_message_that_waits_for_its_connection_is_sealed_when_it_is_sent(
        self, rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, options: Any
    ) -> None:
        began = time.time()
        now = [began - 100]
        signer = Signer(read_options(options), clock=lambda: now[0])

        async def publish() -> None:
            connection = await aio_pika.connect_robust(
                process.url(vhost), connection_class=sealing_connection(signer)
            )
            async with connection:
                channel: Any = await connection.channel()
                await channel.declare_queue("orders")
                connected = channel.get_underlay_channel

                async def reconnected() -> Any:
                    """As after a while without a broker."""
                    now[0] = began
                    return await connected()

                channel.get_underlay_channel = reconnected
                await channel.default_exchange.publish(aio_pika.Message(b""), "orders", timeout=SECONDS_MAX)

        asyncio.run(publish())
        ((properties, _),) = taken(rabbitmq, vhost, "orders", 1)
        assert token_of(properties).created == int(began)

    def test_tasks_of_one_loop_publish_at_once(
        self, rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, options: Any
    ) -> None:
        async def publish() -> None:
            connection = await aio_pika.connect_robust(
                process.url(vhost), connection_class=sealing_connection(options)
            )
            async with connection:
                channels = [await connection.channel() for _ in range(4)]
                await channels[0].declare_queue("orders")
                await asyncio.gather(
                    *[
                        channels[number % 4].default_exchange.publish(
                            aio_pika.Message(b"%d" % number), "orders", timeout=SECONDS_MAX
                        )
                        for number in range(100)
                    ]
                )

        asyncio.run(publish())
        assert len({body for _, body in taken(rabbitmq, vhost, "orders", 100)}) == 100
        assert process.refusals() == {}


def test_dramatiq_sends_retries_and_delays_sealed(
    rabbitmq: RabbitMQServer, vhost: str, options: Any, tmp_path: Path
) -> None:
    settings = {"content": {"profile": "dramatiq", "types": [""]}, "replay": {"nonces": "session"}}
    with running(rabbitmq, tmp_path, options, settings) as gate:
        broker = RabbitmqBroker(url=gate.url(vhost), confirm_delivery=True)
        broker.add_middleware(SealingMiddleware(options))
        done, attempts = threading.Event(), []

        def work(number: int) -> None:
            attempts.append(number)
            if len(attempts) < 3:
                raise ValueError("again, please")
            done.set()

        actor = dramatiq.actor(work, broker=broker, max_retries=3, min_backoff=1, max_backoff=5)
        actor.send(7)
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
        worker.start()
        try:
            assert done.wait(SECONDS_MAX)
        finally:
            worker.stop()
            broker.close()
        assert attempts == [7, 7, 7]
        assert gate.refusals() == {}
        assert gate.metric("sealgate_messages_total", verdict="accepted") >= 3


def test_taskiq_sends_sealed(rabbitmq: RabbitMQServer, vhost: str, options: Any, tmp_path: Path) -> None:
    settings = {"content": {"profile": "taskiq", "types": [""]}, **SKEW}
    with running(rabbitmq, tmp_path, options, settings) as gate:
        broker = AioPikaBroker(gate.url(vhost), connection_class=sealing_connection(options))
        task = broker.register_task(lambda number: number, task_name="shop.add")

        async def kick() -> None:
            await broker.startup()
            await task.kiq(1)
            await task.kicker().with_labels(priority=3).kiq(2)
            await broker.shutdown()

        asyncio.run(kick())
        assert gate.refusals() == {}
        found = taken(rabbitmq, vhost, "taskiq", 2)
        assert [seen.headers["task_name"] for seen, _ in found] == ["shop.add"] * 2
        assert all("x-seal" in seen.headers for seen, _ in found)
