"""The transport for kombu against real servers: everything it publishes is sealed, nothing forged gets
through."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pika
import pytest
from kombu import Connection, Consumer, Producer, Queue
from kombu.message import Message

from integrations.conftest import write_keys
from sealgate.integrations.keys import KeysError
from sealgate.integrations.kombu import TRANSPORT
from sealgate.integrations.options import OptionsError
from sealgate.reason import GateError
from sealgate.signing.token import is_session_nonce, parse_token
from support.certificates import Authority
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

#: Messages that are no tasks; and nonces of this very connection, so that random ones would be refused.
GENERIC = {"content": {"profile": "generic", "types": ["*"]}, "replay": {"nonces": "session"}}
SECONDS_MAX = 20


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    write_keys(path, [key("k1", new_secret())])
    return path


@pytest.fixture(scope="module")
def process(
    rabbitmq: RabbitMQServer, keys_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    settings = {**GENERIC, "keys": {"source": f"file:{keys_file}"}}
    with gateway(tmp_path_factory.mktemp("gateway"), rabbitmq.port, [], settings) as running:
        yield running


def connection(
    url: str, keys_file: Path, confirm: bool = True, tls: object = False, **options: Any
) -> Connection:
    """A connection by our transport, as Celery makes it."""
    given = {"keys": f"file:{keys_file}", **options}
    return Connection(
        url, ssl=tls, transport=TRANSPORT, transport_options={"confirm_publish": confirm, "sealgate": given}
    )


class Received:
    """What an application's callbacks were given."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.messages: list[Message] = []

    def __call__(self, body: Any, message: Message) -> None:
        self.bodies.append(body)
        self.messages.append(message)
        message.ack()


def seals_of(broker: RabbitMQServer, vhost: str, queue: str, count: int) -> list[str]:
    """`x-seal` of what lies in a queue, oldest first, seen by a plain client."""
    found = []
    with Plain(broker, vhost) as channel:
        for _ in range(count):
            _, properties, _ = channel.basic_get(queue, auto_ack=True)
            assert properties is not None, "fewer messages than that"
            found.append(properties.headers["x-seal"])
    return found


class Plain:
    """A client of the broker itself, which signs nothing."""

    def __init__(self, broker: RabbitMQServer, vhost: str) -> None:
        self._connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port, vhost))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def direct(broker: RabbitMQServer, vhost: str) -> str:
    """The broker itself, around any gateway."""
    return f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost}"


# Publishing


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "unconfirmed"])
def test_what_is_published_passes_the_gateway_and_the_applications_objects_are_left_alone(
    rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, keys_file: Path, confirm: bool
) -> None:
    headers = {"tenant": "acme", "x-seal": "copied from somewhere"}
    with connection(process.url(vhost), keys_file, confirm) as conn:
        producer = Producer(conn.channel())
        bound = Queue("sealed", channel=conn.channel())
        bound.declare()
        for body in ("text", b"octets", {"a": 1}, "", "ü" * 200_000):
            producer.publish(body, routing_key="sealed", headers=headers, priority=3, expiration=60)
        # A channel's own answer comes after all that was published on it.
        conn.default_channel.queue_declare("sealed", passive=True)
        producer.channel.queue_declare("sealed", passive=True)
    assert headers == {"tenant": "acme", "x-seal": "copied from somewhere"}
    tokens = [parse_token(seal.encode()) for seal in seals_of(rabbitmq, vhost, "sealed", 5)]
    assert all(is_session_nonce(token.nonce) for token in tokens)
    assert process.refusals() == {}


def test_message_published_twice_is_two_messages(
    rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, keys_file: Path
) -> None:
    """kombu publishes again when a confirm is lost: the very same object, on a channel perhaps of another
    connection."""
    message = amqp.Message("again", application_headers={"n": 1})
    for url in (process.url(vhost), direct(rabbitmq, vhost)):
        with connection(url, keys_file) as conn:
            channel = conn.channel()
            channel.queue_declare("again", auto_delete=False)
            for _ in range(2):
                channel.basic_publish(message, exchange="", routing_key="again")
    nonces = [parse_token(seal.encode()).nonce for seal in seals_of(rabbitmq, vhost, "again", 4)]
    assert len(set(nonces)) == 4
    # Without a challenge they are random.
    assert [is_session_nonce(nonce) for nonce in nonces] == [True, True, False, False]


