"""HAProxy in front of the gateway tells it who the client is, with both versions of its protocol."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pika
import pytest

from support.certificates import Authority
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import accepts_tcp, end, find_program, free_port, spawn, wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

#: A loopback address that is nobody else's, so that it can only come from the header.
CLIENT = "127.0.0.9"
CONFIG = """\
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen amqp
    bind 127.0.0.1:{port}
    server gateway 127.0.0.1:{gateway} {send} check inter 100ms
"""


@contextmanager
def haproxy(home: Path, gateway_port: int, send: str) -> Iterator[int]:
    """The port of an HAProxy that sends its header, to clients and in the checks it makes all the time."""
    port = free_port()
    config = home / "haproxy.cfg"
    config.write_text(CONFIG.format(port=port, gateway=gateway_port, send=send))
    process = spawn([find_program("haproxy"), "-db", "-f", config], home / "haproxy.log")
    try:
        wait_until(lambda: accepts_tcp(port), 10, "HAProxy")
        yield port
    finally:
        end(process, signal.SIGKILL)


def log_lines(process: GatewayProcess, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in process.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_real_client_is_in_the_logs_and_the_limits(
    send: str, secure: bool, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    listen: dict[str, object] = {"proxy_protocol": ["127.0.0.1/32"]}
    context: ssl.SSLContext | None = None
    if secure:
        authority = Authority(tmp_path / "authority")
        pair = authority.issue("gateway.test")
        listen["tls"] = {"cert": pair.cert, "key": pair.key}
        context = authority.client()
    settings = {
        "publish": {"action": "pass"},
        "listen": listen,
        "limits": {"connections_per_address_max": 4},
    }
    with (
        gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())], settings) as process,
        haproxy(tmp_path, process.port, send) as port,
    ):
        parameters = pika.ConnectionParameters(
            "127.0.0.1",
            port,
            ssl_options=pika.SSLOptions(context, "gateway.test") if context is not None else None,
        )
        with ExitStack() as stack:
            # With the checks these are more than one address may have, if all were HAProxy's.
            stack.enter_context(pika.BlockingConnection(parameters))
            for _ in range(3):
                idle = stack.enter_context(connect_from(CLIENT, port, context))
                idle.sendall(b"AMQP\x00\x00\x09\x01")
                assert idle.recv(1) == b"\x01", "the frame of connection.start"
            client = stack.enter_context(connect_from(CLIENT, port, context))
            client.sendall(b"nonsense")
            assert client.recv(100) == b"AMQP\x00\x00\x09\x01"
            wait_until(lambda: bool(log_lines(process, "connection.closed")), 10, "the log")
        line = log_lines(process, "connection.closed")[0]
        assert line["client"].startswith(f"{CLIENT}:")
        assert line["reason"] == "conn.protocol"
        for event in ("connection.closed", "tls.refused"):
            own = [told for told in log_lines(process, event) if told["client"].startswith("127.0.0.1:")]
            assert own == [], "HAProxy's checks leave no trace"
        assert "Traceback" not in process.log_text()


def connect_from(host: str, port: int, context: ssl.SSLContext | None) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(host, 0))
    return context.wrap_socket(raw, server_hostname="gateway.test") if context is not None else raw
