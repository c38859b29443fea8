"""The gateway as an operator runs it: signals, reloads, TLS, and starts that can not succeed."""

from __future__ import annotations

import platform
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from support.certificates import Authority
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import accepts_tcp, free_port, wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

ANYTHING = {"content": {"profile": "generic", "types": ["*"]}}
SIGN: dict[str, Any] = {"publish": {"action": "sign", "sign_with": "k1"}}


def parameters(port: int, tls: ssl.SSLContext | None = None, name: str = "") -> pika.ConnectionParameters:
    options = pika.SSLOptions(tls, name) if tls is not None else None
    return pika.ConnectionParameters("127.0.0.1", port, ssl_options=options, heartbeat=0)


def published(port: int) -> bool:
    """Whether a publish with confirms through `port` is accepted."""
    with pika.BlockingConnection(parameters(port)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish("amq.fanout", "anywhere", b"hello")
        except pika.exceptions.NackError:
            return False
        return True


def published_at_last(port: int) -> bool:
    """`published`, where the way to the broker may still be coming up."""
    try:
        return published(port)
    except pika.exceptions.AMQPError:
        return False


@contextmanager
def failing(home: Path, settings: dict[str, Any], upstream_port: int = 1) -> Iterator[GatewayProcess]:
    """A gateway that is expected to end by itself."""
    process = GatewayProcess(home, upstream_port, [key("k1", new_secret())], settings)
    yield process


def exit_code(process: GatewayProcess) -> int:
    """Start it, and wait for its end."""
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start()
    return process.stop()


# Memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other bounds")
def test_memory_does_not_come_and_go_with_large_messages(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """Else the kernel clears some eighty pages for each of them."""
    with (
        gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())], {**ANYTHING, **SIGN}) as process,
        pika.BlockingConnection(parameters(process.port)) as connection,
    ):
        channel = connection.channel()

        def faults() -> int:
            return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[7])

        def publish(count: int) -> None:
            for _ in range(count):
                channel.basic_publish("amq.fanout", "anywhere", bytes(262_144))
            channel.queue_declare("", exclusive=True)

        publish(50)
        before = faults()
        publish(200)
        each = (faults() - before) / 200
        assert each < 10


# Signals


def test_second_sigterm_cuts_at_once(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    keys = [key("k1", new_secret())]
    with (
        gateway(tmp_path, rabbitmq.port, keys, {"drain": {"delay": "60s", "timeout": "80s"}}) as process,
        socket.create_connection(("127.0.0.1", process.port)),
    ):
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.get("/readyz")[0] == 503, 5, "the gateway to drain")
        assert accepts_tcp(process.port), "it still accepts during drain.delay"
        started = time.monotonic()
        assert process.stop(signal.SIGTERM) == 1
        assert time.monotonic() - started < 20


def test_client_that_does_not_answer_is_cut_at_the_timeout(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    keys = [key("k1", new_secret())]
    settings = {"drain": {"timeout": "1s"}, "limits": {"close_s": 30}}
    with gateway(tmp_path, rabbitmq.port, keys, settings) as process:
        connection = pika.BlockingConnection(parameters(process.port))
        assert process.stop(signal.SIGTERM) == 1
        with pytest.raises(pika.exceptions.AMQPError):
            connection.channel()


def test_clean_drain_sends_clients_away_with_320(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    with gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())]) as process:
        connection = pika.BlockingConnection(parameters(process.port))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(pika.exceptions.ConnectionClosed) as closed:
            connection.process_data_events(time_limit=10)
        assert closed.value.reply_code == 320
        wait_until(process.ended, 20, "the gateway to end")
        assert process.stop() == 0


# Reloads


@pytest.mark.parametrize("how", ["SIGHUP", "change"])
def test_keys_are_read_again(how: str, rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """A new key works without a restart; a revoked one no longer does; a broken file changes nothing."""
    old, new = key("k1", new_secret()), key("k2", new_secret())
    sign_new = {"publish": {"action": "sign", "sign_with": "k2"}}
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, [old], ANYTHING) as process,
        gateway(tmp_path / "old", process.port, [old], SIGN) as with_old,
        gateway(tmp_path / "new", process.port, [new], sign_new) as with_new,
    ):
        assert (published(with_old.port), published(with_new.port)) == (True, False)

        def reload(result: str) -> None:
            before = process.metric("sealgate_config_reloads_total", result=result)
            if how == "SIGHUP":
                process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: process.metric("sealgate_config_reloads_total", result=result) > before,
                10,
                f"a reload: {result}",
            )

        process.write_keys([{**old, "state": "revoked"}, new])
        reload("ok")
        assert (published(with_old.port), published(with_new.port)) == (False, True)
        process.write_keys([{**new, "secret": "hex:00"}])
        reload("failed")
        assert published(with_new.port)
        assert "too short" in process.log_text() or "at least 32" in process.log_text()


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def test_tls_on_both_legs_with_client_certificates(
    rabbitmq: RabbitMQServer, authority: Authority, tmp_path: Path
) -> None:
    """Sidecar to gateway by TLS, both proven by certificates; clients of the gateway need one."""
    served, person = authority.issue("gateway.test"), authority.issue("sidecar.test")
    keys = [key("k1", new_secret())]
    listen = {"listen": {"tls": {"cert": served.cert, "key": served.key, "client_ca": authority.ca}}}
    with gateway(tmp_path / "gateway", rabbitmq.port, keys, {**ANYTHING, **listen}) as process:
        upstream = {
            "urls": [f"amqps://127.0.0.1:{process.port}"],
            "tls": {
                "ca": authority.ca,
                "cert": person.cert,
                "key": person.key,
                "server_name": "gateway.test",
            },
        }
        with gateway(tmp_path / "sidecar", 1, keys, {**SIGN, "upstream": upstream}) as sidecar:
            wait_until(lambda: published_at_last(sidecar.port), 20, "a publish over both TLS legs")
        plain = ssl.create_default_context(cafile=authority.ca)
        with pytest.raises((pika.exceptions.AMQPConnectionError, OSError, ssl.SSLError)):
            pika.BlockingConnection(parameters(process.port, plain, "gateway.test"))
        with socket.create_connection(("127.0.0.1", process.port), timeout=15) as plainly:
            plainly.sendall(b"AMQP\x00\x00\x09\x01")
            assert b"AMQP" not in plainly.recv(100)
        assert "Traceback" not in process.log_text()


