"""Logins octet by octet, against a broker or a gateway, and users for gateways that judge them."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pamqp import commands
from pamqp import frame as pamqp_frame

from sealgate.accounts.passwords import Cost, hash_password
from sealgate.wire.entries import entry_longstr
from support.gateway import toml
from support.raw_client import METHOD, PROTOCOL_HEADER, frame, method

#: Far above RabbitMQ's three seconds of silence, far below a test's own deadline.
ANSWER_SECONDS_MAX = 30.0
CHEAP = Cost(10, 8, 1)
TELLS: Mapping[str, Any] = {"capabilities": {"authentication_failure_close": True}}
END = "end of the connection"


def plain(user: str, password: str) -> bytes:
    return f"\x00{user}\x00{password}".encode()


def amqplain(user: str, password: str) -> bytes:
    return entry_longstr("LOGIN", user.encode()) + entry_longstr("PASSWORD", password.encode())


@dataclass(frozen=True)
class Scenario:
    """A login, and what the client does once it is in; each answer must be there before the next step."""

    name: str
    mechanism: str = "PLAIN"
    response: bytes = b""
    properties: Mapping[str, Any] = field(default_factory=lambda: TELLS)
    secure: tuple[bytes, ...] = ()
    vhost: str | None = None
    #: Whether to wait for the end behind a refusal: three seconds of silence.
    patient: bool = True

    def __str__(self) -> str:
        return self.name


class Dialogue:
    """One connection: what was said to it, as text that can be compared."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        source: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        plain_socket = socket.create_connection(
            (host, port), ANSWER_SECONDS_MAX, (source, 0) if source else None
        )
        self.socket = tls.wrap_socket(plain_socket, server_hostname="localhost") if tls else plain_socket
        self._buffer = b""
        self.socket.sendall(PROTOCOL_HEADER)
        self.start = self.method()
        assert isinstance(self.start, commands.Connection.Start)

    def next(self) -> bytes:
        """The next whole frame; empty at the end."""
        while len(self._buffer) < 7 or len(self._buffer) < 8 + int.from_bytes(self._buffer[3:7], "big"):
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                data = b""
            if not data:
                return b""
            self._buffer += data
        size = 8 + int.from_bytes(self._buffer[3:7], "big")
        whole, self._buffer = self._buffer[:size], self._buffer[size:]
        return whole

    def method(self) -> Any:
        """The next method; None at the end."""
        whole = self.next()
        return pamqp_frame.unmarshal(whole)[2] if whole else None

    def say(self, command: Any) -> None:
        self.socket.sendall(method(0, command))

    def start_ok(self, mechanism: str, response: bytes, properties: Mapping[str, Any]) -> None:
        """A start-ok whose response may be any octets, of any length."""
        marker = "@@response@@"
        whole = method(0, commands.Connection.StartOk(dict(properties), mechanism, marker, "en_US"))
        payload = whole[7:-1].replace(_long(marker.encode()), _long(response))
        self.socket.sendall(frame(METHOD, 0, payload))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def play(scenario: Scenario, port: int, **options: Any) -> list[str]:
    """Everything the other side says after `start`, up to an open connection or its end."""
    with Dialogue(port, **options) as dialogue:
        dialogue.start_ok(scenario.mechanism, scenario.response, scenario.properties)
        answers = list(scenario.secure)
        heard: list[str] = []
        while True:
            said = dialogue.method()
            heard.append(END if said is None else f"{said.name} {dict(said)}")
            match said:
                case commands.Connection.Secure():
                    dialogue.say(commands.Connection.SecureOk(answers.pop(0).decode()))
                case commands.Connection.Tune() if scenario.vhost is not None:
                    dialogue.say(commands.Connection.TuneOk(said.channel_max, said.frame_max, 0))
                    dialogue.say(commands.Connection.Open(scenario.vhost))
                case commands.Connection.Close() if said.reply_code == 403 and not scenario.patient:
                    return heard
                case commands.Connection.Close() if said.reply_code != 403:
                    dialogue.say(commands.Connection.CloseOk())
                case commands.Connection.Tune() | commands.Connection.OpenOk():
                    return heard
                case None:
                    return heard


def play_all(scenarios: list[Scenario], port: int, **options: Any) -> dict[str, list[str]]:
    """Every scenario at the same time, as most of them are three seconds of silence."""
    with ThreadPoolExecutor(len(scenarios)) as pool:
        heard = pool.map(lambda scenario: play(scenario, port, **options), scenarios)
        return dict(zip([scenario.name for scenario in scenarios], heard, strict=True))


def user(name: str, password: str = "", **more: object) -> dict[str, object]:
    """A `[[user]]` table; its password costs next to nothing to check."""
    hashed = {"password": hash_password(password.encode(), os.urandom(16), CHEAP)} if password else {}
    return {"name": name, **hashed, **more}


def write_users(file: Path, *users: dict[str, object]) -> None:
    """Replace the users file as deployments do: a new file moved over the old one."""
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(toml({"user": list(users)}))
    fresh.replace(file)


def own_address() -> str:
    """An address of this machine that is not its loopback one; empty where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: this only asks which address would be used.
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _long(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
