"""Fixtures of every room: the private servers, started once per run and only when a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.rabbitmq_server import RabbitMQServer, private_rabbitmq


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A private RabbitMQ shared by the whole run. Whoever stops it starts it again."""
    with private_rabbitmq() as server:
        yield server


@pytest.fixture
def vhost(rabbitmq: RabbitMQServer) -> str:
    """A fresh virtual host, so that no test sees another's queues."""
    return rabbitmq.new_vhost()
