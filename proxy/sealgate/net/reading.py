"""Reading exactly the PROXY header from a socket: what follows it, a ClientHello perhaps, stays there."""

from __future__ import annotations

import asyncio
import socket

from sealgate.net.proxy_header import V2_BYTES_MAX, ProxyHeader, Source


async def read_proxy_header(client: socket.socket) -> Source:
    """The client that the header at the start of `client` names. Has no deadline of its own.

    Raises ProxyHeaderError when there is none, and OSError when the peer goes away before its end.
    """
    loop = asyncio.get_running_loop()
    header = ProxyHeader()
    readable = asyncio.Event()
    loop.add_reader(client, readable.set)
    try:
        while header.source is None:
            await readable.wait()
            readable.clear()
            _take(client, header)
    finally:
        loop.remove_reader(client)
    return header.source


def _take(client: socket.socket, header: ProxyHeader) -> None:
    """Move what belongs to the header from the socket into it."""
    try:
        seen = client.recv(V2_BYTES_MAX, socket.MSG_PEEK)
    except BlockingIOError:
        return
    if not seen:
        raise ConnectionResetError("gone before the end of its PROXY header")
    client.recv(header.take(seen))
