"""The brokers' addresses, and what is remembered of each: who is tried first, and who is left alone."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

AMQP_PORT: Final = 5672
AMQPS_PORT: Final = 5671
#: After its first failure an endpoint is tried after the others for about so long, then twice as long each
#: time, up to the second figure: a broker that restarts is back in seconds, and one that is gone for the day
#: costs one client a minute its patience.
AVOID_S_MIN: Final = 1.0
AVOID_S_MAX: Final = 60.0


@dataclass(slots=True, frozen=True)
class Endpoint:
    """A broker's address. `tls` is None for plain TCP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    @property
    def address(self) -> str:
        """For people and labels."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(url: str, tls: ssl.SSLContext | None, server_name: str | None) -> Endpoint:
    """The address an `amqp://` or `amqps://` URL names. Not its credentials: clients bring their own."""
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    # A scope is written %25eth0 in a URL (RFC 6874); plain %eth0 is understood as well.
    host = (parts.hostname or "localhost").replace("%25", "%", 1)
    if not secure:
        return Endpoint(host, parts.port or AMQP_PORT)
    return Endpoint(host, parts.port or AMQPS_PORT, tls, server_name or host.partition("%")[0])


@dataclass(slots=True)
class Memory:
    """How an endpoint has done. `up` is None before anything is known."""

    up: bool | None = None
    why: str = ""
    failures: int = 0
    avoid_until: float = 0.0
    #: It could be connected to when it failed last, so that connecting alone proves nothing.
    connects: bool = False


@dataclass(slots=True)
class Route:
    """One client's way through the endpoints: each is tried once at most."""

    left: list[Endpoint]
    current: Endpoint | None = None
    #: When the client's patience with all of them ends, and that with `current`; None before the first dial.
    ends: float | None = None
    current_ends: float = 0.0


class Endpoints:
    """In the configured order, but for those that failed a short while ago."""

    def __init__(
        self, endpoints: Iterable[Endpoint], clock: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        """`clock` counts seconds; `dice` gives a number from 0 to 1, so that gates do not retry in step."""
        self._targets = list(dict.fromkeys(endpoints))
        self._memories: Final = {target.address: Memory() for target in self._targets}
        self._clock: Final = clock
        self._dice: Final = dice

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._targets)

    @property
    def reachable(self) -> bool | None:
        """Whether any is; None before anything is known."""
        known = [memory.up for memory in self._memories.values() if memory.up is not None]
        return any(known) if known else None

    def states(self) -> dict[str, Memory]:
        """By address."""
        return dict(self._memories)

    def use_tls(self, context: ssl.SSLContext) -> None:
        """For the next dials of those that use TLS."""
        self._targets = [
            target if target.tls is None else replace(target, tls=context) for target in self._targets
        ]

    def route(self) -> Route:
        return Route(sorted(self._targets, key=self._avoided))

    def _avoided(self, target: Endpoint) -> bool:
        return self._clock() < self._memories[target.address].avoid_until

    def connected(self, target: Endpoint) -> None:
        """A socket (and its TLS) is up. Where it failed later than that, the count stays."""
        memory = self._memories[target.address]
        if not memory.connects:
            self.served(target)
        elif not self._avoided(target):
            memory.up, memory.why = True, ""

    def served(self, target: Endpoint) -> None:
        """It spoke AMQP."""
        self._memories[target.address] = Memory(up=True)

    def failed(self, target: Endpoint, why: str, connects: bool) -> None:
        """Tried in vain. Those who tried it at the same time are one failure."""
        memory = self._memories[target.address]
        memory.up, memory.why, memory.connects = False, why, connects
        if not self._avoided(target):
            wait_s = min(AVOID_S_MIN * 2.0 ** min(memory.failures, 16), AVOID_S_MAX)
            memory.failures += 1
            memory.avoid_until = self._clock() + wait_s * (0.75 + self._dice() / 2)
