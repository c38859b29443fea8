"""What somebody at an address says to an AMQP client: one connection that goes no further than that."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from sealgate.wire.methods import CHALLENGE_NAME, SERVER_PROPERTY_NAME

_HEADER: Final = b"AMQP\x00\x00\x09\x01"
#: A greeting of RabbitMQ takes 500 octets.
_BYTES_MAX: Final = 65_536


class NoGreetingError(Exception):
    """Nobody answered as a broker does; the text says what happened."""


@dataclass(slots=True, frozen=True)
class Greeting:
    """`certificate_days`: until the certificate ends; None without TLS, or where it is not checked."""

    product: str
    version: str
    mechanisms: tuple[str, ...]
    is_gateway: bool
    certificate_days: float | None


def greet(
    host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None, timeout_s: float
) -> Greeting:
    """Raises `NoGreetingError`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as plain:
            if tls is None:
                return _read(plain, None, timeout_s)
            with tls.wrap_socket(plain, server_hostname=server_name or host) as wrapped:
                return _read(wrapped, _days_left(wrapped), timeout_s)
    except (OSError, ValueError, struct.error) as error:
        raise NoGreetingError(" ".join(str(error).split()) or type(error).__name__) from None


def _days_left(wrapped: ssl.SSLSocket) -> float | None:
    certificate = wrapped.getpeercert()
    ends = certificate.get("notAfter") if certificate else None
    return (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400 if isinstance(ends, str) else None


def _read(connection: socket.socket, certificate_days: float | None, timeout_s: float) -> Greeting:
    from pamqp import commands, exceptions, frame

    connection.sendall(_HEADER)
    deadline = time.monotonic() + timeout_s
    data = b""
    while len(data) < _BYTES_MAX:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            break
        data += received
        if data[:4] == _HEADER[:4]:
            raise ValueError("it wants another version of AMQP")
        try:
            _, _, start = frame.unmarshal(data)
        except exceptions.UnmarshalingException:
            continue
        if isinstance(start, commands.Connection.Start):
            return _greeting(start.server_properties or {}, start.mechanisms or "", certificate_days)
        break
    raise ValueError("it does not speak AMQP 0-9-1")


def _greeting(properties: dict[str, Any], mechanisms: str, certificate_days: float | None) -> Greeting:
    offer = properties.get(SERVER_PROPERTY_NAME)
    return Greeting(
        str(properties.get("product", "")),
        str(properties.get("version", "")),
        tuple(mechanisms.split()),
        isinstance(offer, dict) and CHALLENGE_NAME in offer,
        certificate_days,
    )
