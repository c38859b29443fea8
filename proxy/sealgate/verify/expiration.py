"""The property `expiration`, as RabbitMQ reads it."""

from __future__ import annotations

import re
from typing import Final

#: RabbitMQ's own limit of a TTL in milliseconds. Above it, or for anything but digits, it closes the channel
#: (M).
EXPIRATION_MS_MAX: Final = 2**32 - 1
_EXPIRATION: Final = re.compile(rb"[0-9]{1,10}")


def expiration_ms(value: bytes) -> int | None:
    """The expiration property in milliseconds, None when RabbitMQ would not take it."""
    if _EXPIRATION.fullmatch(value) is None:
        return None
    milliseconds = int(value)
    return milliseconds if milliseconds <= EXPIRATION_MS_MAX else None