def test_broker_with_the_wrong_name_is_not_talked_to(
    rabbitmq: RabbitMQServer, authority: Authority, tmp_path: Path
) -> None:
    served = authority.issue("other.test")
    keys = [key("k1", new_secret())]
    listen = {"listen": {"tls": {"cert": served.cert, "key": served.key}}}
    with gateway(tmp_path / "gateway", rabbitmq.port, keys, {**ANYTHING, **listen}) as process:
        upstream = {
            "urls": [f"amqps://127.0.0.1:{process.port}"],
            "tls": {"ca": authority.ca, "server_name": "gateway.test"},
        }
        sidecar = GatewayProcess(tmp_path / "sidecar", 1, keys, {**SIGN, "upstream": upstream})
        with pytest.raises(AssertionError, match="to be ready"):
            short_start(sidecar)
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(parameters(sidecar.port))
        sidecar.stop(signal.SIGKILL)


def short_start(process: GatewayProcess) -> None:
    """Start, and give up on readiness soon."""
    import support.gateway

    allowed = support.gateway.START_SECONDS_MAX
    support.gateway.START_SECONDS_MAX = 4
    try:
        process.start()
    finally:
        support.gateway.START_SECONDS_MAX = allowed


def test_tls_client_on_the_plain_port_is_closed_without_a_traceback(
    rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())]) as process:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", process.port), timeout=10) as raw,
            pytest.raises((ssl.SSLError, OSError)),
        ):
            context.wrap_socket(raw)
        assert process.refusals() == {"conn.protocol": 1}
        assert "Traceback" not in process.log_text()


# Upstream


def test_gateway_outlives_its_broker(tmp_path: Path, rabbitmq: RabbitMQServer) -> None:
    """Without a broker it is not ready and closes clients before `start`; with one it is ready again."""
    port = free_port()
    process = GatewayProcess(tmp_path, port, [key("k1", new_secret())], {})
    with pytest.raises(AssertionError, match="to be ready"):
        short_start(process)
    try:
        assert process.get("/livez")[0] == 200
        assert "upstream" in process.get("/readyz?verbose")[1]
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            assert client.recv(100) == b""
    finally:
        process.stop(signal.SIGKILL)


# Starts that can not succeed


def test_store_that_is_away_ends_the_start_with_69(tmp_path: Path) -> None:
    with failing(tmp_path, {"replay": {"store": f"redis://127.0.0.1:{free_port()}"}}) as process:
        assert exit_code(process) == 69
        assert "replay.store" in process.log_text()
        assert "Traceback" not in process.log_text()


def test_broker_that_stays_away_ends_the_start_with_69(tmp_path: Path) -> None:
    with failing(tmp_path, {"upstream": {"start_timeout": "1s"}}) as process:
        assert exit_code(process) == 69
        assert "upstream.urls: no broker could be reached within 1 s" in process.log_text()
        assert "Traceback" not in process.log_text()


def test_broker_that_was_there_once_may_be_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        process = GatewayProcess(
            tmp_path, port, [key("k1", new_secret())], {"upstream": {"start_timeout": "2s"}}
        )
        process.start()
    try:
        wait_until(lambda: process.get("/readyz")[0] == 503, 30, "the gateway to miss its broker")
        passed = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > passed, 10, "the time to be over")
        assert not process.ended()
    finally:
        process.stop(signal.SIGKILL)


def test_address_in_use_ends_the_start_with_78(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with failing(tmp_path, {"listen": {"address": address}}) as process:
            assert exit_code(process) == 78
            assert "listen.address" in process.log_text()
            assert "Traceback" not in process.log_text()


def test_second_start_of_the_same_file_is_told(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """The AMQP port would be shared; the admin address is not."""
    with gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())]) as process:
        command = [sys.executable, "-m", "sealgate", "run", "--config", str(process.config)]
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert again.returncode == 78
        assert "admin.address: " in again.stderr
        assert "Traceback" not in again.stderr
        assert process.ready()


def test_nothing_secret_is_logged_at_the_finest_level(rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    secret = new_secret()
    with (
        gateway(
            tmp_path / "g", rabbitmq.port, [key("k1", secret)], {**ANYTHING, "log": {"level": "debug"}}
        ) as one,
        gateway(tmp_path / "s", one.port, [key("k1", secret)], {**SIGN, "log": {"level": "debug"}}) as two,
    ):
        with pika.BlockingConnection(parameters(two.port)) as connection:
            channel = connection.channel()
            properties = pika.BasicProperties(headers={"card": "header-value-1234"})
            channel.basic_publish("amq.fanout", "q", b"body-value-5678", properties)
        assert not published(one.port)
        text = one.log_text() + two.log_text()
        for told in (
            secret,
            secret.removeprefix("hex:"),
            "header-value-1234",
            "body-value-5678",
            "seal1.",
            "guest:guest",
        ):
            assert told not in text
