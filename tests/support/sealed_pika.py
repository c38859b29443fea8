"""Sealed messages for pika: what a producer's signer would have made of them, as pika sends it."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pika
from pamqp import commands, header

from sealgate.signing.keyring import Key
from support.sealed import received, seal


class Sealed:
    """A message to a target, and its seal by `key`; properties are pika's, `headers` apart."""

    def __init__(
        self,
        key: Key,
        vhost: str,
        body: bytes = b"hello",
        routing_key: str = "q",
        exchange: str = "",
        headers: dict[str, Any] | None = None,
        expires_s: int = 3600,
        **properties: Any,
    ) -> None:
        self.body = body
        self.exchange = exchange
        self.routing_key = routing_key
        self.headers = {"n": 1} if headers is None else headers
        self.properties = {"content_type": "text/plain", **properties}
        as_sent = commands.Basic.Properties(headers=self.headers or None, **self.properties)
        payload = header.ContentHeader(body_size=len(body), properties=as_sent).marshal()
        message = received(payload, body, exchange, routing_key)
        now = int(time.time())
        nonce = secrets.token_bytes(16)
        token = seal(message, key, created=now, expires=now + expires_s, nonce=nonce, vhost=vhost)
        self.token = token.decode()

    def publish(
        self,
        channel: Any,
        routing_key: str | None = None,
        exchange: str | None = None,
        headers: dict[str, Any] | None = None,
        body: bytes | None = None,
        **properties: Any,
    ) -> None:
        """Send it on a pika channel, past every gate; with changes that its seal does not cover or forbids.

        A property of None is left out.
        """
        given = {**self.properties, **properties}
        channel.basic_publish(
            self.exchange if exchange is None else exchange,
            self.routing_key if routing_key is None else routing_key,
            self.body if body is None else body,
            pika.BasicProperties(
                headers={**self.headers, "x-seal": self.token, **(headers or {})},
                **{name: value for name, value in given.items() if value is not None},
            ),
        )


def connect(port: int, vhost: str) -> pika.BlockingConnection:
    """As guest."""
    parameters = pika.ConnectionParameters("127.0.0.1", port, vhost, heartbeat=0)
    return pika.BlockingConnection(parameters)
