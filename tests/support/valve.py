"""A TCP relay in front of a server that can be shut: what is sent then waits here, or is lost for good."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Gate:
    """What goes one way. Once `shut` has returned, nothing passes until `open`, whatever was on its way."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._passing = threading.Lock()

    def shut(self) -> None:
        with self._passing:
            self._open.clear()

    def open(self) -> None:
        self._open.set()

    @contextmanager
    def way(self) -> Iterator[None]:
        """Waits until it is open, and keeps it so."""
        while True:
            self._open.wait()
            with self._passing:
                if self._open.is_set():
                    yield
                    return


class Valve:
    """Listens on `port` of 127.0.0.1; what passes towards the server is kept in `passed`."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed = bytearray()
        self._asked = _Gate()
        self._heard = _Gate()
        self._lost = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Nothing more reaches the server until `open`; its own words still come through."""
        self._asked.shut()

    def open(self) -> None:
        self._asked.open()

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Nothing that the server says comes through meanwhile; what is sent reaches it."""
        self._heard.shut()
        try:
            yield
        finally:
            self._heard.open()

    def cut(self) -> None:
        """Lose every connection and all that waits in them."""
        self._lost = True
        self._asked.open()
        self._heard.open()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connections there are; new ones are served."""
        while self._sockets:
            each = self._sockets.pop()
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                for source, target, asked in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, target, asked), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asked: bool) -> None:
        gate = self._asked if asked else self._heard
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                with gate.way():
                    if asked:
                        if self._lost:
                            break
                        self.passed += data
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def valve(server_port: int) -> Iterator[Valve]:
    """An open valve in front of 127.0.0.1:`server_port`."""
    relay = Valve(server_port)
    try:
        yield relay
    finally:
        relay.close()
