from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from sealgate.quarantine.browse import EVERYTHING, Browser, Filter, Item, NoQueueError, Unreadable, browsing
from sealgate.quarantine.link import LinkLostError, LinkRefusedError
from sealgate.quarantine.publish import Quarantine
from sealgate.quarantine.record import CONTENT_TYPE, Kept, encode_body, encode_headers
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord, Tally
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer
from support.refusals import refusal

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

NAME = "sealgate.quarantine"


@pytest.fixture
def url(rabbitmq: RabbitMQServer, vhost: str) -> str:
    return rabbitmq.url_of(vhost)


async def fill(url: str, *records: RefusalRecord) -> None:
    quarantine = Quarantine(url, tally=Tally(), log=logging.getLogger("test"))
    await quarantine.start()
    for record in records:
        quarantine.keep(record)
    await quarantine.close(20)
    assert quarantine.pending_count == 0


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Browser]:
    async with browsing(url, NAME) as it:
        yield it


async def listed(url: str, wanted: Filter = EVERYTHING, limit: int = 1000) -> list[Item]:
    async with browser(url) as it:
        return await it.list(wanted, limit)


def tasks(items: list[Item]) -> list[str]:
    return [item.record.task for item in items if isinstance(item, Kept)]


async def test_listing_is_in_order_and_takes_nothing_out(url: str) -> None:
    await fill(url, *[refusal(task=f"t{number}") for number in range(50)])
    expected = [f"t{number}" for number in range(50)]
    async with browser(url) as it:
        for _ in range(3):
            assert tasks(await it.list(EVERYTHING, 1000)) == expected
    assert tasks(await listed(url)) == expected


async def test_listing_stops_at_its_limit_and_gives_all_back(url: str) -> None:
    await fill(url, *[refusal(task=f"t{number}") for number in range(10)])
    assert tasks(await listed(url, limit=3)) == ["t0", "t1", "t2"]
    assert len(await listed(url)) == 10


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(reason="sig.bad"), ["a"]),
        (Filter(reason="sig.*"), ["a", "b"]),
        (Filter(task="[bc]"), ["b", "c"]),
        (Filter(kid="k2"), ["c"]),
        (Filter(reason="sig.*", kid="k2"), []),
        (Filter(reason="sig"), []),
        (EVERYTHING, ["a", "b", "c"]),
    ],
)
async def test_filters_are_exact_or_globs_and_all_must_hold(
    url: str, wanted: Filter, expected: list[str]
) -> None:
    await fill(
        url,
        refusal(task="a"),
        refusal(task="b", reason=Reason.SIG_MISSING, kid=""),
        refusal(task="c", reason=Reason.RATE_TASK, kid="k2"),
    )
    assert tasks(await listed(url, wanted)) == expected


async def test_showing_one_gives_its_bytes_and_leaves_it(url: str) -> None:
    await fill(url, refusal(b"one"), refusal(b"two"), refusal(b"three"))
    second = (await listed(url))[1]
    assert isinstance(second, Kept)
    assert second.record.body == b""
    async with browser(url) as it:
        shown = await it.show(second.id)
    assert isinstance(shown, Kept)
    assert shown.record == refusal(b"two")
    assert len(await listed(url)) == 3


async def test_showing_what_is_not_there_is_nothing(url: str) -> None:
    await fill(url, refusal())
    async with browser(url) as it:
        assert await it.show("6f1c2f9e-3b7a-4c62-9a59-0a7f5b6a1c11") is None


async def test_discarding_one_takes_only_that(url: str) -> None:
    await fill(url, *[refusal(task=f"t{number}") for number in range(5)])
    middle = (await listed(url))[2].id
    async with browser(url) as it:
        assert await it.discard_one(middle)
        assert not await it.discard_one(middle)
    assert tasks(await listed(url)) == ["t0", "t1", "t3", "t4"]


