"""Sources of a running gate, read again in a thread: the event loop waits for no disk and no network.

Whatever does not load leaves the last good value in use; what will do for a part of its uses is used for
that. Either is told by the log, by /readyz?verbose with since when, and by metrics; it does not make the gate
unready: one broken source would take down every gateway that reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from sealgate.config.reload import Reading, Watched
from sealgate.session.records import Tally

log: Final = logging.getLogger("sealgate.app")

#: One reading, whatever it asks and however often; then it is not waited for.
READING_S_MAX: Final = 60.0
#: Readings that were given up and have not ended: a thread can not be stopped, so no more are begun.
UNENDED_MAX: Final = 4
#: After a failure it is tried again soon, then ever less often.
RETRY_S_MIN: Final = 1.0
RETRY_S_MAX: Final = 60.0

T = TypeVar("T")
R = TypeVar("R")


class Refresher(Generic[T]):
    """Keeps what `source` holds up to date; `what` names it in logs.

    A store on the network is asked every `refresh_s` seconds, give or take a tenth, or as its login wants it.

    `trouble` is what is wrong with the source now; `failing_since` is since when, and `good_at` when it was
    last found good, both in Unix seconds, 0 for never.
    """

    def __init__(
        self,
        what: str,
        source: Watched[T],
        tally: Tally,
        refresh_s: float,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._what: Final = what
        self._source: Final = source
        self._tally: Final = tally
        self._clock: Final = clock
        self._dice: Final = dice
        self._one_at_a_time: Final = asyncio.Lock()
        self._unended = 0
        self._failures = 0
        self._refresh_s: Final = refresh_s
        #: When a source that failed is tried again, or a store on the network is asked again.
        self._next_at = float("inf")
        self._remote = False
        self.trouble = ""
        self.failing_since = 0.0
        self.good_at = time.time()
        if source.last is not None:
            self._schedule(source.last)

    @property
    def told(self) -> str:
        """`trouble` on one line, with since when; "" where there is none."""
        if not self.trouble:
            return ""
        since = datetime.fromtimestamp(self.failing_since, UTC).isoformat(timespec="seconds")
        return f"failing since {since}: {'; '.join(self.trouble.splitlines())}"

    async def poll(self, use: Callable[[T], None]) -> None:
        """Read again what has changed, or failed a while ago; `use` is given a new value."""
        if self._one_at_a_time.locked():
            return
        if self._source.changed() or self._clock() >= self._next_at:
            await self.reload(use, asked=False)
        elif not self.trouble and not self._remote:
            self.good_at = time.time()

    async def reload(self, use: Callable[[T], None], asked: bool = True) -> None:
        """Read again. What was `asked` for is told even when nothing is new."""
        async with self._one_at_a_time:
            try:
                reading = await self._in_thread(self._source.read)
            except TimeoutError:
                self._failed(f"no answer within {READING_S_MAX:g} s", asked)
            except Exception as error:
                # A bug of ours, or of a library: the next try may well do better than none.
                log.error(f"{self._what} not read", extra={"event": "gate.error"}, exc_info=error)
                self._failed(f"{type(error).__name__} while reading", asked)
            else:
                self._take(reading, use, asked)

    def _take(self, reading: Reading[T], use: Callable[[T], None], asked: bool) -> None:
        new = self._source.take(reading)
        if reading.error is not None or reading.value is None:
            self._failed(str(reading.error), asked)
            if new and reading.value is not None:
                use(reading.value)
            return
        mended = self.trouble != ""
        self.trouble, self.failing_since, self._failures = "", 0.0, 0
        self.good_at = time.time()
        self._schedule(reading)
        if not (new or mended or asked):
            return
        self._tally.config_reloads["ok"] += 1
        for warning in reading.warnings:
            log.warning(str(warning), extra={"event": f"{self._what}.warning"})
        use(reading.value)

    def _failed(self, trouble: str, asked: bool) -> None:
        if not self.failing_since:
            self.failing_since = time.time()
        self._tally.config_reloads["failed"] += 1
        if asked or trouble != self.trouble:
            event = f"{self._what}.failed"
            log.error(f"{self._what} not reloaded", extra={"event": event, "error": trouble})
        self.trouble = trouble
        pause = min(RETRY_S_MIN * 2**self._failures, RETRY_S_MAX)
        self._failures += 1 if pause < RETRY_S_MAX else 0
        # Up to half of it less: those who lost the same source do not all come back at once.
        self._next_at = self._clock() + pause * (1 - self._dice() / 2)

    def _schedule(self, reading: Reading[T]) -> None:
        self._remote = reading.remote
        if reading.remote:
            pause = min(self._refresh_s * (0.9 + self._dice() / 5), max(reading.renew_in_s, RETRY_S_MIN))
            self._next_at = self._clock() + pause
        else:
            self._next_at = float("inf")

    async def _in_thread(self, work: Callable[[], R]) -> R:
        """What `work` gives, done in a thread of its own. Raises TimeoutError when that takes too long.

        The thread does not keep the process from ending, as those of a pool would.
        """
        if self._unended >= UNENDED_MAX:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def finish(result: R | None, error: BaseException | None) -> None:
            self._unended -= 1
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]  # there is one where there is no error

        def run() -> None:
            result: R | None = None
            failed: BaseException | None = None
            try:
                result = work()
            except BaseException as error:
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(finish, result, failed)

        self._unended += 1
        threading.Thread(target=run, name=f"sealgate-{self._what}", daemon=True).start()
        return await asyncio.wait_for(done, READING_S_MAX)
