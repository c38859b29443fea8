from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import pytest

from sealgate.quarantine.link import Link
from sealgate.quarantine.pending import Entry
from sealgate.quarantine.publish import Quarantine
from sealgate.quarantine.record import decode
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord, Tally
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer
from support.refusals import refusal

pytestmark = pytest.mark.system

NAME = "sealgate.quarantine"
LOG = logging.getLogger("sealgate.quarantine.test")


async def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)


@dataclass
class Running:
    quarantine: Quarantine
    tally: Tally

    def confirmed(self) -> int:
        return sum(self.tally.quarantined.values())

    def dropped(self) -> int:
        return sum(self.tally.quarantine_dropped.values())

    def keep(self, count: int, first: int = 0, **changes: Any) -> None:
        for number in range(first, first + count):
            self.quarantine.keep(refusal(str(number).encode(), **changes))


@asynccontextmanager
async def running(urls: str | list[str], **options: Any) -> AsyncIterator[Running]:
    tally = Tally()
    quarantine = Quarantine(urls, tally=tally, log=LOG, **options)
    await quarantine.start()
    try:
        yield Running(quarantine, tally)
    finally:
        await quarantine.close(10)


async def kept(url: str) -> list[RefusalRecord]:
    """Everything in the queue, oldest first; takes it out."""
    found: list[RefusalRecord] = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(NAME)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            item = decode(message.content_type, message.message_id, message.headers, message.body)
            found.append(item.record)
    return found


async def bodies(url: str) -> list[int]:
    return [int(record.body) for record in await kept(url)]


async def with_channel(url: str, work: Callable[[aio_pika.abc.AbstractChannel], Awaitable[Any]]) -> None:
    async with await aio_pika.connect(url) as connection:
        await work(await connection.channel())


@pytest.mark.asyncio
async def test_a_kept_record_is_in_the_queue_byte_for_byte(rabbitmq: RabbitMQServer, vhost: str) -> None:
    record = refusal(os.urandom(300_000), observed=True, routing_key="\u20ac")
    async with running(rabbitmq.url_of(vhost)) as it:
        it.quarantine.keep(record)
        await until(lambda: it.confirmed() == 1, "the confirm")
        assert it.quarantine.healthy
        assert (it.quarantine.pending_count, it.quarantine.pending_bytes) == (0, 0)
    assert await kept(rabbitmq.url_of(vhost)) == [record]
    assert it.tally.quarantined == {"sig.bad": 1}
    assert not it.tally.quarantine_dropped


@pytest.mark.asyncio
async def test_many_records_all_arrive_in_order_of_their_reasons(
    rabbitmq: RabbitMQServer, vhost: str
) -> None:
    async with running(rabbitmq.url_of(vhost)) as it:
        it.keep(700)
        it.keep(300, 700, reason=Reason.SIG_MISSING)
        await until(lambda: it.confirmed() == 1000, "all confirms")
    assert it.tally.quarantined == {"sig.bad": 700, "sig.missing": 300}
    assert rabbitmq.depth(vhost, NAME) == 1000


@pytest.mark.asyncio
async def test_the_queue_is_bounded_and_drops_its_head(rabbitmq: RabbitMQServer, vhost: str) -> None:
    async with running(rabbitmq.url_of(vhost), length_max=10) as it:
        it.keep(25)
        await until(lambda: it.confirmed() == 25, "all confirms")
    assert await bodies(rabbitmq.url_of(vhost)) == list(range(15, 25))


@pytest.mark.asyncio
async def test_the_queue_is_bounded_in_bytes(rabbitmq: RabbitMQServer, vhost: str) -> None:
    async with running(rabbitmq.url_of(vhost), bytes_max=100_000) as it:
        for _ in range(10):
            it.quarantine.keep(refusal(b"x" * 30_000))
        await until(lambda: it.confirmed() == 10, "all confirms")
    assert rabbitmq.depth(vhost, NAME) == 3


@pytest.mark.asyncio
async def test_a_kept_record_ages_away(rabbitmq: RabbitMQServer, vhost: str) -> None:
    async with running(rabbitmq.url_of(vhost), age_max_s=0.5) as it:
        it.keep(3)
        await until(lambda: it.confirmed() == 3, "the confirms")
        await until(lambda: rabbitmq.depth(vhost, NAME) == 0, "the queue to empty itself")


@pytest.mark.asyncio
async def test_memory_is_bounded_by_count_and_the_newest_is_dropped() -> None:
    async with running(f"amqp://127.0.0.1:{free_port()}", count_max_in_memory=5) as it:
        it.keep(5)
        it.keep(2, reason=Reason.SIG_MISSING)
        assert it.quarantine.pending_count == 5
        assert it.tally.quarantine_dropped == {"sig.missing": 2}
        await it.quarantine.close(0.1)
    assert it.tally.quarantine_dropped == {"sig.missing": 2, "sig.bad": 5}
    assert not it.tally.quarantined


