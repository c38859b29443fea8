"""What a body may have been before something wrote it again: for `guesses`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sealgate.verify.message import Message

#: What is written again: a larger body would be parsed for too long.
REWRITTEN_BYTES_MAX: Final = 65_536
_COMPACT: Final = (",", ":")
_USUAL: Final = (", ", ": ")


def other_bodies(message: Message) -> Iterator[tuple[bytes, str]]:
    """(body, what was done to it since) for what rewriting, trimming and line ends do."""
    body = message.body
    yield b"", "was empty when it was signed"
    yield body + b"\n", "its last line end was cut"
    yield body.rstrip(), "white space was added at its end"
    yield body.strip(), "white space was added around it"
    yield body.removeprefix(b"\xef\xbb\xbf"), "a byte order mark was added"
    yield body.replace(b"\r\n", b"\n"), "line ends became CRLF"
    yield body.replace(b"\n", b"\r\n"), "line ends became LF"
    if len(body) <= REWRITTEN_BYTES_MAX:
        yield from _rewritten(body)


def _rewritten(body: bytes) -> Iterator[tuple[bytes, str]]:
    try:
        value = json.loads(body)
        for separators in (_USUAL, _COMPACT):
            for ascii_only in (True, False):
                for sort in (False, True):
                    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators, sort_keys=sort)
                    yield text.encode(), "its JSON was written again, with other spaces, order or escapes"
    except (ValueError, RecursionError):
        return