def test_what_can_not_be_signed_fails_where_it_is_published_and_the_connection_goes_on(
    vhost: str, process: GatewayProcess, keys_file: Path
) -> None:
    with connection(process.url(vhost), keys_file) as conn:
        producer = Producer(conn.channel())
        with pytest.raises(GateError, match="no finite number"):
            producer.publish("x", routing_key="q", headers={"ratio": float("nan")}, retry=True)
        producer.publish("x", routing_key="q")


def test_returned_message_comes_back_as_it_was_sent(
    vhost: str, process: GatewayProcess, keys_file: Path
) -> None:
    returned: list[Any] = []
    with connection(process.url(vhost), keys_file) as conn:
        channel = conn.channel()
        channel.events["basic_return"].add(lambda *args: returned.append(args[-1]))
        for headers in ({"n": 1}, None):
            message = amqp.Message("nobody is here", application_headers=headers)
            channel.basic_publish(message, exchange="", routing_key="nowhere", mandatory=True)
        while len(returned) < 2:
            conn.drain_events(timeout=SECONDS_MAX)
    assert [message.properties.get("application_headers") for message in returned] == [{"n": 1}, None]


def test_gateway_refuses_who_signs_with_another_key(
    vhost: str, process: GatewayProcess, tmp_path: Path
) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, [key("k1", new_secret())])
    before = process.refusals().get("sig.bad", 0)
    with connection(process.url(vhost), path) as conn, pytest.raises(amqp.AccessRefused, match=r"sig\.bad"):
        Producer(conn.channel()).publish("x", routing_key="q", retry=False)
    assert process.refusals()["sig.bad"] == before + 1


# Connecting


def test_no_keys_or_wrong_options_are_no_connection(
    vhost: str, process: GatewayProcess, tmp_path: Path
) -> None:
    with pytest.raises(KeysError):
        connection(process.url(vhost), tmp_path / "nothing.toml").connect()
    with pytest.raises(OptionsError):
        connection(process.url(vhost), tmp_path, kid="k1").connect()


def test_failover_to_another_url_keeps_the_transport(
    rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, keys_file: Path
) -> None:
    """kombu's own `switch` would go on with plain AMQP: unsigned, and whatever was configured unverified."""
    dead = f"amqp://guest:guest@127.0.0.1:{free_port()}/{vhost}"
    with connection(f"{dead};{process.url(vhost)}", keys_file, verify=True) as conn:
        conn.ensure_connection(max_retries=5, interval_start=0, interval_step=0)
        Queue("failover", channel=conn.channel()).declare()
        Producer(conn.channel()).publish("x", routing_key="failover")
        assert conn.clone().transport_cls == TRANSPORT
    assert seals_of(rabbitmq, vhost, "failover", 1)


URLS = [
    "amqp://guest:secret@broker:5673/shop",
    "amqp://broker",
    "amqp://broker//",
    "amqps://user@broker/shop",
    "amqps://broker:5671",
    "pyamqp://user:p%40ss@broker/%2Fshop",
    "amqp://one;amqps://u:p@two/v",
    "broker",
    "",
]


@pytest.mark.parametrize("url", URLS)
def test_url_means_what_it_means_to_kombu(url: str, keys_file: Path) -> None:
    ours = connection(url, keys_file)
    theirs = Connection(url)
    for _ in range(2):
        assert ours.as_uri() == theirs.as_uri()
        assert ours.as_uri(include_password=True) == theirs.as_uri(include_password=True)
        told = [
            {
                name: value
                for name, value in conn.info().items()
                if name not in ("transport", "transport_options")
            }
            for conn in (ours, theirs)
        ]
        assert told[0] == told[1]
        ours.maybe_switch_next()
        theirs.maybe_switch_next()
        assert ours.transport_cls == TRANSPORT


def test_what_is_no_amqp_is_refused(keys_file: Path) -> None:
    with pytest.raises(ValueError, match="redis"):
        connection("redis://localhost", keys_file).connect()
    conn = connection("amqp://localhost;redis://localhost", keys_file)
    assert conn.as_uri() == "amqp://guest:**@localhost:5672//"
    with pytest.raises(ValueError, match="redis"):
        conn.maybe_switch_next()


