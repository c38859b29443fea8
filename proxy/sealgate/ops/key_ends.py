"""Keys that near their end (`not_after`): when people are told, by doctor, log, checks and alerts alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sealgate.ops.keys import KeyFacts

_DAY_S: Final = 86_400
#: Time enough to bring a new key everywhere, let signers switch, and let what is in queues be worked off.
ENDING_S: Final = 14 * _DAY_S
#: From here on a rotation without haste is not done in time: seals of a day, and a day on either side.
URGENT_S: Final = 3 * _DAY_S
_REVOKED: Final = "revoked"


def ending(keys: Sequence[KeyFacts], now: float) -> list[KeyFacts]:
    """Those of `keys` that are over at `now` (Unix seconds) or will be within `ENDING_S`; not the revoked."""
    return [
        key
        for key in keys
        if key.not_after is not None and key.state != _REVOKED and key.not_after - now < ENDING_S
    ]


def told(key: KeyFacts, now: float) -> str:
    """When a key that has an end ends, in a few words."""
    assert key.not_after is not None  # it is one of `ending`
    left = key.not_after - now
    if left < 0:
        return f"{key.kid} has been over since {moment(key.not_after)}"
    return f"{key.kid} ends in {left / _DAY_S:.1f} days, at {moment(key.not_after)}"


def moment(seconds: float) -> str:
    """A time to read, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
