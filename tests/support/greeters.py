"""Servers that greet an AMQP client, and say no more: a broker as far as its first frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pamqp import commands, frame


def start_frame(mechanisms: str = "PLAIN", **properties: Any) -> bytes:
    """`connection.start`; `properties` are the server's."""
    given = {"product": "RabbitMQ", "version": "4.0.1", **properties}
    start = commands.Connection.Start(server_properties=given, mechanisms=mechanisms)
    return frame.marshal(start, 0)


@contextmanager
def greeter(
    words: bytes, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """The port of a server that answers whatever a client says first with `words`, and hangs up."""
    with socket.create_server((host, port)) as listener:
        serving = threading.Thread(target=_serve, args=(listener, words, tls), daemon=True)
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    serving.join(10)


def _serve(listener: socket.socket, words: bytes, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            speaker = tls.wrap_socket(connection, server_side=True) if tls is not None else connection
            with speaker:
                speaker.recv(8)
                # In two pieces, as a network may bring it.
                speaker.sendall(words[:10])
                speaker.sendall(words[10:])
