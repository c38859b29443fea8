"""One connection to Redis: opened, checked, with the script loaded. On any doubt it is thrown away.

redis-py connects (TLS, login, database) and carries the checks. Then the link reads the socket itself: one
call at a time, packed by hand, and a reply taken only when it surely is the one to that call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from math import ceil
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError

from sealgate.reason import GateError, Reason
from sealgate.stores.batch import Call, Exchange, KeySpace, ReplyMismatch, Terms
from sealgate.stores.blocks import Wanted
from sealgate.stores.pending import Part
from sealgate.stores.settlements import Steps
from sealgate.stores.times import HELD_S, Horizon

#: The identity outlives any pause in traffic but for one of a month; each call renews it.
_IDENTITY_TTL_MS: Final = 30 * 86_400_000
_POLICY: Final = "noeviction"
_SCRIPT: Final = files("sealgate.stores").joinpath("exchange.lua")
#: The longest reply is that to as many claims as go into a call, all refused: 3 KB.
_REPLY_BYTES_MAX: Final = 65_536


class LinkSettings(NamedTuple):
    """What every connection of one store has in common. Times in seconds. `gateway` is 8 octets of chance: no
    lease and no reply of another store is taken for one of this one's."""

    url: str
    keyspace: KeySpace
    max_age_s: float
    clock_skew_s: float
    lease_s: float
    call_s_max: float
    wall: Callable[[], float]
    gateway: bytes
    call_numbers: Iterator[int]


