"""The kernel's table of TCP connections (Linux): what waits in them, unsent or unread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.processes import wait_until

ESTABLISHED = "01"
#: About a second of looking.
LOOKS = 50


@dataclass(frozen=True)
class Waiting:
    """One established socket. Sizes are bytes in the kernel's buffers."""

    local_port: int
    remote_port: int
    unsent: int
    unread: int


def sockets() -> list[Waiting]:
    """Every established IPv4 socket of this machine."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        if state == ESTABLISHED:
            unsent, unread = queues.split(":")
            found.append(Waiting(_port(local), _port(remote), int(unsent, 16), int(unread, 16)))
    return found


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)


def unread_from(port: int) -> list[int]:
    """What is unread of each connection to a server's `port`, on the side of those who connected."""
    return sorted(each.unread for each in sockets() if each.remote_port == port and each.unread)


def unread_at(port: int) -> list[int]:
    """What a server at `port` has not read of each of its connections."""
    return sorted(each.unread for each in sockets() if each.local_port == port and each.unread)


def wait_until_still(count: Callable[[], list[int]], connections: int, what: str) -> None:
    """Wait until at least so many connections have something unread, and it stays what it is."""
    seen: list[list[int]] = [[]]

    def still() -> bool:
        seen.append(count())
        return (
            len(seen[-1]) >= connections and len(seen) > 50 and all(each == seen[-1] for each in seen[-50:])
        )

    wait_until(still, 60, what)
