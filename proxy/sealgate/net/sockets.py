"""What is asked of sockets before a transport has them: binding, keepalive, a door that closes softly."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import socket
import struct
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BACKLOG: Final = 1024
#: Seconds of silence before the kernel asks, between its questions, and how many (protocol.md K7): below the
#: 350 s after which load balancers forget a connection.
KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))

#: Not in the socket module; the same on every architecture that Linux's generic headers serve.
_SO_ATTACH_FILTER: Final = 26
_TCP_FLAGS_AT: Final = 13
_SYN: Final = 0x02
_ACK: Final = 0x10
#: Classic BPF over a TCP segment, (code, jump if true, jump if false, operand): a SYN without ACK is dropped,
#: all else is taken whole.
_DROP_SYN: Final = (
    (0x30, 0, 0, _TCP_FLAGS_AT),  # load the byte of flags
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # equal?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFF_FFFF),  # take
)


async def bind(host: str, port: int, reuse_port: bool = False) -> list[socket.socket]:
    """Listening sockets for every address of `host`; `::` is IPv4 as well. Raises OSError, and binds none.

    With `reuse_port` another process of the same user, which asks for it too, may listen there as well.
    """
    shared = reuse_port and hasattr(socket, "SO_REUSEPORT")
    with contextlib.ExitStack() as unwinding:
        sockets = []
        for family, address in await _addresses(host, port):
            both = host == "::" and socket.has_dualstack_ipv6()
            listening = socket.create_server(
                address, family=family, backlog=BACKLOG, reuse_port=shared, dualstack_ipv6=both
            )
            unwinding.callback(listening.close)
            listening.setblocking(False)
            sockets.append(listening)
        unwinding.pop_all()
    return sockets


async def reserve(host: str, port: int, closing: contextlib.ExitStack) -> int:
    """Hold a port for other processes of this user, without listening; returns it (0 takes any).

    It is held until `closing` closes. Raises OSError when it can not be had.
    """
    for family, address in await _addresses(host, port):
        held = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        held.bind((address[0], port, *address[2:]))
        port = held.getsockname()[1]
    return port


async def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Every address of `host`, for a socket."""
    # Not the loop's own: uvloop's drops the scope of an address such as fe80::1%eth0.
    lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    infos = await asyncio.get_running_loop().run_in_executor(None, lookup)
    return sorted({(info[0], info[4]) for info in infos})


def turn_away(listening: socket.socket) -> bool:
    """Let no new client begin to connect; those that have begun can still be accepted. False: not possible.

    Closing a listening socket resets what waits in its backlog, and breaks every TCP handshake that is half
    done. Here the kernel drops each new SYN instead. The client sends it again a second later, and by then
    this socket is closed: it reaches another listener of the port, or is refused. Linux only.
    """
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join([struct.pack("=HBBI", *step) for step in _DROP_SYN]))
    program = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(code))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:  # a sandbox that is no whole Linux
        return False
    return True


def tune(sock: socket.socket) -> None:
    """Small frames leave at once, and the kernel notices peers that vanish without heartbeats (K7)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # macOS calls the first one otherwise
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def among(host: str, networks: Sequence[Network]) -> bool:
    """Whether the address is in one of them."""
    if not networks:
        return False
    address = ipaddress.ip_address(host)
    return any(address in network for network in networks)


def plain_address(host: str) -> str:
    """An address as people write it: an IPv4 client of a socket for both kinds as IPv4, without a scope."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
