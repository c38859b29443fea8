"""`Quarantine`: takes refused publications from the data path at once and brings them to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from ssl import SSLContext
from typing import Final

from sealgate.quarantine.link import (
    Link,
    LinkLostError,
    LinkRefusedError,
    PublicationRefusedError,
    Topology,
    error_text,
)
from sealgate.quarantine.pending import Entry, Pending
from sealgate.quarantine.record import new_message_id
from sealgate.session.records import RefusalRecord, Tally

#: Exchange and queue.
NAME: Final = "sealgate.quarantine"
#: In the queue: enough to see what a flood was made of, few enough to browse.
LENGTH_MAX: Final = 10_000
#: In the queue: what 10,000 refused messages of ordinary size need, far below a broker's disk alarm.
BYTES_MAX: Final = 256 * 1024 * 1024
#: In the queue: a working week and its weekend.
AGE_S_MAX: Final = 7 * 24 * 3600
#: In this process while the broker is away or slow.
COUNT_IN_MEMORY_MAX: Final = 10_000
BYTES_IN_MEMORY_MAX: Final = 16 * 1024 * 1024
#: Published together: enough to hide the round trip, few enough to be copied without a bump in memory.
BATCH_COUNT_MAX: Final = 64
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
#: A record that the broker itself turns down this often is given up.
ATTEMPTS_MAX: Final = 3
#: First and longest pause before the next connection, in seconds; doubled each time.
PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 30.0
#: After a refusal that only an operator can lift.
PAUSE_REFUSED_S: Final = 30.0
#: While closing there is no time for more.
PAUSE_CLOSING_S: Final = 0.1


class Quarantine:
    """Keeps refused publications in a bounded broker queue, never in the way of the data path.

    `urls` are tried in turn. Counts go to `tally.quarantined` (confirmed by the broker) and
    `tally.quarantine_dropped` (lost: no room, given up, or not gone when closing), both by reason.
    `random_bytes` gives message ids and jitter. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        exchange: str = NAME,
        *,
        tally: Tally,
        log: logging.Logger,
        length_max: int = LENGTH_MAX,
        bytes_max: int = BYTES_MAX,
        age_max_s: float = AGE_S_MAX,
        count_max_in_memory: int = COUNT_IN_MEMORY_MAX,
        bytes_max_in_memory: int = BYTES_IN_MEMORY_MAX,
        timeout_s: float = 10.0,
        pause_refused_s: float = PAUSE_REFUSED_S,
        ssl_context: SSLContext | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._urls = [urls] if isinstance(urls, str) else list(urls)
        self._topology = Topology(exchange, length_max, bytes_max, age_max_s)
        self._tally = tally
        self._log = log
        self._timeout_s = timeout_s
        self._pause_refused_s = pause_refused_s
        self._ssl_context = ssl_context
        self._random_bytes = random_bytes
        self._pending = Pending(count_max_in_memory, bytes_max_in_memory)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._healthy = False
        self._pause_s = PAUSE_S
        self._url_index = 0
        self._trouble = ""
        self._dropped_in_a_row = 0

    @property
    def healthy(self) -> bool:
        """Whether the broker has taken the topology and the link to it stands."""
        return self._healthy

    @property
    def pending_count(self) -> int:
        """Records in memory that the broker has not confirmed."""
        return len(self._pending)

    @property
    def pending_bytes(self) -> int:
        return self._pending.size_bytes

    def use_tls(self, context: SSLContext) -> None:
        """For the next connection to a broker with TLS."""
        self._ssl_context = context

    def keep(self, record: RefusalRecord, done: Callable[[bool], None] | None = None) -> None:
        """Take `record` for the broker, or count it as dropped when there is no room. Never raises.

        `done`, if any, is told once: true when the broker has confirmed it, false when it is dropped.
        """
        if self._closing.is_set() or not self._pending.has_room(record):
            self._drop(record, done)
            return
        self._pending.add(new_message_id(self._random_bytes(16)), record, done)
        self._wake.set()

    async def start(self) -> None:
        """Begin to connect and publish; returns at once, whether or not the broker is there."""
        self._task = asyncio.create_task(self._run(), name="sealgate quarantine")

    async def close(self, timeout_s: float = 5.0) -> None:
        """Publish what waits, as far as it goes in `timeout_s`; count and log the rest as dropped."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)
            self._task.cancel()
            await asyncio.wait([self._task])
        self._healthy = False
        lost = list(self._pending)
        for entry in lost:
            self._give_up(entry)
        if lost:
            self._log.error("quarantine.lost_at_close", extra={"records": len(lost)})

    async def _run(self) -> None:
        """Hold a link for as long as there is work or hope; the only task that talks to the broker."""
        while not self._done():
            try:
                await self._serve()
            except LinkRefusedError as error:
                self._note_trouble("quarantine.refused_by_broker", error)
                await self._pause(self._pause_refused_s)
            except (LinkLostError, PublicationRefusedError) as error:
                self._note_trouble("quarantine.away", error)
                await self._pause(self._next_pause())
            except Exception as error:
                self._note_trouble("quarantine.failed", error)
                await self._pause(self._pause_refused_s)

    def _done(self) -> bool:
        return self._closing.is_set() and not len(self._pending)

    async def _serve(self) -> None:
        """Open a link and publish over it until it breaks (raises) or everything is done (returns)."""
        link = await self._open()
        self._note_recovery()
        try:
            while not self._done():
                await self._publish_next(link)
        finally:
            self._healthy = False
            await link.close()

    async def _open(self) -> Link:
        """A link to the URL whose turn it is; one that fails passes the turn on."""
        url = self._urls[self._url_index]
        try:
            return await Link.open(url, self._ssl_context, self._topology, self._timeout_s, self._wake.set)
        except (LinkLostError, LinkRefusedError):
            self._url_index = (self._url_index + 1) % len(self._urls)
            raise

    async def _publish_next(self, link: Link) -> None:
        """One batch, or a wait for something to do."""
        self._wake.clear()
        if link.lost:
            raise LinkLostError("the connection was closed")
        batch = self._pending.batch(BATCH_COUNT_MAX, BATCH_BYTES_MAX)
        if not batch:
            self._note_caught_up()
            await self._wake.wait()
            return
        results = await asyncio.gather(*map(link.publish, batch), return_exceptions=True)
        failure: BaseException | None = None
        for entry, result in zip(batch, results, strict=True):
            failure = self._settle(entry, result) or failure
        if failure is not None:
            raise failure
        self._pause_s = PAUSE_S

    def _settle(self, entry: Entry, result: BaseException | None) -> BaseException | None:
        """Count a confirmed entry; keep a failed one for the next link, or give it up. The failure."""
        if result is None:
            self._pending.remove(entry)
            self._tally.quarantined[entry.record.reason.value] += 1
            if entry.done is not None:
                entry.done(True)
        elif isinstance(result, PublicationRefusedError):
            entry.attempts += 1
            if entry.attempts >= ATTEMPTS_MAX:
                self._give_up(entry)
        elif isinstance(result, asyncio.CancelledError):
            # A future of the library that went down with its connection; our own cancellation
            # ends the gather itself and never comes back as a result.
            return LinkLostError("the connection was closed")
        return result

    def _give_up(self, entry: Entry) -> None:
        self._pending.remove(entry)
        self._drop(entry.record, entry.done)

    def _drop(self, record: RefusalRecord, done: Callable[[bool], None] | None) -> None:
        self._tally.quarantine_dropped[record.reason.value] += 1
        self._dropped_in_a_row += 1
        if self._dropped_in_a_row == 1:
            self._log.warning("quarantine.dropping", extra={"reason": record.reason.value})
        if done is not None:
            done(False)

    def _next_pause(self) -> float:
        """Seconds until the next attempt: doubled each time, and spread so that gateways do not march."""
        pause_s = self._pause_s * (0.5 + self._random_bytes(1)[0] / 256)
        self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)
        return pause_s

    async def _pause(self, seconds: float) -> None:
        """Wait `seconds`; closing cuts it short, though never to nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
                await asyncio.sleep(PAUSE_CLOSING_S)

    def _note_trouble(self, event: str, error: Exception) -> None:
        """Log the first of a row of equal troubles; every further attempt would only say it again."""
        if event != self._trouble:
            self._trouble = event
            self._log.warning(event, extra={"error": error_text(error), "waiting": len(self._pending)})

    def _note_recovery(self) -> None:
        self._healthy = True
        if self._trouble:
            self._trouble = ""
            self._log.info("quarantine.back", extra={"waiting": len(self._pending)})

    def _note_caught_up(self) -> None:
        if self._dropped_in_a_row:
            self._log.warning("quarantine.dropped", extra={"records": self._dropped_in_a_row})
            self._dropped_in_a_row = 0
