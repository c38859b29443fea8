"""How this room tells what peers do wrong, without knowing who writes it down."""

from __future__ import annotations

from typing import Any, Protocol


class Warn(Protocol):
    """Logs a warning; equal ones in a row (same `event` and `key`) are counted, not printed.

    `fields` are safe to log: reasons, addresses, counts; never what a peer sent.
    """

    def __call__(self, event: str, key: str = "", **fields: Any) -> None: ...
