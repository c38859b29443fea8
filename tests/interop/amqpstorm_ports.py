"""Loaded into amqpstorm's own test run: its tests name the default ports, where no broker of ours listens."""

from __future__ import annotations

import os
from typing import Any

import amqpstorm.connection

_PORTS = {5672: int(os.environ["INTEROP_PORT"]), 5671: int(os.environ["INTEROP_TLS_PORT"])}
_connect = amqpstorm.connection.Connection.__init__


def _moved(self: Any, hostname: str, username: str, password: str, port: int = 5672, **options: Any) -> None:
    _connect(self, hostname, username, password, _PORTS.get(port, port), **options)


amqpstorm.connection.Connection.__init__ = _moved
