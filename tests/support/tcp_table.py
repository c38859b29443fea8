"""The kernel's table of TCP connections (Linux): what waits in them, unsent or unread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = "01"


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
