"""Quarantine as part of a running gateway: from a client's publish to the queue."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pika
import pytest

from sealgate.quarantine.browse import EVERYTHING, Item, browsing
from sealgate.quarantine.record import Kept
from support.gateway import GatewayProcess, gateway, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.system

NAME = "sealgate.quarantine"
COUNT = 300


def publish_unsigned(it: GatewayProcess, vhost: str) -> None:
    """Publish without confirms and hang up."""
    connection = pika.BlockingConnection(pika.URLParameters(it.url(vhost)))
    channel = connection.channel()
    properties = pika.BasicProperties(content_type="application/json", headers={"task": "shop.pay"})
    for number in range(COUNT):
        channel.basic_publish("", "orders", f"[[{number}], {{}}, {{}}]".encode(), properties)
    connection.close()


def items(url: str) -> list[Item]:
    async def browse() -> list[Item]:
        async with browsing(url, NAME) as browser:
            listed = await browser.list(EVERYTHING, 2 * COUNT)
            last = await browser.show(listed[-1].id)
            assert last is not None
            return [*listed[:-1], last]

    return asyncio.run(browse())


def test_what_was_refused_just_before_sigterm_is_in_quarantine(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    url = rabbitmq.url_of(vhost)
    limits = {"failed_verifications_max": 10 * COUNT}
    settings = {"quarantine": {"url": url}, "limits": limits}
    with gateway(tmp_path, rabbitmq.port, [key("k1", new_secret())], settings) as it:
        publish_unsigned(it, vhost)
        wait_until(lambda: it.refusals() == {"sig.missing": COUNT}, 20, "the refusals")
        assert it.stop(signal.SIGTERM) == 0, it.log_text()
    kept = items(url)
    assert len(kept) == COUNT
    last = kept[-1]
    assert isinstance(last, Kept)
    assert (last.record.reason.value, last.record.vhost, last.record.user) == ("sig.missing", vhost, "guest")
    assert last.record.body == f"[[{COUNT - 1}], {{}}, {{}}]".encode()
