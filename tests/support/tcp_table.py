"""The kernel's table of TCP connections (Linux): what waits in them, and where they lead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.processes import wait_until

ESTABLISHED = "01"
#: What has not changed for so long is taken to stand still.
STILL_S = 1.0


def _established(port: int) -> Iterator[tuple[bool, int]]:
    """(whether `port` is the remote end, bytes not read) of each IPv4 socket that has it at one end."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        if wanted in line:
            _, local, remote, state, queues, *_ = line.split()
            if state == ESTABLISHED and wanted in (local[-5:], remote[-5:]):
                yield remote.endswith(wanted), int(queues.partition(":")[2], 16)


def connections_to(port: int) -> int:
    """How many sockets of this machine lead to a server's `port`."""
    return sum(leads_there for leads_there, _ in _established(port))


def unread_from(port: int) -> list[int]:
    """Bytes unread of each connection to a server's `port`, on the side of those who connected."""
    return sorted(unread for leads_there, unread in _established(port) if leads_there and unread)


def unread_at(port: int) -> list[int]:
    """Bytes that a server at `port` has not read of each of its connections."""
    return sorted(unread for leads_there, unread in _established(port) if not leads_there and unread)


def wait_until_still(count: Callable[[], list[int]], connections: int, what: str) -> None:
    """Wait until at least so many connections have something unread, and it stays what it is."""
    newest: list[int] = []
    since = time.monotonic()

    def still() -> bool:
        nonlocal newest, since
        seen = count()
        if seen != newest:
            newest, since = seen, time.monotonic()
        return len(newest) >= connections and time.monotonic() - since >= STILL_S

    wait_until(still, 60, what)