class Link(asyncio.Protocol):
    """Use `open_link`. `replied` is told of each call's exchange; `lost` once, when the link is of no use any
    more, with what was wrong. Neither is called after `close`."""

    def __init__(self, settings: LinkSettings, connection: AbstractConnection) -> None:
        self.identity = b""
        self.warnings: Final[list[str]] = []
        self.replied: Callable[[Call, Exchange], None] = _nobody_listens
        self.lost: Callable[[Call | None, Exception], None] = _nobody_listens
        self._settings: Final = settings
        self._connection: Final = connection
        self._horizon = Horizon(0, settings.max_age_s, settings.clock_skew_s)
        self._terms: Terms | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._call: Call | None = None
        self._received = b""
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def check(self, known_identity: bytes) -> None:
        """Refuse a server that can not keep nonces, find the horizon, load the script.

        `known_identity` is the one of this store's previous link, empty for its first.
        """
        info = _read_info(await self._command("INFO"))
        self._check_role(info)
        self._check_policy(info)
        await self._identify(info, known_identity)
        script = await self._command("SCRIPT", "LOAD", _SCRIPT.read_bytes())
        settings = self._settings
        lease_ms = 0 if settings.lease_s == HELD_S else int(settings.lease_s * 1000)
        self._terms = Terms(script, self.identity, settings.gateway, settings.keyspace, lease_ms)

    def _check_role(self, info: dict[str, str]) -> None:
        if info.get("role", "master") != "master":
            raise GateError(Reason.STORE_UNAVAILABLE, "this Redis is a replica; the store must be the master")

    def _check_policy(self, info: dict[str, str]) -> None:
        policy = info.get("maxmemory_policy")
        if policy is None:
            self.warnings.append(
                f"Redis does not tell its maxmemory-policy; make sure that it is {_POLICY}, "
                "or replayed messages may pass when its memory is full"
            )
        elif policy != _POLICY:
            raise GateError(
                Reason.STORE_UNAVAILABLE,
                f"Redis has maxmemory-policy {policy}, which would forget nonces; it must be {_POLICY}",
            )

    async def _identify(self, info: dict[str, str], known: bytes) -> None:
        """Find out since when this server's memory is whole (seal1.md "Replay": run_id, master_replid).

        The identity is kept in Redis as `RUN_ID:REPLID:MOMENT`, so that all gateways agree. Another one than
        this server's: its memory is whole from now on. None at all and none seen before: since it started.
        """
        if not info.get("run_id") or not info.get("master_replid"):
            raise GateError(Reason.STORE_UNAVAILABLE, "Redis does not tell run_id and master_replid in INFO")
        server = f"{info['run_id']}:{info['master_replid']}:".encode()
        key = self._settings.keyspace.identity
        seconds, microseconds = await self._command("TIME")
        now = int(seconds) + int(microseconds) / 1_000_000
        self._check_clock(now)
        stored: bytes | None = await self._command("GET", key)
        if stored is None or not stored.startswith(server):
            fresh = stored is None and not known
            moment = ceil(now) - (int(info.get("uptime_in_seconds", 0)) if fresh else 0)
            stored = server + b"%d" % moment
            await self._command("SET", key, stored, "PX", _IDENTITY_TTL_MS)
        self.identity = stored
        moment = int(stored.rpartition(b":")[2])
        self._horizon = Horizon(moment, self._settings.max_age_s, self._settings.clock_skew_s)

    def _check_clock(self, redis_now: float) -> None:
        apart = abs(redis_now - self._settings.wall())
        if apart > max(self._settings.clock_skew_s, 1.0):
            self.warnings.append(
                f"the clocks of Redis and of this machine are {apart:.0f} s apart, more than the clock skew "
                "allowed: good messages may be refused as store.horizon"
            )

    async def _command(self, *arguments: bytes | int | str) -> Any:
        # redis-py would connect again by itself, to a server that nobody has checked.
        if not self._connection.is_connected:
            raise ConnectionResetError("the connection to Redis is gone")
        await self._connection.send_command(*arguments, check_health=False)
        return await self._connection.read_response()

    def take_over(self) -> None:
        """From here on this link reads the socket; redis-py's connection is left without one."""
        writer = self._connection._writer
        if writer is None or writer.is_closing():
            raise ConnectionResetError("the connection to Redis is gone")
        # Kept: a writer that is forgotten closes its transport.
        self._writer = writer
        self._connection._reader = self._connection._writer = None
        self._transport = writer.transport
        self._transport.set_protocol(self)

    # One call at a time

    @property
    def busy(self) -> bool:
        """A call is under way, or the link is of no use any more."""
        return self._call is not None or self._transport is None

    def exchange(self, parts: list[Part], steps: Steps, wanted: list[Wanted]) -> None:
        """Send one call, when not `busy`; `replied` or `lost` follows."""
        assert self._terms is not None and self._transport is not None  # open_link has seen to both
        created_min = self._horizon.created_min(self._settings.wall())
        call = Call(self._terms, next(self._settings.call_numbers), created_min, parts, steps, wanted)
        self._call = call
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._settings.call_s_max
        if self._timer is None:
            self._timer = loop.call_at(self._deadline, self._check_deadline)
        self._transport.write(call.data)

    def _check_deadline(self) -> None:
        """One timer for many calls: it looks whether the call of now is overdue."""
        self._timer = None
        if self._call is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._deadline:
            self._fail(TimeoutError("Redis did not answer in time"))
        else:
            self._timer = loop.call_at(self._deadline, self._check_deadline)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        received = self._received + data if self._received else data
        try:
            reply = _whole_string(received)
            if reply is None:
                self._received = received
                return
            self._received = b""
            call = self._call
            if call is None:
                raise ReplyMismatch("a reply that nobody waits for")
            exchange = call.read(reply)
        except Exception as error:
            self._fail(error)
            return
        self._call = None
        self.replied(call, exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("Redis closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._transport is not None:
            call = self._call
            self._drop()
            self.lost(call, error)

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> Call | None:
        """Drop the connection. Returns the call that was under way: its reply is nobody's any more."""
        self._drop()
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)
        call, self._call = self._call, None
        return call


def _nobody_listens(*_: object) -> None:
    """Until the store has set its own."""


def _whole_string(received: bytes) -> bytes | None:
    """The one string that was received, None while it is not whole. Raises for an error and anything else."""
    end = received.find(b"\r\n")
    if end < 0:
        if len(received) > _REPLY_BYTES_MAX:
            raise ReplyMismatch("the reply has no end")
        return None
    if received[:1] == b"-":
        raise RedisError(received[1:end].decode(errors="replace"))
    if received[:1] != b"$" or not received[1:end].isdigit() or end > 8:
        raise ReplyMismatch("the reply is no string")
    length = int(received[1:end])
    if length > _REPLY_BYTES_MAX:
        raise ReplyMismatch("the reply is too long")
    whole = end + 2 + length + 2
    if len(received) < whole:
        return None
    if len(received) > whole or received[-2:] != b"\r\n":
        raise ReplyMismatch("there is more than the reply")
    return received[end + 2 : whole - 2]


async def open_link(settings: LinkSettings, known_identity: bytes) -> Link:
    """Connect and check. Raises `GateError` for a server that will not do, and what redis-py raises."""
    options: dict[str, Any] = dict(parse_url(settings.url))
    connection_class = options.pop("connection_class", Connection)
    options.update(
        socket_timeout=settings.call_s_max,
        socket_connect_timeout=settings.call_s_max,
        protocol=2,
        driver_info=None,
        client_name="sealgate",
    )
    connection = connection_class(**options)
    link = Link(settings, connection)
    try:
        await connection.connect()
        await link.check(known_identity)
        link.take_over()
    except BaseException:
        await link.close()
        raise
    return link


def _read_info(reply: bytes) -> dict[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    pairs = [line.partition(":") for line in lines if not line.startswith("#")]
    return {name: value for name, _, value in pairs}
