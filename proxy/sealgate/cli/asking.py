"""Questions to a running gateway, at its admin address."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sealgate.cli.text import plain

if TYPE_CHECKING:
    from sealgate.config.fields import Address

#: How to reach an address that stands for every interface.
_LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
#: The longest answer is the report of an hour with all the names there is room for.
ANSWER_BYTES_MAX: Final = 33_554_432
TIMEOUT_S: Final = 10.0
#: For all of an answer: who says an octet now and then would else never come to an end.
ANSWER_S: Final = 30.0


class UnansweredError(Exception):
    """Nobody answered as a gateway does. The text says who was asked."""


def ask(
    address: Address,
    path: str,
    timeout_s: float = TIMEOUT_S,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """(HTTP status, body) of what the gateway at `address` answers. Raises `UnansweredError`."""
    host = _LOCAL.get(address.host, address.host)
    connection = http.client.HTTPConnection(host, address.port, timeout=timeout_s)
    cut: threading.Timer | None = None
    try:
        connection.connect()
        cut = threading.Timer(ANSWER_S, _cut, [connection.sock])
        cut.daemon = True
        cut.start()
        connection.request(method, path, body, {"Accept": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(f"{address}{path}: {plain(str(error)) or type(error).__name__}") from error
    finally:
        if cut is not None:
            cut.cancel()
        connection.close()


def _cut(connected: socket.socket) -> None:
    """Whoever reads from it comes to an end."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def ask_json(address: Address, path: str) -> Any:
    """What the table at `path` says. Raises `UnansweredError`."""
    status, body = ask(address, path)
    if status != http.client.OK:
        raise UnansweredError(f"{address}{path}: HTTP status {status}; is this a gateway of this version?")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnansweredError(f"{address}{path}: the answer is no JSON") from None
