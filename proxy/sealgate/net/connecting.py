"""Connecting to a name: every address of it, each with a head start over the next (RFC 8305)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from itertools import zip_longest
from typing import Final

from sealgate.net.endpoints import Endpoint

#: RFC 8305's recommended delay between two addresses.
HEAD_START_S: Final = 0.25
#: Names with more addresses than this are no brokers.
ADDRESSES_MAX: Final = 16

Connected = tuple[asyncio.Transport, asyncio.Protocol]
Attempt = asyncio.Task[Connected]


async def connect(target: Endpoint, protocol: Callable[[], asyncio.Protocol]) -> Connected:
    """A connection to the first address of `target` that answers. The name is asked for anew each time.

    Raises OSError when no address answers: the last one's, or that of the name. Has no deadline of its own.
    `protocol` is called once for each address that is tried; of those that connect but the first is aborted.
    """
    loop = asyncio.get_running_loop()
    attempts: list[Attempt] = []
    winner: Attempt | None = None
    try:
        for address in (await addresses_of(target))[:ADDRESSES_MAX]:
            attempts.append(loop.create_task(_connect(target, address, protocol)))
            winner = await _winner(attempts, HEAD_START_S)
            if winner is not None:
                return winner.result()
        while any(not attempt.done() for attempt in attempts):
            winner = await _winner(attempts, None)
            if winner is not None:
                return winner.result()
        return attempts[-1].result()
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.cancel()
                attempt.add_done_callback(_let_go)


async def addresses_of(target: Endpoint) -> list[str]:
    """In the system's order, but the families take turns: a network where one is broken costs little."""
    if "%" in target.host:
        return [target.host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    first = [str(info[4][0]) for info in found if info[0] == found[0][0]]
    other = [str(info[4][0]) for info in found if info[0] != found[0][0]]
    return [address for pair in zip_longest(first, other) for address in pair if address is not None]


async def _winner(attempts: list[Attempt], timeout_s: float | None) -> Attempt | None:
    """One that is connected, once any has ended or `timeout_s` has passed; None when there is none yet."""
    pending = [attempt for attempt in attempts if not attempt.done()]
    if pending:
        await asyncio.wait(pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for attempt in attempts:
        if attempt.done() and attempt.exception() is None:
            return attempt
    return None


async def _connect(target: Endpoint, address: str, protocol: Callable[[], asyncio.Protocol]) -> Connected:
    if "%" in address:
        return await _connect_scoped(target, address, protocol)
    # By address, not by a socket of ours: uvloop does not let go of one whose transport ends at once.
    return await asyncio.get_running_loop().create_connection(
        protocol, address, target.port, ssl=target.tls, server_hostname=target.server_name
    )


async def _connect_scoped(
    target: Endpoint, address: str, protocol: Callable[[], asyncio.Protocol]
) -> Connected:
    """To an address of one link, such as fe80::1%eth0, whose scope uvloop drops where it connects itself."""
    loop = asyncio.get_running_loop()
    host, _, scope = address.partition("%")
    index = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    connecting = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        failure = connecting.connect_ex((host, target.port, 0, index))
        if failure == errno.EINPROGRESS:
            await _writable(connecting)
            failure = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        connected = await loop.create_connection(
            protocol, sock=connecting, ssl=target.tls, server_hostname=target.server_name
        )
    except BaseException:
        connecting.close()
        raise
    if type(loop).__module__.startswith("uvloop"):
        # The descriptor is libuv's now, which closes it.
        connecting.detach()
    return connected


async def _writable(connecting: socket.socket) -> None:
    """Connected, or failed."""
    loop = asyncio.get_running_loop()
    noticed = asyncio.Event()
    loop.add_writer(connecting, noticed.set)
    try:
        await noticed.wait()
    finally:
        loop.remove_writer(connecting)


def _let_go(attempt: Attempt) -> None:
    """Cut one that came too late; whatever it failed of has been told or does not matter."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()
