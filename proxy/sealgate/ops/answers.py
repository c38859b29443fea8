"""What the admin address answers with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Answer:
    """`status` is HTTP's."""

    status: int
    body: bytes
    content_type: str
