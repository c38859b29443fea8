"""Keeps one link to Redis: connects, tries again after a loss, and says when the next call may go."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from sealgate.reason import GateError, Reason
from sealgate.stores.batch import Call, Exchange
from sealgate.stores.link import Link, LinkSettings, open_link
from sealgate.stores.settlements import NO_STEPS

#: An idle connection is tried this often, so that a lost store shows before a message needs it, seconds.
_IDLE_S: Final = 2.0
BACKOFF_S_MIN: Final = 0.05
_BACKOFF_S_MAX: Final = 1.0


class Mailbox(Protocol):
    """What is to be sent over the link, and who gets what comes back."""

    def send(self, link: Link) -> None:
        """The link is free: make one call, or none when nothing waits."""

    def replied(self, call: Call, exchange: Exchange) -> None: ...

    def lost(self, call: Call | None) -> None:
        """The link is gone, and with it the call that was under way, if any."""

    @property
    def finished(self) -> bool:
        """No link is needed any more."""

    def look_if_drained(self) -> None:
        """A call has ended, or the attempts to connect have."""


class Keeper:
    """`start` it, then call `flush_soon` whenever there is something to send."""

    def __init__(self, settings: LinkSettings, mailbox: Mailbox) -> None:
        self._settings: Final = settings
        self._mailbox: Final = mailbox
        self._link: Link | None = None
        self._identity = b""
        self._flushing = False
        self._called_at = 0.0
        self._reconnecting: asyncio.Task[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self.warnings: list[str] = []
        self.errors = 0

    async def start(self, patience_s: float) -> None:
        """Connect and check, trying for so long. Raises `GateError` (store.unavailable)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        backoff_s = BACKOFF_S_MIN
        while True:
            try:
                await self._connect()
                break
            except GateError:
                raise
            except Exception as error:
                if loop.time() + backoff_s > deadline:
                    raise GateError(Reason.STORE_UNAVAILABLE, f"Redis can not be used: {error}") from error
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
        self._idle_timer = loop.call_later(_IDLE_S, self._try_idle_link)

    async def _connect(self) -> None:
        link = await open_link(self._settings, self._identity)
        link.replied = self._replied
        link.lost = self._lost
        self.warnings = link.warnings
        self._identity = link.identity
        self._link = link

    async def close(self) -> Call | None:
        """Let go of the link. Returns the call that was under way."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait({self._reconnecting})
        link, self._link = self._link, None
        return None if link is None else await link.close()

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def busy(self) -> bool:
        """A call is under way."""
        return self._link is not None and self._link.busy

    def flush_soon(self) -> None:
        """At the end of this turn of the loop, with what else it brings; a call under way comes first."""
        if not self._flushing and self._link is not None and not self._link.busy:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._link is not None and not self._link.busy:
            self._called_at = asyncio.get_running_loop().time()
            self._mailbox.send(self._link)

    def _replied(self, call: Call, exchange: Exchange) -> None:
        self._mailbox.replied(call, exchange)
        self.flush_soon()
        self._mailbox.look_if_drained()

    def _lost(self, call: Call | None, error: Exception) -> None:
        self.errors += 1
        self._link = None
        self._mailbox.lost(call)
        loop = asyncio.get_running_loop()
        self._reconnecting = loop.create_task(self._reconnect(), name="sealgate redis")

    async def _reconnect(self) -> None:
        """Try until there is a link, or until none is needed any more."""
        backoff_s = BACKOFF_S_MIN
        while self._link is None and not self._mailbox.finished:
            try:
                await self._connect()
            except Exception:
                self.errors += 1
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
        self.flush_soon()
        self._mailbox.look_if_drained()

    def _try_idle_link(self) -> None:
        """An empty call, where nothing was asked for long."""
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(_IDLE_S, self._try_idle_link)
        link = self._link
        if link is not None and not link.busy and loop.time() - self._called_at >= _IDLE_S:
            self._called_at = loop.time()
            link.exchange([], NO_STEPS, [])
