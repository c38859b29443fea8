"""Orders outlive the process in a file, and are shared through Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sealgate.control.keepers import FileKeeper, KeeperError, MemoryKeeper, RedisKeeper
from sealgate.control.orders import REVOKE, SHED, Order, Orders
from support.redis_server import RedisServer

NOW = 1_800_000_000.0
A = Order(SHED, "shop.*", NOW, 0.0, "me@host")
B = Order(REVOKE, "id-1", NOW, NOW + 60, "")


def with_(*orders: Order) -> Orders:
    return Orders(orders)


@pytest.fixture
def redis_keeper(redis_server: RedisServer, request: pytest.FixtureRequest) -> Callable[[], RedisKeeper]:
    """Makes gateways of one deployment, which is this test's alone."""
    return lambda: RedisKeeper(redis_server.url, request.node.name)


@pytest.mark.asyncio
async def test_memory_keeps_nothing() -> None:
    keeper = MemoryKeeper()
    await keeper.put(A, with_(A))
    assert (await keeper.start(), await keeper.poll(with_(A)), keeper.kept) == (Orders(), None, "")


@pytest.mark.asyncio
async def test_file_gives_orders_back_to_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "control"
    keeper = FileKeeper(file)
    assert await keeper.start() == Orders()
    await keeper.put(A, with_(A))
    await keeper.put(B, with_(A, B))
    assert file.stat().st_mode & 0o777 == 0o600
    await keeper.close()
    again = FileKeeper(file)
    assert await again.start() == with_(A, B)
    await again.lift(A, with_(B))
    await again.close()
    last = FileKeeper(file)
    assert await last.start() == with_(B)
    await last.close()


@pytest.mark.asyncio
async def test_file_is_one_gateways_alone(tmp_path: Path) -> None:
    first = FileKeeper(tmp_path / "control")
    await first.start()
    with pytest.raises(KeeperError, match="another process uses it"):
        await FileKeeper(tmp_path / "control").start()
    await first.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-10],
        lambda data: data.replace(b"shop", b"shpo"),
        lambda data: data.replace(b"control-1", b"control-2"),
        lambda data: b"\x00" * len(data),
        lambda data: data.partition(b"\n")[0],
    ],
)
async def test_damaged_file_stops_the_start_and_stays(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "control"
    keeper = FileKeeper(file)
    await keeper.start()
    await keeper.put(A, with_(A))
    await keeper.close()
    spoilt = spoil(file.read_bytes())
    file.write_bytes(spoilt)
    with pytest.raises(KeeperError, match="is damaged") as told:
        await FileKeeper(file).start()
    assert str(file) in str(told.value)
    assert file.read_bytes() == spoilt


@pytest.mark.asyncio
async def test_order_that_can_not_be_written_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "control"
    keeper = FileKeeper(file)
    await keeper.start()
    await keeper.put(A, with_(A))
    (tmp_path / "control.new").mkdir()
    with pytest.raises(KeeperError, match=r"control: Is a directory"):
        await keeper.put(B, with_(A, B))
    await keeper.close()
    again = FileKeeper(file)
    assert await again.start() == with_(A)
    await again.close()


@pytest.mark.asyncio
async def test_gateways_that_share_redis_see_each_others_orders(
    redis_keeper: Callable[[], RedisKeeper],
) -> None:
    one, two = redis_keeper(), redis_keeper()
    assert await one.start() == Orders()
    assert await two.start() == Orders()
    await one.put(A, with_(A))
    assert await one.poll(with_(A)) is None
    assert await two.poll(Orders()) == with_(A)
    assert await two.poll(with_(A)) is None
    # Both at once: each learns of the other's.
    await one.put(B, with_(A, B))
    await two.lift(A, Orders())
    assert await one.poll(with_(A, B)) == with_(B)
    assert await two.poll(Orders()) == with_(B)
    late = redis_keeper()
    assert await late.start() == with_(B)
    for keeper in (one, two, late):
        await keeper.close()


@pytest.mark.asyncio
async def test_orders_that_redis_has_forgotten_are_written_back(
    redis_keeper: Callable[[], RedisKeeper], redis_server: RedisServer
) -> None:
    one, two = redis_keeper(), redis_keeper()
    await one.start()
    await two.start()
    await one.put(A, with_(A))
    assert await two.poll(Orders()) == with_(A)
    redis_server.command("FLUSHALL")
    assert await one.poll(with_(A)) is None
    found = await two.poll(with_(A))
    assert found in (None, with_(A))
    late = redis_keeper()
    assert await late.start() == with_(A)
    for keeper in (one, two, late):
        await keeper.close()


@pytest.mark.asyncio
async def test_redis_that_is_away_is_told_and_found_again(
    redis_keeper: Callable[[], RedisKeeper], redis_server: RedisServer
) -> None:
    keeper = redis_keeper()
    await keeper.start()
    await keeper.put(A, with_(A))
    redis_server.stop()
    try:
        with pytest.raises(KeeperError, match="Redis"):
            await keeper.poll(with_(A))
        with pytest.raises(KeeperError, match="Redis"):
            await keeper.put(B, with_(A, B))
    finally:
        redis_server.start()
    # It began anew: what is in force is written back.
    assert await keeper.poll(with_(A)) is None
    other = redis_keeper()
    assert await other.start() == with_(A)
    await keeper.close()
    await other.close()


@pytest.mark.asyncio
async def test_redis_with_something_else_under_the_name_is_told(
    redis_keeper: Callable[[], RedisKeeper], redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    redis_server.command("HSET", f"sealgate:{{{request.node.name}}}:orders", "shed:x", '["explode"]')
    keeper = redis_keeper()
    with pytest.raises(KeeperError, match="no order"):
        await keeper.start()
    await keeper.close()


@pytest.mark.asyncio
async def test_rights_that_the_documents_name_are_enough(redis_server: RedisServer) -> None:
    text = (Path(__file__).parents[2] / "docs/redis.md").read_text()
    line = text[text.index("ACL SETUSER") :].partition("\n\n")[0].replace("\\\n", " ")
    command = line.replace("{prod}", "{rights}").replace("PASSWORD", "p").split()
    assert redis_server.command(*command) == b"+OK"
    url = redis_server.url.replace("redis://", "redis://sealgate:p@")
    try:
        keeper = RedisKeeper(url, "rights")
        await keeper.start()
        await keeper.put(A, with_(A))
        assert await keeper.poll(with_(A)) is None
        await keeper.lift(A, Orders())
        assert await keeper.poll(Orders()) is None
        await keeper.close()
        other = RedisKeeper(url, "elsewhere")
        with pytest.raises(KeeperError, match="permission"):
            await other.start()
        await other.close()
    finally:
        redis_server.command("ACL", "DELUSER", "sealgate")


def test_lock_goes_with_the_process(tmp_path: Path) -> None:
    async def started() -> None:
        await FileKeeper(tmp_path / "control").start()

    pid = os.fork()
    if pid == 0:
        asyncio.run(started())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    asyncio.run(started())
