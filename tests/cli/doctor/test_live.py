"""A configuration against a real RabbitMQ and a real Redis: what is found; and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from sealgate.cli.doctor import live_broker
from support.doctor_apps import doctor, findings_of, pairs, write_app
from support.doctor_configs import Place
from support.processes import free_port, wait_until
from support.redis_server import RedisServer

from .conftest import Managed

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

#: What is so on the test's own servers.
USUAL = {("live.broker-guest", "upstream.urls[0]"), ("live.redis-no-password", "replay.store")}
QUEUES = ("sealgate.quarantine", "sealgate.wait.0123456789abcdef", "sealgate.park.0123456789abcdef")


@pytest.fixture
def place(
    tmp_path: Path, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """A gateway's configuration for these servers; its own user may do what it has to."""
    monkeypatch.setattr(live_broker, "own_addresses", list)
    place = Place(tmp_path, f"amqp://127.0.0.1:{managed.server.port}")
    place.ports["admin"] = free_port()
    configure(place, managed, redis_server, monkeypatch)
    return place


def configure(
    place: Place,
    managed: Managed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    login: str = "sealgate:Rq7broker",
    vhost: str = "%2F",
    more: str = "",
) -> None:
    monkeypatch.setenv("QUARANTINE_URL", f"amqp://{login}@127.0.0.1:{managed.server.port}/{vhost}")
    place.gateway(
        ("redis://127.0.0.1:6379/0", redis_server.url),
        more=f'[quarantine]\nurl = "env:QUARANTINE_URL"\n{more}',
    )


