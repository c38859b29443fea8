"""What a limit counts together: all messages of its pattern, or those with the same key, user or argument."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from sealgate.verify.message import Message

#: Longer values share one bucket: ids of tenants and users are short, and what is hashed is bounded.
VALUE_BYTES_MAX: Final = 256
_DIGEST_BYTES: Final = 16
_INTEGER_MAX: Final = 2**63
_ARGUMENT: Final = re.compile(r"(arg|kwarg|header):(.{1,128})", re.DOTALL)
_INDEX: Final = re.compile(r"[0-9]{1,3}")
_TASK_PARTS: Final = 3


class ValueSource:
    """`kind` is task, key, user, arg, kwarg or header; `name` says which argument or header."""

    __slots__ = ("index", "kind", "name")

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind: Final = kind
        self.name: Final = name
        self.index: Final = int(name) if kind == "arg" else 0

    def value(self, message: Message, body: object, user: str, kid: str) -> str | None:
        """The value of this message; None where there is none, or none that is short text or a whole number.

        Those without share a bucket: a sender gains nothing by leaving it out or making it odd.
        """
        if self.kind == "key":
            return kid
        if self.kind == "user":
            return _as_text(user)
        if self.kind == "header":
            return _as_text(message.header.table.values.get(self.name))
        args, kwargs = _arguments(body)
        if self.kind == "kwarg":
            return _as_text(kwargs.get(self.name))
        return _as_text(args[self.index]) if self.index < len(args) else None

    @staticmethod
    def digest(value: str) -> str:
        """What stands for a value in a key: of one length, and nothing of it can be read there."""
        return hashlib.sha256(value.encode()).digest()[:_DIGEST_BYTES].hex()


SOURCE_TASK: Final = ValueSource("task")


def parse_source(text: object) -> ValueSource:
    """Of "task", "key", "user", "arg:0", "kwarg:tenant" or "header:x-tenant". Raises ValueError."""
    if text in ("task", "key", "user"):
        return ValueSource(str(text))
    match = _ARGUMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[1] == "arg" and _INDEX.fullmatch(match[2]) is None):
        raise ValueError('per must be "task", "key", "user", "arg:0", "kwarg:tenant" or "header:x-tenant"')
    return ValueSource(match[1], match[2])


def _as_text(value: object) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        # A character is a byte at least; what is no text is no value.
        if not value or len(value) > VALUE_BYTES_MAX:
            return None
        try:
            return value if len(value.encode()) <= VALUE_BYTES_MAX else None
        except UnicodeEncodeError:
            return None
    if isinstance(value, int) and not isinstance(value, bool) and -_INTEGER_MAX <= value < _INTEGER_MAX:
        return str(value)
    return None


def _arguments(body: object) -> tuple[list[object], dict[str, object]]:
    """The arguments of a Celery task, protocol 2 or 1; of anything else none."""
    args: object = None
    kwargs: object = None
    if isinstance(body, list) and len(body) == _TASK_PARTS:
        args, kwargs = body[0], body[1]
    elif isinstance(body, dict):
        args, kwargs = body.get("args"), body.get("kwargs")
    return args if isinstance(args, list) else [], kwargs if isinstance(kwargs, dict) else {}
