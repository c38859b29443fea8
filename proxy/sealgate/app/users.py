"""The users of a running gate, where clients log in to it (`credentials.mode = "replace"`).

Read again when their file changes, like the keys: what does not load leaves the last good users in force. Who
is connected stays connected: users count when somebody logs in.
"""

from __future__ import annotations

import logging
import os
from typing import Final

from sealgate.accounts.attempts import Attempts, LockOut
from sealgate.accounts.desk import KEY_BYTES, Desk
from sealgate.accounts.users import UserBook
from sealgate.app.errors import StartError
from sealgate.app.refreshing import Refresher
from sealgate.config.errors import ConfigError
from sealgate.config.reload import UserSource
from sealgate.config.settings import Settings
from sealgate.net.logins import Logins
from sealgate.session.records import Tally

log: Final = logging.getLogger("sealgate.app")


class Users:
    """`logins` judges by the users in force."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        """Raises `StartError` when the users do not serve."""
        source = UserSource(settings)
        limits = settings.limits
        desk = Desk(self._at_start(source), build_attempts(settings), os.urandom(KEY_BYTES))
        self.logins: Final = Logins(desk, limits.login_workers, limits.logins_waiting_max)
        self._refresher: Final = Refresher("users", source, tally, settings.keys.refresh)

    @property
    def trouble(self) -> str:
        """What is wrong with their source now, and since when."""
        return self._refresher.told

    def _at_start(self, source: UserSource) -> UserBook:
        try:
            return source.load()
        except ConfigError as error:
            raise StartError(str(error), error.exit_code) from error

    async def poll(self) -> None:
        """Read again what has changed."""
        await self._refresher.poll(self._use)

    async def reload(self) -> None:
        """Read the users again. New ones in force forget the lock-outs, too."""
        await self._refresher.reload(self._use)

    def _use(self, book: UserBook) -> None:
        self.logins.use(book)
        log.info("users in use", extra={"event": "users.reloaded", "users": len(book)})

    def close(self) -> None:
        self.logins.close()


def build_attempts(settings: Settings) -> Attempts:
    """The lock-outs, as configured."""
    limits = settings.limits
    window_s, lock_s = limits.login_failures_window_s, limits.login_lockout_s
    return Attempts(
        LockOut(limits.login_failures_max, window_s, lock_s),
        LockOut(limits.address_login_failures_max, window_s, lock_s),
    )
