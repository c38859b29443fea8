"""Where orders are kept: in memory alone, in a file of this gateway, or in Redis for all that share it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from sealgate.control.disk import DamagedError, Lock, read_whole, write_whole
from sealgate.control.orders import Entry, Orders, orders_of, plain

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: All orders there can be, with the longest names.
FILE_BYTES_MAX: Final = 16_777_216
_MAGIC: Final = b"sealgate-control-1"
#: A call that takes longer is an error, seconds: an operator waits for it. Redis answers in milliseconds.
_CALL_S_MAX: Final = 2.0


class KeeperError(Exception):
    """Orders can not be read or kept. The text is safe to print."""


class Keeper(Protocol):
    """`kept` says where, and is empty where they end with the process."""

    kept: str

    async def start(self) -> Orders:
        """Those of before. Raises `KeeperError`."""

    async def put(self, order: Entry, orders: Orders) -> None:
        """Keep `order`; `orders` are all with it. Raises `KeeperError`: then it is not kept."""

    async def lift(self, order: Entry, orders: Orders) -> None:
        """Forget `order`; `orders` are all without it. Raises `KeeperError`: then it is still there."""

    async def poll(self, orders: Orders) -> Orders | None:
        """What others made of `orders` meanwhile; None for nothing. Raises `KeeperError`."""

    async def close(self) -> None: ...


class MemoryKeeper:
    """Keeps nothing over the end of the process."""

    def __init__(self) -> None:
        self.kept = ""

    async def start(self) -> Orders:
        return Orders()

    async def put(self, order: Entry, orders: Orders) -> None:
        pass

    async def lift(self, order: Entry, orders: Orders) -> None:
        pass

    async def poll(self, orders: Orders) -> Orders | None:
        return None

    async def close(self) -> None:
        pass


class FileKeeper:
    """The file at `path`, held by one process at a time: a line with a checksum, and JSON."""

    def __init__(self, path: Path) -> None:
        self.kept = str(path)
        self._path: Final = path
        self._lock: Lock | None = None

    async def start(self) -> Orders:
        """A file that is damaged stops the start: nobody knows what it ordered."""
        try:
            self._lock = Lock(self._path)
            data = read_whole(self._path, FILE_BYTES_MAX)
            return Orders() if data is None else _read(data)
        except OSError as error:
            raise KeeperError(f"{self._path}: {error.strerror or error}") from error
        except (DamagedError, ValueError) as error:
            detail = f"{self._path} is damaged ({error}); what it ordered is not known: look, and remove it"
            raise KeeperError(detail) from error

    async def put(self, order: Entry, orders: Orders) -> None:
        await self._write(orders)

    async def lift(self, order: Entry, orders: Orders) -> None:
        await self._write(orders)

    async def _write(self, orders: Orders) -> None:
        text = json.dumps({"orders": plain(orders.entries())}, ensure_ascii=False).encode()
        data = b"%b %08x\n%b\n" % (_MAGIC, zlib.crc32(text), text)
        try:
            await asyncio.to_thread(write_whole, self._path, data)
        except OSError as error:
            raise KeeperError(f"{self._path}: {error.strerror or error}") from error

    async def poll(self, orders: Orders) -> Orders | None:
        return None

    async def close(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _read(data: bytes) -> Orders:
    """Raises `ValueError`, and `DamagedError` for what is no file of this kind."""
    head, _, text = data.removesuffix(b"\n").partition(b"\n")
    magic, _, checksum = head.partition(b" ")
    if magic != _MAGIC:
        raise DamagedError("no control state of this version")
    if checksum != b"%08x" % zlib.crc32(text):
        raise DamagedError("its checksum is another one")
    content: Any = json.loads(text)
    return orders_of(content["orders"])


class RedisKeeper:
    """A hash of orders and a counter of its changes, under names of the deployment.

    Everyone looks at the counter, once a second, and reads the hash when it is another one. When Redis has
    forgotten both, the first who notices writes back what was in force.
    """

    def __init__(self, url: str, deployment: str) -> None:
        self.kept = "Redis"
        self._url: Final = url
        prefix = f"sealgate:{{{deployment}}}:"
        self._hash: Final = prefix + "orders"
        self._counter: Final = prefix + "orders:changes"
        self._redis: Redis | None = None
        #: The counter when the hash was read; -1 to read it again.
        self._seen = -1

    async def start(self) -> Orders:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._redis = Redis.from_url(
            self._url,
            socket_timeout=_CALL_S_MAX,
            socket_connect_timeout=_CALL_S_MAX,
            # Once more, on a new connection: Redis may have been restarted. Every call may be made twice.
            retry=Retry(NoBackoff(), 1),
        )
        return await self._read_all()

    async def put(self, order: Entry, orders: Orders) -> None:
        _, changes = await self._carry_out(("HSET", self._hash, _field(order), _value(order)), self._count())
        self._note(changes)

    async def lift(self, order: Entry, orders: Orders) -> None:
        _, changes = await self._carry_out(("HDEL", self._hash, _field(order)), self._count())
        self._note(changes)

    def _count(self) -> tuple[str, ...]:
        return "INCR", self._counter

    def _note(self, changes: int) -> None:
        """Somebody else's change in between is to be read."""
        self._seen = changes if changes == self._seen + 1 else -1

    async def poll(self, orders: Orders) -> Orders | None:
        (changes,) = await self._carry_out(("GET", self._counter))
        if changes is None and (self._seen > 0 or orders.entries()):
            await self._write_back(orders)
            return None
        if int(changes or 0) == self._seen:
            return None
        return await self._read_all()

    async def _read_all(self) -> Orders:
        changes, fields = await self._carry_out(("GET", self._counter), ("HGETALL", self._hash))
        self._seen = int(changes or 0)
        try:
            return orders_of([json.loads(value) for value in _values(fields)])
        except ValueError as error:
            raise KeeperError(f"Redis, {self._hash}: {error}") from error

    async def _write_back(self, orders: Orders) -> None:
        """Redis was emptied. Whoever else does the same writes the same."""
        commands: list[tuple[str, ...]] = [
            ("HSET", self._hash, _field(order), _value(order)) for order in orders.entries()
        ]
        *_, changes = await self._carry_out(*commands, self._count())
        self._seen = changes

    async def _carry_out(self, *commands: tuple[str, ...]) -> list[Any]:
        """All of `commands` or none; what they answer. Raises `KeeperError`."""
        from redis.exceptions import RedisError

        assert self._redis is not None  # started
        try:
            async with self._redis.pipeline(transaction=len(commands) > 1) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute()
        except (OSError, RedisError, TimeoutError) as error:
            raise KeeperError(f"Redis: {str(error) or type(error).__name__}") from error
        return answers

    async def close(self) -> None:
        if self._redis is not None:
            with contextlib.suppress(Exception):  # nothing is left to be done about it
                await self._redis.aclose()


def _field(order: Entry) -> str:
    return f"{order.kind}:{order.subject}"


def _value(order: Entry) -> str:
    return json.dumps(list(order), ensure_ascii=False)


def _values(fields: object) -> list[Any]:
    """Of what HGETALL answers: redis-py makes a table of it, or leaves the list."""
    if isinstance(fields, dict):
        return list(fields.values())
    return list(fields)[1::2] if isinstance(fields, list) else []