def test_amqps_is_tls(rabbitmq: RabbitMQServer, vhost: str, keys_file: Path, tmp_path: Path) -> None:
    """With a transport configured kombu forgets what amqps:// means: the password would go in the clear."""
    authority = Authority(tmp_path)
    served = authority.issue("gateway.test")
    settings = {
        **GENERIC,
        "keys": {"source": f"file:{keys_file}"},
        "listen": {"tls": {"cert": served.cert, "key": served.key}},
    }
    with gateway(tmp_path / "gateway", rabbitmq.port, [], settings) as running:
        plain_url = running.url(vhost)
        url = plain_url.replace("amqp://", "amqps://")
        assert connection(url, keys_file).transport.client.ssl is True
        tls = {"ca_certs": str(authority.ca), "server_hostname": "gateway.test"}
        for given in (plain_url, url):
            with connection(given, keys_file, tls=tls) as conn:
                Producer(conn.channel()).publish("x", routing_key="q")
                assert conn.connection.transport.sock.version().startswith("TLS")
        assert running.refusals() == {}


# Consuming


@pytest.fixture
def forger(rabbitmq: RabbitMQServer, vhost: str) -> Iterator[Any]:
    """A channel of someone who can write to the broker itself. `tasks` dead-letters to `dead`."""
    with Plain(rabbitmq, vhost) as channel:
        channel.queue_declare("dead")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("tasks", arguments=arguments)
        yield channel


def test_forged_delivery_is_rejected_and_the_next_good_one_arrives(
    rabbitmq: RabbitMQServer, vhost: str, forger: Any, process: GatewayProcess, keys_file: Path
) -> None:
    bomb = pika.BasicProperties(headers={"compression": "application/x-gzip"}, content_type="text/plain")
    forger.basic_publish("", "tasks", gzip.compress(b"\0" * 10_000_000), bomb)
    forger.basic_publish("", "tasks", b"forged", pika.BasicProperties(content_type="text/plain"))
    received = Received()
    with connection(process.url(vhost), keys_file, verify=True) as conn:
        Producer(conn.channel()).publish("good", routing_key="tasks", headers={"n": 1})
        with Consumer(conn.channel(), [Queue("tasks", no_declare=True)], callbacks=[received]):
            while not received.bodies:
                conn.drain_events(timeout=SECONDS_MAX)
    assert received.bodies == ["good"]
    assert received.messages[0].headers == {"n": 1}  # the seal is not the application's business
    assert rabbitmq.depth(vhost, "dead") == 2


def test_captured_message_moved_to_another_queue_is_rejected(
    rabbitmq: RabbitMQServer, vhost: str, forger: Any, process: GatewayProcess, keys_file: Path
) -> None:
    received = Received()
    with connection(process.url(vhost), keys_file, verify=True) as conn:
        forger.queue_declare("other")
        for _ in range(2):
            Producer(conn.channel()).publish("good", routing_key="other")
        for _ in range(2):
            _, properties, body = forger.basic_get("other", auto_ack=True)
            forger.basic_publish("", "tasks", body, properties)
        Producer(conn.channel()).publish("last", routing_key="tasks")
        with Consumer(conn.channel(), [Queue("tasks", no_declare=True)], callbacks=[received]):
            while not received.bodies:
                conn.drain_events(timeout=SECONDS_MAX)
    assert received.bodies == ["last"]
    assert rabbitmq.depth(vhost, "dead") == 2


def test_forged_delivery_without_acknowledgement_is_dropped_and_the_channel_lives(
    rabbitmq: RabbitMQServer, vhost: str, forger: Any, process: GatewayProcess, keys_file: Path
) -> None:
    forger.basic_publish("", "tasks", b"forged", pika.BasicProperties(content_type="text/plain"))
    received = Received()
    with connection(process.url(vhost), keys_file, verify=True) as conn:
        consumer = Consumer(
            conn.channel(), [Queue("tasks", no_declare=True)], callbacks=[received], no_ack=True
        )
        with consumer:
            Producer(conn.channel()).publish("good", routing_key="tasks")
            while not received.bodies:
                conn.drain_events(timeout=SECONDS_MAX)
            consumer.channel.queue_declare("tasks", passive=True)
    assert received.bodies == ["good"]
    assert rabbitmq.depth(vhost, "dead") == 0