def connection(managed: Managed, vhost: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", managed.server.port, vhost))


def exists(managed: Managed, vhost: str, queue: str) -> bool:
    with connection(managed, vhost) as own:
        try:
            own.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as closed:
            assert closed.reply_code == 404
            return False
    return True


def test_a_good_set_up_has_no_finding_and_nothing_is_left_behind(place: Place, managed: Managed) -> None:
    assert pairs(place.findings()) == USUAL
    assert [queue for queue in QUEUES if exists(managed, "/", queue)] == []
    told = doctor("--config", place.home / "gateway.toml", "--ignore", "live.*").stdout
    assert f"looked at: 127.0.0.1:{managed.server.port}: RabbitMQ 3." in told
    assert "looked at: permissions of Sealgate's own user" in told
    assert "not looked at: the traffic of a gateway: none answers" in told


def test_a_user_without_rights_is_found_for_each_queue(
    place: Place, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(place, managed, redis_server, monkeypatch, "weak:Rq7broker")
    expected = {("live.permission", f"configure {queue}") for queue in QUEUES}
    expected.add(("live.permission", "write sealgate.quarantine"))
    assert pairs(place.findings()) == USUAL | expected


def test_a_user_that_may_not_let_messages_go_on_is_found(
    place: Place, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that holds messages may only be declared by who may write to where they go from there."""
    configure(place, managed, redis_server, monkeypatch, "halfway:Rq7broker")
    expected = {("live.permission", f"configure {queue}") for queue in QUEUES[1:]}
    assert pairs(place.findings()) == USUAL | expected


@pytest.mark.parametrize(("login", "vhost"), [("sealgate:wrong", "%2F"), ("sealgate:Rq7broker", "nowhere")])
def test_a_login_that_is_refused_is_found(
    place: Place,
    managed: Managed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    vhost: str,
) -> None:
    configure(place, managed, redis_server, monkeypatch, login, vhost)
    assert pairs(place.findings()) == USUAL | {("live.login", "quarantine.url")}


def test_another_queue_of_that_name_is_found(
    place: Place, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection(managed, "taken") as own:
        own.channel().queue_declare("sealgate.quarantine", durable=True)
    configure(place, managed, redis_server, monkeypatch, vhost="taken")
    assert pairs(place.findings()) == USUAL | {("live.quarantine-topology", "quarantine.exchange")}


def test_what_is_in_quarantine_is_told_and_counted(
    place: Place, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {
        "x-max-length": 10,
        "x-max-length-bytes": 268_435_456,
        "x-message-ttl": 604_800_000,
        "x-overflow": "drop-head",
    }
    with connection(managed, "filling") as own:
        channel = own.channel()
        channel.confirm_delivery()
        channel.exchange_declare("sealgate.quarantine", "fanout", durable=True)
        channel.queue_declare("sealgate.quarantine", durable=True, arguments=arguments)
        channel.basic_publish("", "sealgate.quarantine", b"record")
        more = "length_max = 10\n"
        configure(place, managed, redis_server, monkeypatch, vhost="filling", more=more)
        assert pairs(place.findings()) == USUAL | {("live.quarantine-holds", "quarantine.exchange")}
        for _ in range(8):
            channel.basic_publish("", "sealgate.quarantine", b"record")
        assert pairs(place.findings()) == USUAL | {("live.quarantine-filling", "quarantine.length_max")}


def test_who_is_connected_around_the_gateway_is_found(place: Place, managed: Managed) -> None:
    """Clients of the gateway come as its own user; this one does not."""
    around = {("live.around-gateway", "guest@127.0.0.1")}
    # The API lists channels for a while after they were closed.
    arguments = ("--management", managed.management, "--ignore", "live.no-confirms")

    def seen() -> bool:
        return around <= pairs(place.findings(*arguments))

    with connection(managed, "/"):
        wait_until(seen, 20, "the management API to list the connection")
        assert pairs(place.findings(*arguments)) == USUAL | around
        # Where clients have logins of their own, only the host can tell.
        text = (place.home / "gateway.toml").read_text()
        before, _, rest = text.partition("[credentials]")
        (place.home / "gateway.toml").write_text(before + "[keys]" + rest.partition("[keys]")[2])
        assert not around & pairs(place.findings(*arguments))


def test_who_publishes_without_confirms_is_found(place: Place, managed: Managed) -> None:
    unconfirmed = ("live.no-confirms", "guest@127.0.0.1")
    arguments = ("--management", managed.management, "--ignore", "live.around-gateway")

    def seen() -> bool:
        return unconfirmed in pairs(place.findings(*arguments))

    with connection(managed, "/") as own:
        careful = own.channel()
        careful.confirm_delivery()
        careful.basic_publish("amq.fanout", "", b"")
        assert not seen()
        own.channel().basic_publish("amq.fanout", "", b"")
        wait_until(seen, 30, "the management API to count the message")


def test_a_management_api_that_does_not_answer_is_found(place: Place, managed: Managed) -> None:
    wrong = managed.management.replace("guest:guest", "guest:Qx81wrong")
    result = doctor("--config", place.home / "gateway.toml", "--management", wrong)
    assert "live.management: 127.0.0.1:" in result.stdout
    assert "HTTP status 401" in result.stdout
    assert "Qx81wrong" not in result.output


@pytest.fixture
def redis_settings(redis_server: RedisServer) -> Iterator[RedisServer]:
    """Whoever changes a setting need not change it back."""
    yield redis_server
    for name, value in (("maxmemory-policy", "noeviction"), ("maxmemory", "0"), ("appendonly", "no")):
        redis_server.command("CONFIG", "SET", name, value)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("maxmemory-policy", "allkeys-lru", "live.redis-eviction"),
        ("maxmemory", "1mb", "live.redis-memory"),
        ("appendonly", "yes", "live.redis-persistence"),
    ],
)
def test_settings_of_redis_are_found(
    place: Place, redis_settings: RedisServer, name: str, value: str, rule: str
) -> None:
    assert redis_settings.command("CONFIG", "SET", name, value) == b"+OK"
    assert pairs(place.findings()) == USUAL | {(rule, "replay.store")}


def test_a_redis_that_is_away_is_found(
    place: Place, managed: Managed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (place.home / "gateway.toml").read_text()
    monkeypatch.setenv("STORE", f"redis://:Vb37pw@127.0.0.1:{free_port()}/0")
    (place.home / "gateway.toml").write_text(text.replace(redis_server.url, "env:STORE"))
    found = place.findings()
    assert pairs(found) == {
        ("live.broker-guest", "upstream.urls[0]"),
        ("live.redis-unreachable", "replay.store"),
    }
    assert "Vb37pw" not in str(found)


def test_an_application_that_reaches_the_broker_and_a_store_that_evicts(
    place: Place, managed: Managed, redis_settings: RedisServer
) -> None:
    """Only when it is asked for, and with the application's own login."""
    at = f"127.0.0.1:{managed.server.port}"
    changes = {
        "broker_url": "amqp://sealgate:Rq7broker@127.0.0.1:6672//",
        "result_backend": redis_settings.url.replace("redis://", "redis://:@"),
    }
    write_app(place.home, changes)
    redis_settings.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    arguments = ("--policy", place.home / "gateway.toml")
    usual = {("celery.redis-no-password", "result_backend"), ("celery.literal-secret", "broker_url")}
    assert pairs(findings_of(place.home, *arguments)) == usual
    assert pairs(findings_of(place.home, *arguments, "--connect")) == usual | {
        ("celery.broker-reachable", f"sealgate@{at}"),
        ("celery.redis-eviction", "result_backend"),
    }
    redis_settings.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    changes["broker_url"] = "amqp://sealgate:of-the-gateway@127.0.0.1:6672//"
    write_app(place.home, changes)
    assert pairs(findings_of(place.home, *arguments, "--connect")) == usual
    changes["result_backend"] = f"redis://:Vb37pw@127.0.0.1:{free_port()}/0"
    write_app(place.home, changes)
    found = findings_of(place.home, *arguments, "--connect")
    assert pairs(found) == {
        ("celery.redis-unreachable", "result_backend"),
        ("celery.literal-secret", "broker_url"),
        ("celery.literal-secret", "result_backend"),
    }
    assert "Vb37pw" not in str(found)
