"""A session of `requests` that reads no more than it must, and not for ever."""

from __future__ import annotations

import time
from typing import Any

#: Read at once. Between two of these the time is looked at.
_CHUNK_BYTES = 16_384
#: All of an answer may take so many times as long as its beginning.
_WHOLE_ANSWER = 4


class TooLargeError(Exception):
    """The answer is larger than it may be."""


def bounded_session(verify: str | bool, bytes_max: int, timeout_s: float) -> Any:
    """A session that checks certificates as `verify` says and reads answers of up to `bytes_max` bytes.

    A larger one raises `TooLargeError`; one that trickles for over four times `timeout_s` a Timeout.
    """
    import requests

    def read(response: Any, *args: object, **kwargs: object) -> None:
        """Before anything else reads the answer (a hook of requests), whose `content` is then set."""
        until = time.monotonic() + timeout_s * _WHOLE_ANSWER
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(_CHUNK_BYTES):
            size += len(part)
            if size > bytes_max:
                response.close()
                raise TooLargeError
            if time.monotonic() > until:
                response.close()
                raise requests.exceptions.ReadTimeout
            parts.append(part)
        response._content = b"".join(parts)

    session = requests.Session()
    session.verify = verify
    session.hooks["response"].append(read)
    return session