@pytest.mark.asyncio
async def test_memory_is_bounded_by_bytes() -> None:
    async with running(f"amqp://127.0.0.1:{free_port()}", bytes_max_in_memory=100_000) as it:
        for _ in range(10):
            it.quarantine.keep(refusal(b"x" * 30_000))
        assert it.quarantine.pending_count == 3
        assert it.quarantine.pending_bytes <= 100_000
        assert it.dropped() == 7
        await it.quarantine.close(0.1)


@pytest.mark.asyncio
async def test_records_kept_while_the_broker_is_down_arrive_when_it_is_back(
    rabbitmq: RabbitMQServer, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(rabbitmq.url_of(vhost)) as it:
        it.keep(10)
        await until(lambda: it.confirmed() == 10, "the first confirms")
        rabbitmq.write_definitions()
        rabbitmq.kill()
        try:
            await until(lambda: not it.quarantine.healthy, "the loss to be seen")
            it.keep(100, 10)
            assert it.quarantine.pending_count == 100
        finally:
            # On this thread, though it holds up the loop: a child dies with the thread that started it.
            rabbitmq.start()
        await until(lambda: it.confirmed() == 110, "what was kept meanwhile", 60)
        assert it.quarantine.healthy
    assert await bodies(rabbitmq.url_of(vhost)) == list(range(110))
    events = [record.message for record in caplog.records if record.name == LOG.name]
    assert events == ["quarantine.away", "quarantine.back"]
    assert "guest" not in caplog.text


@pytest.mark.asyncio
async def test_records_published_into_a_frozen_broker_arrive_when_it_thaws(
    rabbitmq: RabbitMQServer, vhost: str
) -> None:
    async with running(rabbitmq.url_of(vhost), timeout_s=0.5) as it:
        await until(lambda: it.quarantine.healthy, "the link")
        os.kill(rabbitmq.pid, signal.SIGSTOP)
        try:
            it.keep(100)
            await until(lambda: not it.quarantine.healthy, "the time-out")
            assert it.confirmed() == 0
        finally:
            os.kill(rabbitmq.pid, signal.SIGCONT)
        await until(lambda: it.confirmed() == 100, "the confirms", 30)
    # A record whose confirm was lost is published again, under the same id.
    assert set(await bodies(rabbitmq.url_of(vhost))) == set(range(100))


@pytest.mark.asyncio
async def test_records_in_flight_when_the_broker_dies_arrive_when_it_is_back(
    rabbitmq: RabbitMQServer, vhost: str
) -> None:
    async with running(rabbitmq.url_of(vhost)) as it:
        await until(lambda: it.quarantine.healthy, "the link")
        rabbitmq.write_definitions()
        os.kill(rabbitmq.pid, signal.SIGSTOP)
        it.keep(200)
        # Several turns of the loop: the first batch is written and waits for its confirms.
        for _ in range(100):
            await asyncio.sleep(0)
        rabbitmq.kill()
        rabbitmq.start()
        await until(lambda: it.confirmed() == 200, "the confirms", 60)
    assert set(await bodies(rabbitmq.url_of(vhost))) == set(range(200))
    assert not it.tally.quarantine_dropped


@pytest.mark.asyncio
async def test_a_flood_beyond_memory_is_logged_at_its_start_and_its_end(
    rabbitmq: RabbitMQServer, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(rabbitmq.url_of(vhost), count_max_in_memory=10) as it:
        it.keep(1000)
        await until(lambda: it.confirmed() == 10, "the confirms")
        await until(lambda: "quarantine.dropped" in caplog.text, "the end of it")
        it.keep(1)
        await until(lambda: it.confirmed() == 11, "room again")
    events = [(r.message, getattr(r, "records", None)) for r in caplog.records if r.name == LOG.name]
    assert events == [("quarantine.dropping", None), ("quarantine.dropped", 990)]
    assert it.tally.quarantine_dropped == {"sig.bad": 990}


@pytest.mark.asyncio
async def test_closing_flushes_what_waits(rabbitmq: RabbitMQServer, vhost: str) -> None:
    async with running(rabbitmq.url_of(vhost)) as it:
        it.keep(500)
        await it.quarantine.close(20)
        assert it.confirmed() == 500
        it.keep(1)
        assert it.dropped() == 1
    assert rabbitmq.depth(vhost, NAME) == 500


@pytest.mark.asyncio
async def test_closing_without_a_broker_ends_in_time_and_counts_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(f"amqp://127.0.0.1:{free_port()}") as it:
        it.keep(7)
        started = asyncio.get_running_loop().time()
        await it.quarantine.close(0.5)
        assert asyncio.get_running_loop().time() - started < 3
    assert it.tally.quarantine_dropped == {"sig.bad": 7}
    assert [record.records for record in caplog.records if record.message == "quarantine.lost_at_close"] == [
        7
    ]


@pytest.mark.asyncio
async def test_a_queue_with_other_bounds_is_reported_once_and_taken_when_it_is_gone(
    rabbitmq: RabbitMQServer, vhost: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbitmq.url_of(vhost)
    await with_channel(url, lambda channel: channel.declare_queue(NAME, durable=True))
    async with running(url, pause_refused_s=0.05) as it:
        it.keep(3)
        await until(lambda: "quarantine.refused_by_broker" in caplog.text, "the report")
        assert not it.quarantine.healthy
        await with_channel(url, lambda channel: channel.queue_delete(NAME))
        await until(lambda: it.confirmed() == 3, "the confirms")
        assert it.quarantine.healthy
    reports = [r for r in caplog.records if r.message == "quarantine.refused_by_broker"]
    assert len(reports) == 1
    assert "PRECONDITION_FAILED" in reports[0].error


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", ["amqp://guest:hunter2@127.0.0.1:{port}/{vhost}", "{url}/no-such-vhost"])
async def test_a_refused_login_or_virtual_host_is_reported_without_the_password(
    rabbitmq: RabbitMQServer, vhost: str, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    url = broken.format(port=rabbitmq.port, vhost=vhost, url=rabbitmq.url)
    async with running(url) as it:
        await until(lambda: "quarantine.refused_by_broker" in caplog.text, "the report")
        assert not it.quarantine.healthy
    assert "hunter2" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "event"),
    [(asyncio.CancelledError(), "quarantine.away"), (KeyError("surprise"), "quarantine.failed")],
)
async def test_what_nobody_expected_of_the_library_does_not_end_the_work(
    rabbitmq: RabbitMQServer,
    vhost: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: BaseException,
    event: str,
) -> None:
    failures = [failure]
    publish = Link.publish

    async def fail_once(link: Link, entry: Entry) -> None:
        if failures:
            raise failures.pop()
        await publish(link, entry)

    monkeypatch.setattr(Link, "publish", fail_once)
    async with running(rabbitmq.url_of(vhost), pause_refused_s=0.05) as it:
        it.keep(5)
        await until(lambda: it.confirmed() == 5, "the confirms")
    assert event in caplog.text
    assert not it.tally.quarantine_dropped


@pytest.mark.asyncio
async def test_the_next_url_is_tried_when_one_is_away(rabbitmq: RabbitMQServer, vhost: str) -> None:
    async with running([f"amqp://127.0.0.1:{free_port()}", rabbitmq.url_of(vhost)]) as it:
        it.keep(1)
        await until(lambda: it.confirmed() == 1, "the confirm")


@pytest.mark.asyncio
async def test_a_queue_deleted_under_way_is_declared_again(rabbitmq: RabbitMQServer, vhost: str) -> None:
    url = rabbitmq.url_of(vhost)
    async with running(url) as it:
        it.keep(1)
        await until(lambda: it.confirmed() == 1, "the first confirm")
        await with_channel(url, lambda channel: channel.queue_delete(NAME))
        it.keep(100, 1)
        await until(lambda: it.confirmed() == 101, "the other confirms")
    assert not it.tally.quarantine_dropped
    assert set(await bodies(url)) == set(range(1, 101))


@pytest.mark.asyncio
async def test_a_record_that_can_not_be_written_does_not_hold_up_the_others(
    rabbitmq: RabbitMQServer, vhost: str
) -> None:
    async with running(rabbitmq.url_of(vhost)) as it:
        it.keep(2)
        it.keep(1, channel=70_000, reason=Reason.HEADER_TYPE)
        it.keep(2, 2)
        await until(lambda: it.confirmed() == 4 and it.dropped() == 1, "all to be settled")
    assert it.tally.quarantine_dropped == {"header.type": 1}
    assert await bodies(rabbitmq.url_of(vhost)) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_who_wants_to_know_is_told_once_what_became_of_a_record(
    rabbitmq: RabbitMQServer, vhost: str
) -> None:
    """True when the broker has it, false when there was no room or it was given up."""
    told: list[bool] = []
    async with running(rabbitmq.url_of(vhost)) as it:
        it.quarantine.keep(refusal(b"1"), told.append)
        await until(lambda: told == [True], "the confirm")
        assert it.confirmed() == 1
    it.quarantine.keep(refusal(b"2"), told.append)
    assert told == [True, False]


@pytest.mark.asyncio
async def test_who_wants_to_know_is_told_of_no_room_and_of_the_end() -> None:
    told: list[tuple[int, bool]] = []
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}"
    tally = Tally()
    quarantine = Quarantine(url, tally=tally, log=LOG, count_max_in_memory=1)
    await quarantine.start()
    quarantine.keep(refusal(b"1"), lambda safe: told.append((1, safe)))
    quarantine.keep(refusal(b"2"), lambda safe: told.append((2, safe)))
    assert told == [(2, False)]
    await quarantine.close(0.1)
    assert told == [(2, False), (1, False)]
    assert sum(tally.quarantine_dropped.values()) == 2