@pytest.mark.parametrize("no_ack", [True, False], ids=["no_ack", "ack"])
def test_get_skips_what_is_forged(
    rabbitmq: RabbitMQServer, vhost: str, forger: Any, process: GatewayProcess, keys_file: Path, no_ack: bool
) -> None:
    with connection(process.url(vhost), keys_file, verify=True) as conn:
        queue = Queue("tasks", no_declare=True, channel=conn.channel())
        for body in (b"forged", b"forged as well"):
            forger.basic_publish("", "tasks", body, pika.BasicProperties(content_type="text/plain"))
        Producer(conn.channel()).publish("good", routing_key="tasks")
        message = queue.get(no_ack=no_ack)
        assert message is not None
        assert message.payload == "good"
        message.ack() if not no_ack else None
        assert queue.get(no_ack=no_ack) is None
        queue.channel.queue_declare("tasks", passive=True)
    assert rabbitmq.depth(vhost, "dead") == (0 if no_ack else 2)


def test_dead_letters_pass_where_that_is_allowed(
    vhost: str, forger: Any, process: GatewayProcess, keys_file: Path
) -> None:
    """RabbitMQ's own dead-lettering: an expiration taken away, `x-death` in its place."""
    received = Received()
    with connection(process.url(vhost), keys_file, verify=True, queues={"dead": "dead_letter"}) as conn:
        Producer(conn.channel()).publish("late", routing_key="tasks", expiration=0.01)
        with Consumer(conn.channel(), [Queue("dead", no_declare=True)], callbacks=[received]):
            while not received.bodies:
                conn.drain_events(timeout=SECONDS_MAX)
    assert received.messages[0].headers["x-death"][0]["reason"] == "expired"


def test_observe_tells_and_lets_pass(
    vhost: str, forger: Any, process: GatewayProcess, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    received = Received()
    forger.basic_publish("", "tasks", b"unsigned", pika.BasicProperties(content_type="text/plain"))
    with (
        connection(process.url(vhost), keys_file, verify=True, mode="observe") as conn,
        Consumer(conn.channel(), [Queue("tasks", no_declare=True)], callbacks=[received]),
    ):
        conn.drain_events(timeout=SECONDS_MAX)
    assert received.bodies == ["unsigned"]
    assert "would refuse 1 deliveries: sig.missing" in caplog.text


def test_without_verify_deliveries_are_what_they_were(
    vhost: str, forger: Any, process: GatewayProcess, keys_file: Path
) -> None:
    received = Received()
    forger.basic_publish("", "tasks", b"unsigned", pika.BasicProperties(content_type="text/plain"))
    with (
        connection(process.url(vhost), keys_file) as conn,
        Consumer(conn.channel(), [Queue("tasks", no_declare=True)], callbacks=[received]),
    ):
        conn.drain_events(timeout=SECONDS_MAX)
    assert received.bodies == ["unsigned"]


# Alone


def test_transport_imports_kombu_and_its_own_only() -> None:
    statement = """
import sys
import kombu.transport.pyamqp
before = set(sys.modules)
import sealgate.celery
found = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(found - set(sys.stdlib_module_names)))
"""
    told = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, timeout=60)
    assert [name for name in eval(told.stdout) if not name.endswith("__mypyc")] == ["kombu", "sealgate"]


def test_child_of_a_fork_publishes_on_a_connection_of_its_own(
    rabbitmq: RabbitMQServer, vhost: str, process: GatewayProcess, keys_file: Path
) -> None:
    """As in Celery's pool: the keys were loaded, and a connection was open, before the fork."""
    with connection(process.url(vhost), keys_file) as conn:
        Queue("forked", channel=conn.channel()).declare()
        Producer(conn.channel()).publish("parent", routing_key="forked")
        pid = os.fork()
        if pid == 0:
            done = 1
            try:
                conn.collect()  # Celery does as much after a fork
                with connection(process.url(vhost), keys_file) as own:
                    Producer(own.channel()).publish("child", routing_key="forked")
                done = 0
            finally:
                os._exit(done)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(set(seals_of(rabbitmq, vhost, "forked", 2))) == 2
