"""Moments and spans of time, as people say them."""

from __future__ import annotations

from datetime import UTC, datetime


def span(seconds: float) -> str:
    """Its two largest units: `3d 4h`, `2m 5s`; what is under a second is `0s`."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0s"


def ago(moment: float | None, now: float) -> str:
    """How long `moment` is past; `-` where there is none."""
    return "-" if moment is None else span(max(now - moment, 0))


def iso(seconds: int | None) -> str:
    """As a key file has it; `-` where there is none."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
