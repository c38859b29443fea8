"""One connection to Redis: opened, checked, with both scripts loaded. On any doubt it is thrown away.

A bare redis-py connection and not a client: no pool, no retry, no reply that a cancelled call left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from itertools import count
from math import ceil
from typing import Any, Final, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError

from sealgate.reason import GateError, Reason
from sealgate.stores.batch import Argument, Ask, ClaimCall, KeySpace, SettleCall, Settlement
from sealgate.stores.times import HELD_S, Horizon
from sealgate.verify.verdict import ClaimOutcome

#: The identity outlives any pause in traffic but for one of a month; each call renews it.
_IDENTITY_TTL_MS: Final = 30 * 86_400_000
_POLICY: Final = "noeviction"
_ROOM: Final = files("sealgate.stores")


class LinkSettings(NamedTuple):
    """What every connection of one store has in common. Times in seconds."""

    url: str
    keyspace: KeySpace
    max_age_s: float
    clock_skew_s: float
    lease_s: float
    call_s_max: float
    wall: Callable[[], float]


class Exchange(NamedTuple):
    """What one call brought: keys in the database, one outcome per ask, and the settlements done."""

    entries: int
    outcomes: list[ClaimOutcome]
    settled: int


class Link:
    """Use `open_link`. Every method raises on any doubt; the link must then be closed."""

    def __init__(self, settings: LinkSettings, connection: AbstractConnection) -> None:
        self.identity = b""
        self.warnings: Final[list[str]] = []
        self._settings: Final = settings
        self._connection: Final = connection
        self._horizon = Horizon(0, settings.max_age_s, settings.clock_skew_s)
        self._claim_sha = b""
        self._settle_sha = b""
        self._call_ids: Final = count(1)

    async def check(self, known_identity: bytes) -> None:
        """Refuse a server that can not keep nonces, find the horizon, load the scripts.

        `known_identity` is the one of this store's previous link, empty for its first.
        """
        info = _read_info(await self._command("INFO"))
        self._check_role(info)
        self._check_policy(info)
        await self._identify(info, known_identity)
        self._claim_sha = await self._command("SCRIPT", "LOAD", _ROOM.joinpath("claim.lua").read_bytes())
        self._settle_sha = await self._command("SCRIPT", "LOAD", _ROOM.joinpath("settle.lua").read_bytes())

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

    async def exchange(self, asks: list[Ask], steps: list[Settlement]) -> Exchange:
        """Settlements first, then claims, in one write; both replies checked."""
        settings = self._settings
        lease_ms = 0 if settings.lease_s == HELD_S else int(settings.lease_s * 1000)
        settle = SettleCall(next(self._call_ids), settings.keyspace, lease_ms, steps)
        created_min = self._horizon.created_min(settings.wall())
        head: list[Argument] = [self.identity, _IDENTITY_TTL_MS, created_min, lease_ms]
        claim = ClaimCall(next(self._call_ids), settings.keyspace, head, asks)
        commands: list[list[Argument]] = []
        if steps:
            commands.append(["EVALSHA", self._settle_sha, len(settle.keys), *settle.keys, *settle.arguments])
        commands.append(["EVALSHA", self._claim_sha, len(claim.keys), *claim.keys, *claim.arguments])
        await self._send(commands)
        settled = settle.read(await self._connection.read_response()) if steps else 0
        entries, outcomes = claim.read(await self._connection.read_response())
        return Exchange(entries, outcomes, settled)

    async def _command(self, *arguments: Argument) -> Any:
        await self._send([list(arguments)])
        return await self._connection.read_response()

    async def _send(self, commands: list[list[Argument]]) -> None:
        # redis-py would connect again by itself, to a server that nobody has checked.
        if not self._connection.is_connected:
            raise ConnectionResetError("the connection to Redis is gone")
        await self._connection.send_packed_command(
            self._connection.pack_commands(commands), check_health=False
        )

    async def close(self) -> None:
        """Drop the connection; whatever was still under way on it is nobody's any more."""
        try:
            await self._connection.disconnect(nowait=True)
        except (RedisError, OSError):
            return


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
    except BaseException:
        await link.close()
        raise
    return link


def _read_info(reply: bytes) -> dict[str, str]:
    lines = reply.decode(errors="replace").splitlines()
    pairs = [line.partition(":") for line in lines if not line.startswith("#")]
    return {name: value for name, _, value in pairs}
