"""Clients that log in to the gateway, which logs in to a real broker for them."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp
import pika
import pika.exceptions
import pytest
from pamqp import commands

from support.certificates import Authority, Pair
from support.clients import LOG_INS, name_of, pika_login
from support.gateway import GatewayProcess, gateway
from support.logins import END, Dialogue, Scenario, amqplain, plain, play, play_all, user, write_users
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

PASSWORD = "wonderland-7731"
WRONG = "looking-glass-1871"
BROKER_USER = "sealgate-own"
BROKER_PASSWORD = "cheshire-4242"
RENEWED = "tea-party-1865"
ENV = {"BROKER_PASSWORD": BROKER_PASSWORD, "DAVES": PASSWORD}

#: alice is a user of the broker as well, so that both can be asked the same.
_SET_UP = f"""
Password = <<"{PASSWORD}">>,
lists:foreach(fun({{Name, Secret, Tags}}) ->
    rabbit_auth_backend_internal:add_user(Name, Secret, <<"tests">>),
    rabbit_auth_backend_internal:set_tags(Name, Tags, <<"tests">>),
    rabbit_auth_backend_internal:set_permissions(Name, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
end, [
    {{<<"alice">>, Password, []}},
    {{<<"dave-own">>, Password, []}},
    {{<<"{BROKER_USER}">>, <<"{BROKER_PASSWORD}">>, [impersonator]}}
]),
rabbit_vhost:add(<<"closed">>, <<"tests">>).
"""
_CLEAN_UP = f"""
lists:foreach(fun(Name) -> rabbit_auth_backend_internal:delete_user(Name, <<"tests">>) end,
    [<<"alice">>, <<"dave-own">>, <<"{BROKER_USER}">>]),
rabbit_vhost:delete(<<"closed">>, <<"tests">>).
"""
USERS = (
    user("alice", PASSWORD, vhosts=["/", "nowhere"]),
    user("bob", "", certificate="bob.example"),
    user("carol", PASSWORD, state="disabled"),
    user("dave", PASSWORD, broker_user="dave-own", broker_password="env:DAVES"),
)


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQServer) -> Iterator[RabbitMQServer]:
    rabbitmq.evaluate(_SET_UP)
    yield rabbitmq
    rabbitmq.evaluate(_CLEAN_UP)


@contextmanager
def replacing(
    home: Path, broker: RabbitMQServer, env: dict[str, str] | None = None, **settings: Any
) -> Iterator[GatewayProcess]:
    home.mkdir(parents=True, exist_ok=True)
    write_users(home / "users.toml", *USERS)
    tables: dict[str, Any] = {
        "publish": {"action": "pass"},
        "log": {"level": "debug"},
        "credentials": {
            "mode": "replace",
            "users": f"file:{home / 'users.toml'}",
            "user": BROKER_USER,
            "password": "env:BROKER_PASSWORD",
        },
        **settings,
    }
    with gateway(home, broker.port, [], tables, env=ENV if env is None else env) as running:
        yield running


@pytest.fixture(scope="module")
def gate(broker: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    # Every scenario comes from one address.
    limits = {"login_failures_max": 1000, "address_login_failures_max": 1000}
    with replacing(tmp_path_factory.mktemp("replacing"), broker, limits=limits) as running:
        yield running


AS_THE_BROKER = [
    Scenario("right", response=plain("alice", PASSWORD), vhost="/"),
    Scenario("right, AMQPLAIN", "AMQPLAIN", amqplain("alice", PASSWORD), vhost="/"),
    Scenario("wrong", response=plain("alice", WRONG)),
    Scenario("wrong, AMQPLAIN", "AMQPLAIN", amqplain("alice", WRONG)),
    Scenario("wrong, not to be told", response=plain("alice", WRONG), properties={}),
    Scenario("unknown", response=plain("nobody", PASSWORD)),
    Scenario("unknown, not to be told", response=plain("nobody", PASSWORD), properties={}),
    Scenario("empty password", response=plain("alice", "")),
    Scenario("not UTF-8", response=b"\x00alice\x00\xff\xfe"),
    Scenario("authzid", response=b"other" + plain("alice", PASSWORD)),
    Scenario("no response", response=b""),
    Scenario("garbage", "AMQPLAIN", b"\x05LOG"),
    Scenario("external", "EXTERNAL", b""),
    Scenario("unknown mechanism", "SCRAM", b"x"),
    Scenario("missing vhost", response=plain("alice", PASSWORD), vhost="nowhere"),
    Scenario("vhost of others", response=plain("alice", PASSWORD), vhost="closed"),
    Scenario("3 kB", response=plain("alice", PASSWORD), properties={"pad": "x" * 3_000}, vhost="/"),
]


def test_every_login_is_answered_as_the_broker_would(broker: RabbitMQServer, gate: GatewayProcess) -> None:
    direct = play_all(AS_THE_BROKER, broker.port)
    assert play_all(AS_THE_BROKER, gate.port) == direct
    assert len(direct["right"]) == 2
    assert direct["wrong"] == direct["unknown"]


def test_broker_never_hears_of_a_wrong_login(broker: RabbitMQServer, gate: GatewayProcess) -> None:
    before = broker.log.read_bytes()
    heard = play_all(
        [
            Scenario("wrong", response=plain("alice", WRONG)),
            Scenario("unknown", response=plain("nobody-at-all", WRONG)),
            Scenario("disabled", response=plain("carol", PASSWORD)),
            Scenario("certificate only", response=plain("bob", PASSWORD)),
        ],
        gate.port,
    )
    assert len(set(map(tuple, heard.values()))) == 1
    assert END in heard["wrong"]
    assert b"login refused" not in broker.log.read_bytes()[len(before) :]


@pytest.mark.parametrize("log_in", LOG_INS)
@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", PASSWORD), ("dave", PASSWORD), ("alice", WRONG), ("nobody", WRONG), ("carol", PASSWORD)],
)
def test_clients_tell_it_as_they_tell_the_brokers_own_answer(
    log_in: Callable[..., None], name: str, password: str, broker: RabbitMQServer, gate: GatewayProcess
) -> None:
    right = password == PASSWORD and name != "carol"
    direct = name_of(lambda: log_in(broker.port, "alice", PASSWORD if right else WRONG))
    assert name_of(lambda: log_in(gate.port, name, password)) == direct
    assert (direct == "ok") is right


def test_each_user_is_its_own_user_of_the_broker(broker: RabbitMQServer, gate: GatewayProcess) -> None:
    with connected(gate.port, "alice"), connected(gate.port, "dave"):
        listing = broker.ctl("list_connections", "--no-table-headers", "user")
        assert {BROKER_USER, "dave-own"} <= set(listing.split())
        assert "alice" not in listing.split()


def connected(
    port: int, name: str, password: str = PASSWORD, tls: ssl.SSLContext | None = None
) -> pika.BlockingConnection:
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            "localhost" if tls else "127.0.0.1",
            port,
            credentials=pika.PlainCredentials(name, password),
            ssl_options=pika.SSLOptions(tls, "localhost") if tls else None,
        )
    )


def test_user_id_reaches_the_broker_where_it_trusts_the_gateway(gate: GatewayProcess) -> None:
    """The tag `impersonator` of Sealgate's own user; without it the broker answers 406 itself."""
    properties = pika.BasicProperties(user_id="alice")
    with connected(gate.port, "alice") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.fanout", "", b"x", properties)
    with connected(gate.port, "dave") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            channel.basic_publish("amq.fanout", "", b"x", properties)
        assert refused.value.reply_code == 406


# update-secret


def test_new_secret_is_checked_by_the_gateway(gate: GatewayProcess) -> None:
    with connected(gate.port, "alice") as connection:
        connection.update_secret(PASSWORD, "renewed")
        connection.channel()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as refused:
            connection.update_secret(WRONG, "renewed")
        assert (refused.value.reply_code, refused.value.reply_text) == (
            530, "NOT_ALLOWED - New secret was refused by one of the backends",
        )  # fmt: skip


# Lock-out


def test_locked_out_user_sees_a_wrong_password_and_gets_in_from_elsewhere(
    broker: RabbitMQServer, tmp_path: Path
) -> None:
    limits = {"login_failures_max": 3, "login_lockout_s": 600.0}
    wrong = Scenario("wrong", response=plain("alice", WRONG), patient=False)
    right = Scenario("right", response=plain("alice", PASSWORD), patient=False)
    with replacing(tmp_path, broker, limits=limits) as gate:
        heard = [play(wrong, gate.port) for _ in range(3)]
        assert play(right, gate.port) == heard[0] == heard[2]
        assert play(right, gate.port, source="127.0.0.2")[0].startswith("Connection.Tune")
        counts = {name: gate.metric("sealgate_logins_total", result=name) for name in ("password", "locked")}
        assert counts == {"password": 3, "locked": 1}
        # New users forget it: how an operator unlocks.
        gate.send_signal(signal.SIGHUP)
        wait_until(lambda: "users.reloaded" in gate.log_text(), 20, "the reload")
        assert play(right, gate.port)[0].startswith("Connection.Tune")


# Certificates


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@contextmanager
def with_tls(
    home: Path, broker: RabbitMQServer, authority: Authority
) -> Iterator[tuple[GatewayProcess, Callable[[str], Pair]]]:
    served = authority.issue("localhost")
    tls = {"cert": served.cert, "key": served.key, "client_ca": authority.ca}
    with replacing(home, broker, listen={"tls": tls}) as gate:
        yield gate, authority.issue


def test_certificate_of_a_user_logs_in_without_a_password(
    broker: RabbitMQServer, tmp_path: Path, authority: Authority
) -> None:
    with with_tls(tmp_path, broker, authority) as (gate, issue):
        known, stranger = authority.client(issue("bob.example")), authority.client(issue("eve.example"))
        external = Scenario("external", "EXTERNAL", vhost="/")
        assert play(external, gate.port, tls=known)[-1].startswith("Connection.OpenOk")
        assert play(external, gate.port, tls=stranger) == [END]
        named = Scenario("another name", "EXTERNAL", b"alice")
        assert "mechanism EXTERNAL" in play(named, gate.port, tls=known)[0]
        for context, offered in ((known, "PLAIN AMQPLAIN EXTERNAL"), (stranger, "PLAIN AMQPLAIN")):
            with Dialogue(gate.port, tls=context) as dialogue:
                assert dialogue.start.mechanisms == offered
        connected(gate.port, "alice", tls=stranger).close()
        parameters = pika.ConnectionParameters(
            "localhost",
            gate.port,
            credentials=pika.credentials.ExternalCredentials(),
            ssl_options=pika.SSLOptions(known, "localhost"),
        )
        pika.BlockingConnection(parameters).close()
        connection = amqp.Connection(
            f"localhost:{gate.port}",
            login_method="EXTERNAL",
            ssl={"context": None, "ca_certs": authority.ca, **files(issue("bob.example"))},
        )
        connection.connect()
        connection.close()
        assert gate.metric("sealgate_logins_total", result="certificate") == 1


def files(pair: Pair) -> dict[str, str]:
    return {"certfile": pair.cert, "keyfile": pair.key}


# Reloads


def test_users_are_read_again_and_a_broken_file_keeps_them(broker: RabbitMQServer, tmp_path: Path) -> None:
    with replacing(tmp_path, broker) as gate:
        file = tmp_path / "users.toml"
        connection = connected(gate.port, "alice")
        write_users(file, user("alice", RENEWED), user("erin", PASSWORD))
        wait_until(lambda: "users.reloaded" in gate.log_text(), 20, "the new users")
        for name, password, expected in (("alice", RENEWED, "ok"), ("erin", PASSWORD, "ok")):
            assert name_of(lambda: pika_login(gate.port, name, password)) == expected  # noqa: B023
        assert name_of(lambda: pika_login(gate.port, "alice", PASSWORD)) != "ok"
        # Who was connected stays.
        connection.channel()
        connection.close()
        write_users(file, {"name": "alice", "password": "hunter2"})
        wait_until(lambda: "users.failed" in gate.log_text(), 20, "the broken file")
        pika_login(gate.port, "alice", RENEWED)
        assert gate.ready()
        assert "[!]users" in gate.get("/readyz?verbose")[1]
        assert gate.metric("sealgate_config_reloads_total", result="failed") >= 1
        assert "user[0].password: is no password hash" in gate.log_text()
        assert "hunter2" not in gate.log_text()


# The broker's no to our own login


@pytest.mark.parametrize("properties", [None, {}])
def test_own_login_that_the_broker_refuses_is_told_to_the_operator_alone(
    broker: RabbitMQServer, tmp_path: Path, properties: dict[str, Any] | None
) -> None:
    chosen = {} if properties is None else {"properties": properties}
    right = Scenario("right", response=plain("alice", PASSWORD), **chosen)
    with replacing(tmp_path, broker, {**ENV, "BROKER_PASSWORD": "not-" + BROKER_PASSWORD}) as gate:
        (close, end) = play(right, gate.port)
        assert "'reply_code': 320" in close
        assert "login" not in close.lower()
        assert end == END
        assert gate.metric("sealgate_logins_total", result="broker") == 1
        lines = [json.loads(line) for line in gate.log_text().splitlines() if line.startswith("{")]
        (told,) = [line for line in lines if line["event"] == "login.refused"]
        assert told["result"] == "broker"
        assert "own login" in told["detail"]
        # pika calls whatever ends this part of a handshake probably an authentication error.
        with pytest.raises(pika.exceptions.AMQPConnectionError, match=r"\(320\) 'CONNECTION_FORCED"):
            pika_login(gate.port, "alice", PASSWORD)
        assert BROKER_PASSWORD not in gate.log_text()


# Secrets


def test_no_password_is_in_the_log_at_its_most_talkative(gate: GatewayProcess) -> None:
    text = gate.log_text()
    assert "login.refused" in text
    assert '"user": "alice"' in text
    for secret in (PASSWORD, WRONG, BROKER_PASSWORD, "$scrypt$"):
        assert secret not in text


def test_secret_may_be_renewed_again_and_again(gate: GatewayProcess) -> None:
    with Dialogue(gate.port) as dialogue:
        dialogue.start_ok("PLAIN", plain("alice", PASSWORD), {})
        tune = dialogue.method()
        dialogue.say(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        dialogue.say(commands.Connection.Open("/"))
        assert isinstance(dialogue.method(), commands.Connection.OpenOk)
        dialogue.say(commands.Connection.UpdateSecret(PASSWORD, "once"))
        assert isinstance(dialogue.method(), commands.Connection.UpdateSecretOk)
        dialogue.say(commands.Connection.UpdateSecret(PASSWORD, "twice"))
        assert isinstance(dialogue.method(), commands.Connection.UpdateSecretOk)
