"""Token buckets at the gateway: bursts, steady rates, shared limits, and floods that must not touch them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pika
import pytest

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.publisher import close, connect
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer
from support.tasks import task_frames

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

RATE = 10
BURST = 20
FLOOD_PER_SECOND = 500
FLOOD_SECONDS = 10
SETTINGS = {
    "rate": {"shop.limited": f"{RATE}/s burst {BURST}"},
    "limits": {"failed_verifications_max": 1_000_000},
    "refuse": {"over_rate": "refuse"},
}


@dataclass
class Flood:
    """What a flood was answered: seconds since its start of each ack, and the number of nacks."""

    acks: list[float] = field(default_factory=list)
    nacks: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


async def flood(port: int, vhost: str, task: str, per_second: float, seconds: float) -> Flood:
    """Publish `task` steadily through `port`, and take every answer."""
    incoming, writer = await connect(port, vhost)
    result = Flood()
    sent: dict[int, float] = {}
    started = time.monotonic()
    total = int(per_second * seconds)

    async def send() -> None:
        for number in range(total):
            due = started + number / per_second
            pause = due - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            sent[number + 1] = time.monotonic()
            writer.write(task_frames(number, "tasks", task))

    async def listen() -> None:
        answered = 0
        while answered < total:
            for part in await incoming.some():
                tags = [part.delivery_tag]
                if part.multiple:
                    tags = [tag for tag in sent if tag <= part.delivery_tag]
                now = time.monotonic()
                for tag in tags:
                    result.latencies.append(now - sent.pop(tag))
                    answered += 1
                    if part.name == "Basic.Ack":
                        result.acks.append(now - started)
                    else:
                        result.nacks += 1

    await asyncio.gather(send(), listen())
    result.seconds = time.monotonic() - started
    await close(writer)
    return result


@pytest.fixture
def queue(rabbitmq: RabbitMQServer, vhost: str) -> str:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", rabbitmq.port, vhost)) as connection:
        connection.channel().queue_declare("tasks", durable=True)
    return "tasks"


def sidecar_settings() -> dict[str, object]:
    return {"publish": {"action": "sign", "sign_with": "k1"}}


@pytest.fixture
def one_gateway(rabbitmq: RabbitMQServer, tmp_path: Path) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """(gateway with the memory store, signing sidecar before it)"""
    keys = [key("k1", new_secret())]
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, keys, SETTINGS) as process,
        gateway(tmp_path / "sidecar", process.port, keys, sidecar_settings()) as sidecar,
    ):
        yield process, sidecar


def check_pace(floods: list[Flood]) -> float:
    """The burst at once, then the rate within 5 %; returns the pace beyond the burst, per second."""
    acks = sorted(moment for result in floods for moment in result.acks)
    at_once = [moment for moment in acks if moment < 0.5]
    assert BURST <= len(at_once) <= BURST + RATE * 0.5 + 1
    lasted = max(result.seconds for result in floods)
    expected = BURST + RATE * lasted
    assert abs(len(acks) - expected) <= 0.05 * expected, (len(acks), expected)
    return (len(acks) - BURST) / lasted


def test_limit_holds_on_memory(
    one_gateway: tuple[GatewayProcess, GatewayProcess], vhost: str, queue: str, closing_lines: list[str]
) -> None:
    process, sidecar = one_gateway
    result = asyncio.run(flood(sidecar.port, vhost, "shop.limited", FLOOD_PER_SECOND, FLOOD_SECONDS))
    pace = check_pace([result])
    closing_lines.append(
        f"rate, memory: {RATE}/s burst {BURST} under {FLOOD_PER_SECOND}/s let {pace:.2f}/s through"
    )
    assert process.refusals() == {"rate.task": result.nacks}
    assert len(result.acks) + result.nacks == FLOOD_PER_SECOND * FLOOD_SECONDS
    assert (
        process.metric("sealgate_task_messages_total", task="shop.limited", verdict="refused") == result.nacks
    )


def test_two_gateways_share_the_limit_through_redis(
    rabbitmq: RabbitMQServer,
    redis_server: RedisServer,
    vhost: str,
    queue: str,
    tmp_path: Path,
    closing_lines: list[str],
) -> None:
    keys = [key("k1", new_secret())]
    settings = {**SETTINGS, "replay": {"store": redis_server.url}}
    with (
        gateway(tmp_path / "g1", rabbitmq.port, keys, settings) as one,
        gateway(tmp_path / "g2", rabbitmq.port, keys, settings) as two,
        gateway(tmp_path / "s1", one.port, keys, sidecar_settings()) as first,
        gateway(tmp_path / "s2", two.port, keys, sidecar_settings()) as second,
    ):

        async def both() -> list[Flood]:
            return list(
                await asyncio.gather(
                    flood(first.port, vhost, "shop.limited", FLOOD_PER_SECOND / 2, FLOOD_SECONDS),
                    flood(second.port, vhost, "shop.limited", FLOOD_PER_SECOND / 2, FLOOD_SECONDS),
                )
            )

        results = asyncio.run(both())
        pace = check_pace(results)
        assert all(result.acks for result in results)
    closing_lines.append(f"rate, Redis, two gateways: together {pace:.2f}/s through")


def test_unsigned_flood_does_not_touch_the_bucket(
    one_gateway: tuple[GatewayProcess, GatewayProcess], vhost: str, queue: str
) -> None:
    process, sidecar = one_gateway
    unsigned = asyncio.run(flood(process.port, vhost, "shop.limited", 2000, 0.5))
    assert unsigned.acks == []
    signed = asyncio.run(flood(sidecar.port, vhost, "shop.limited", 1000, BURST / 1000))
    assert len(signed.acks) == BURST


def test_other_tasks_are_not_slowed(
    one_gateway: tuple[GatewayProcess, GatewayProcess], vhost: str, queue: str, closing_lines: list[str]
) -> None:
    """An unlimited task loses nothing to a flood of a limited one, and is answered about as fast."""
    _, sidecar = one_gateway

    async def both() -> tuple[Flood, Flood]:
        limited, free = await asyncio.gather(
            flood(sidecar.port, vhost, "shop.limited", FLOOD_PER_SECOND, 3),
            flood(sidecar.port, vhost, "shop.free", 50, 3),
        )
        return limited, free

    limited, free = asyncio.run(both())
    assert limited.nacks > 0
    assert free.nacks == 0
    assert len(free.acks) == 150
    median = sorted(free.latencies)[len(free.latencies) // 2]
    closing_lines.append(f"rate: median answer to an unlimited task beside a flood {median * 1000:.1f} ms")