async def test_discarding_one_takes_its_repeat_too(url: str) -> None:
    await fill(url, refusal(), refusal(task="other"))
    first = (await listed(url))[0]
    assert isinstance(first, Kept)
    async with await aio_pika.connect(url) as connection:
        exchange = await (await connection.channel()).get_exchange(NAME)
        repeat = aio_pika.Message(
            encode_body(refusal()),
            headers=dict(encode_headers(refusal())),
            content_type=CONTENT_TYPE,
            message_id=first.id,
        )
        await exchange.publish(repeat, "")
    async with browser(url) as it:
        assert await it.discard_one(first.id)
    assert tasks(await listed(url)) == ["other"]


async def test_discarding_by_filter_takes_only_those(url: str) -> None:
    await fill(url, *[refusal(task=f"t{number % 2}") for number in range(10)])
    async with browser(url) as it:
        assert await it.discard(Filter(task="t1")) == 5
    assert tasks(await listed(url)) == ["t0"] * 5


async def test_discarding_everything_takes_what_can_not_be_read_too(url: str) -> None:
    await fill(url, refusal(), refusal())
    await intrude(url, b"junk", "x")
    async with browser(url) as it:
        assert await it.discard(EVERYTHING) == 3
    assert await listed(url) == []


async def intrude(url: str, body: bytes, message_id: str | None = None) -> None:
    """Publish to the quarantine what is not ours."""
    async with await aio_pika.connect(url) as connection:
        exchange = await (await connection.channel()).get_exchange(NAME)
        await exchange.publish(aio_pika.Message(body, message_id=message_id), "")


async def test_foreign_messages_are_listed_as_unreadable_and_can_be_discarded(url: str) -> None:
    await fill(url, refusal(task="a"))
    await intrude(url, b"junk", "not-ours")
    await intrude(url, b"")
    first, second, third = await listed(url)
    assert isinstance(first, Kept)
    assert isinstance(second, Unreadable)
    assert (second.id, isinstance(third, Unreadable)) == ("not-ours", True)
    assert tasks(await listed(url, Filter(task="*"))) == ["a"]
    async with browser(url) as it:
        assert await it.discard_one("not-ours")
    assert len(await listed(url)) == 2


async def test_an_empty_quarantine_is_an_empty_list(url: str) -> None:
    await fill(url, refusal())
    async with browser(url) as it:
        assert await it.discard(EVERYTHING) == 1
        assert await it.list(EVERYTHING, 10) == []


async def test_no_queue_is_told(url: str) -> None:
    with pytest.raises(NoQueueError):
        await listed(url)


async def test_browsing_ends_and_loses_nothing_while_a_gateway_publishes(url: str) -> None:
    quarantine = Quarantine(url, tally=Tally(), log=logging.getLogger("test"))
    await quarantine.start()
    kept = 0

    async def publish() -> None:
        nonlocal kept
        while kept < 2000:
            quarantine.keep(refusal(task="new"))
            kept += 1
            await asyncio.sleep(0.002)

    await fill(url, *[refusal(task="old") for _ in range(100)])
    publishing = asyncio.create_task(publish())
    for _ in range(5):
        seen = tasks(await listed(url, limit=100_000))
        assert seen[:100] == ["old"] * 100
    async with browser(url) as it:
        assert await it.discard(Filter(task="old")) == 100
    publishing.cancel()
    await quarantine.close(20)
    assert tasks(await listed(url, limit=100_000)) == ["new"] * kept


async def test_a_browser_that_dies_gives_back_what_it_held(url: str) -> None:
    await fill(url, *[refusal() for _ in range(20)])
    with pytest.raises(RuntimeError, match="the lights went out"):
        async with browser(url) as it:
            await it.show("none")
            raise RuntimeError("the lights went out")
    assert len(await listed(url)) == 20


async def test_an_absent_broker_is_lost() -> None:
    with pytest.raises(LinkLostError, match="amqp://127"):
        await listed(f"amqp://127.0.0.1:{free_port()}")


async def test_a_wrong_password_is_refused_and_not_repeated(rabbitmq: RabbitMQServer) -> None:
    with pytest.raises(LinkRefusedError) as refused:
        await listed(f"amqp://guest:hunter2@127.0.0.1:{rabbitmq.port}")
    assert "hunter2" not in str(refused.value)
