"""The replay store as it is: reachable, whole, and of the right time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from sealgate.cli.doctor import live_rules as rules
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Report, Severity

_KEY: Final = "replay.store"
_POLICY: Final = "noeviction"
#: Of `maxmemory`: half an hour of growth at full load.
_FULL: Final = 0.8
_SECONDS_MIN: Final = 1.0


def check_redis(case: Case, report: Report, timeout_s: float) -> None:
    store = case.settings.replay.store
    if store == "memory":
        return
    where = redacted(store)
    try:
        info, skew = ask_redis(store, timeout_s)
    except RedisAwayError as error:
        change = 'store = "redis://USER:PASSWORD@HOST:6379/0", as the server has it'
        report.add([case.about(rules.REDIS_AWAY, f"{where}: {error}", _KEY, change)])
        return
    report.add(_server(case, info, where))
    report.add(_clock(case, skew))
    report.examined.append(f"Redis at {where}: policy, memory, persistence, clock")


class RedisAwayError(Exception):
    """Redis can not be asked; the text says why and holds no password."""


def ask_redis(url: str, timeout_s: float) -> tuple[dict[str, Any], float]:
    """(INFO, its clock less ours in seconds). Raises `RedisAwayError`."""
    import redis

    try:
        with redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=True
        ) as client:
            info: dict[str, Any] = client.info()
            before = time.time()
            seconds, microseconds = client.time()
            after = time.time()
    except (redis.RedisError, OSError, ValueError) as error:
        # redis-py's texts name host and port, and never the password.
        raise RedisAwayError(" ".join(str(error).split())[:200]) from None
    return info, seconds + microseconds / 1_000_000 - (before + after) / 2


def redacted(url: str) -> str:
    """`url` as it may be told."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _server(case: Case, info: dict[str, Any], where: str) -> Iterator[Finding]:
    if info.get("role", "master") != "master":
        yield case.about(rules.REDIS_REPLICA, f"{where} says so", _KEY, "the master's address")
    policy = info.get("maxmemory_policy")
    if policy is not None and policy != _POLICY:
        message = f"{where} has maxmemory-policy {policy}"
        yield case.about(rules.REDIS_EVICTION, message, _KEY, "maxmemory-policy noeviction  (redis.conf)")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used > _FULL * limit:
        message = f"{where} uses {used / limit:.0%} of its {limit >> 20} MiB"
        yield case.about(rules.REDIS_MEMORY, message, _KEY, "maxmemory: see docs/redis.md for how much")
    if info.get("aof_enabled"):
        message = f"{where} has appendonly yes"
        yield case.about(rules.REDIS_PERSISTENCE, message, _KEY, "appendonly no  (redis.conf)")
    parts = urlsplit(case.settings.replay.store)
    if not parts.password:
        change = 'store = "env:NAME", with redis://USER:PASSWORD@HOST:6379/0 in it'
        severity = Severity.NOTE if (parts.hostname or "") in ("localhost", "127.0.0.1", "::1") else None
        yield case.about(rules.REDIS_PASSWORD, f"{where} asks for none", _KEY, change, severity)


def _clock(case: Case, skew: float) -> Iterator[Finding]:
    allowed = case.settings.replay.clock_skew
    if abs(skew) > max(_SECONDS_MIN, allowed / 2):
        message = f"Redis is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}; {allowed:g} s are allowed"
        severity = Severity.ERROR if abs(skew) > allowed else None
        yield case.about(rules.REDIS_CLOCK, message, "replay.clock_skew", "NTP on both hosts", severity)
