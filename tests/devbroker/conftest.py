"""A broker per test, and blocking connections to it."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from support.builtin_broker import BuiltinBroker, builtin_broker


@pytest.fixture
def broker() -> Iterator[BuiltinBroker]:
    with builtin_broker() as running:
        yield running


@pytest.fixture
def connection(broker: BuiltinBroker) -> Iterator[BlockingConnection]:
    opened = pika.BlockingConnection(pika.URLParameters(broker.url))
    yield opened
    if opened.is_open:
        opened.close()


@pytest.fixture
def channel(connection: BlockingConnection) -> BlockingChannel:
    return connection.channel()
