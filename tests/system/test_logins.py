"""Logins that pass through to a real broker: the same answers, to the octet, as without the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from pamqp import commands

from support.clients import LOG_INS, name_of
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.logins import END, TELLS, Dialogue, Scenario, amqplain, own_address, plain, play, play_all
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

PASSWORD = "wonderland-7731"
WRONG = "looking-glass-1871"
SCENARIOS = [
    Scenario("right", response=plain("alice", PASSWORD), vhost="/"),
    Scenario("right, AMQPLAIN", "AMQPLAIN", amqplain("alice", PASSWORD), vhost="/"),
    Scenario("wrong", response=plain("alice", WRONG)),
    Scenario("wrong, AMQPLAIN", "AMQPLAIN", amqplain("alice", WRONG)),
    Scenario("wrong, not to be told", response=plain("alice", WRONG), properties={}),
    Scenario("unknown", response=plain("nobody", WRONG)),
    Scenario("empty password", response=plain("alice", "")),
    Scenario("not UTF-8", response=b"\x00alice\x00\xff\xfe"),
    Scenario("authzid", response=b"other" + plain("alice", PASSWORD)),
    Scenario("no response", response=b""),
    Scenario("garbage", "AMQPLAIN", b"\x05LOG"),
    Scenario("unknown mechanism", "SCRAM", b"x"),
    Scenario("challenges", "RABBIT-CR-DEMO", b"alice", secure=(b"My password is " + PASSWORD.encode(),)),
    Scenario("challenges, wrong", "RABBIT-CR-DEMO", b"alice", secure=(b"My password is x",)),
    Scenario("missing vhost", response=plain("alice", PASSWORD), vhost="nowhere"),
    Scenario("vhost of others", response=plain("alice", PASSWORD), vhost="closed"),
    Scenario("3 kB", response=plain("alice", PASSWORD), properties={"pad": "x" * 3_000}, vhost="/"),
    Scenario("5 kB", response=plain("alice", PASSWORD), properties={"pad": "x" * 5_000}),
    Scenario("8 kB", response=plain("alice", "x" * 8_000)),
    Scenario("20 kB", response=plain("alice", "x" * 20_000)),
]


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQServer) -> Iterator[RabbitMQServer]:
    """The shared broker with a mechanism that asks back, and with a user and a vhost for these tests."""
    rabbitmq.evaluate(_SET_UP)
    yield rabbitmq
    rabbitmq.evaluate(_CLEAN_UP)


_SET_UP = f"""
application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'RABBIT-CR-DEMO']),
rabbit_vhost:add(<<"closed">>, <<"tests">>),
rabbit_auth_backend_internal:add_user(<<"alice">>, <<"{PASSWORD}">>, <<"tests">>),
rabbit_auth_backend_internal:set_permissions(
    <<"alice">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).
"""
_CLEAN_UP = """
application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN']),
rabbit_auth_backend_internal:delete_user(<<"alice">>, <<"tests">>),
rabbit_vhost:delete(<<"closed">>, <<"tests">>).
"""


@pytest.fixture(scope="module")
def gate(broker: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    settings = {"log": {"level": "debug"}}
    home = tmp_path_factory.mktemp("gateway")
    with gateway(home, broker.port, [key("k1", new_secret())], settings) as running:
        yield running


def test_every_login_is_answered_as_the_broker_answers_it(
    broker: RabbitMQServer, gate: GatewayProcess
) -> None:
    direct = play_all(SCENARIOS, broker.port)
    assert play_all(SCENARIOS, gate.port) == direct
    results = ("ok", "refused", "malformed")
    counts = {name: gate.metric("sealgate_logins_total", result=name) for name in results}
    in_vain = [name for name, heard in direct.items() if heard[-1] == END and "Tune" not in heard[0]]
    # Garbage the broker is not asked about, for it may read a user in there that our rules do not.
    assert counts == {"ok": len(SCENARIOS) - len(in_vain), "refused": len(in_vain) - 1, "malformed": 1}
    # The scenarios are what they are called.
    assert len(direct["right"]) == len(direct["challenges"]) == 2
    assert "Login was refused" in direct["wrong"][0]
    assert direct["wrong, not to be told"] == direct["garbage"] == [END]


def test_server_properties_and_mechanisms_are_the_brokers(
    broker: RabbitMQServer, gate: GatewayProcess
) -> None:
    with Dialogue(broker.port) as direct, Dialogue(gate.port) as through:
        del through.start.server_properties["sealgate"]
        assert dict(through.start) == dict(direct.start)
        assert "RABBIT-CR-DEMO" in through.start.mechanisms


def test_refused_client_that_speaks_is_cut_by_both(broker: RabbitMQServer, gate: GatewayProcess) -> None:
    for port in (broker.port, gate.port):
        with Dialogue(port) as dialogue:
            dialogue.start_ok("PLAIN", plain("alice", WRONG), TELLS)
            assert isinstance(dialogue.method(), commands.Connection.Close)
            dialogue.socket.sendall(b"\x08\x00\x00\x00\x00\x00\x00\xce")
            assert dialogue.method() is None


def test_new_secret_is_the_brokers_to_take(gate: GatewayProcess, broker: RabbitMQServer) -> None:
    for port in (broker.port, gate.port):
        credentials = pika.PlainCredentials("alice", PASSWORD)
        with pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", port, credentials=credentials)
        ) as connection:
            connection.update_secret("anything", "renewed")
            connection.channel()


@pytest.mark.parametrize("log_in", LOG_INS)
def test_clients_tell_a_wrong_password_from_a_right_one_as_ever(
    log_in: Any, broker: RabbitMQServer, gate: GatewayProcess
) -> None:
    for password in (PASSWORD, WRONG):
        direct = name_of(lambda: log_in(broker.port, "alice", password))  # noqa: B023 - called at once
        assert name_of(lambda: log_in(gate.port, "alice", password)) == direct  # noqa: B023
        assert (direct == "ok") is (password == PASSWORD)


def test_guest_from_elsewhere_is_refused_as_the_broker_would(broker: RabbitMQServer, tmp_path: Path) -> None:
    """Of a broker on the gateway's own host: its rule would see the gateway and let the world in."""
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but its loopback one")
    guest = Scenario("guest", response=plain("guest", "guest"), vhost="/", patient=False)
    wrong = Scenario("wrong", response=plain("alice", WRONG), patient=False)
    for number, users in enumerate((["guest"], [])):
        settings = {"listen": {"address": "0.0.0.0:0"}, "credentials": {"loopback_users": users}}
        with listening_everywhere(tmp_path / str(number), broker.port, settings) as gate:
            local = play(guest, gate.port)
            assert local[-1].startswith("Connection.OpenOk")
            remote = play(guest, gate.port, host=address)
            if users:
                assert remote == play(wrong, gate.port, host=address)
                assert gate.metric("sealgate_logins_total", result="loopback") == 1
                assert '"result": "loopback", "user": "guest"' in gate.log_text()
            else:
                assert remote == local


@contextmanager
def listening_everywhere(
    home: Path, upstream_port: int, settings: dict[str, Any]
) -> Iterator[GatewayProcess]:
    process = GatewayProcess(home, upstream_port, [key("k1", new_secret())], settings)
    process.config.write_text(process.config.read_text().replace("0.0.0.0:0", f"0.0.0.0:{process.port}"))
    process.start()
    try:
        yield process
    finally:
        process.stop()


def test_no_password_is_in_the_log_at_its_most_talkative(gate: GatewayProcess) -> None:
    text = gate.log_text()
    assert "gate.listening" in text
    for secret in (PASSWORD, WRONG, "x" * 100):
        assert secret not in text
