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
from sealgate.config.errors import ConfigError
from sealgate.config.reload import UserSource
from sealgate.config.settings import Settings
from sealgate.net.logins import Logins
from sealgate.session.records import Tally

log: Final = logging.getLogger("sealgate.app")


class Users:
    """`logins` judges by the users in force; `trouble` is what is wrong with those of the file."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        """Raises `StartError` when the users do not serve."""
        self._tally: Final = tally
        self._source: Final = UserSource(settings)
        limits = settings.limits
        desk = Desk(self._at_start(), build_attempts(settings), os.urandom(KEY_BYTES))
        self.logins: Final = Logins(desk, limits.login_workers, limits.logins_waiting_max)
        self.trouble = ""

    def _at_start(self) -> UserBook:
        try:
            return self._source.load()
        except ConfigError as error:
            raise StartError(str(error), error.exit_code) from error

    def poll(self) -> None:
        """Read again what has changed."""
        if self._source.changed():
            self.reload()

    def reload(self) -> None:
        """Read the users again. New ones in force forget the lock-outs, too."""
        self.trouble = self._source.reload()
        book = self._source.book
        self._tally.config_reloads["failed" if self.trouble else "ok"] += 1
        if self.trouble:
            log.error("users not reloaded", extra={"event": "users.failed", "error": self.trouble})
        elif book is not None:
            self.logins.use(book)
            for warning in self._source.warnings:
                log.warning(str(warning), extra={"event": "users.warning"})
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
