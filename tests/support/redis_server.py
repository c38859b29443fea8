"""A private Redis for the tests: own folder and port, nothing written to disk, gone at the end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.certificates import Pair
from support.processes import end, find_program, free_port, spawn, wait_until

_START_SECONDS_MAX = 10


class RedisServer:
    """One private server. `start` may be called again after `stop` or `kill`: same port, but empty.

    With a certificate and `ca` it serves TLS as well, on `tls_port`, and asks for no certificate of clients.
    """

    def __init__(self, home: Path, certificate: Pair | None = None, ca: str = "") -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self._certificate = certificate
        self._ca = ca
        self.log = home / "redis.log"
        self._home = home
        self._program = find_program("redis-server", "/opt/homebrew/bin", "/usr/local/bin")
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process that a fault test may stop or kill."""
        assert self._server is not None, "Redis is not running"
        return self._server.pid

    def start(self) -> None:
        """Return when it answers; an error shows the end of its log."""
        options = ("--bind", "127.0.0.1", "--port", self.port, "--dir", self._home)
        volatile = ("--save", "", "--appendonly", "no")
        command = [self._program, *map(str, options + volatile + self._tls())]
        self._server = spawn(command, self.log)
        try:
            wait_until(self._serves, _START_SECONDS_MAX, "Redis")
        except AssertionError as error:
            tail = self.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}; the end of its log:\n{tail}") from None

    def _tls(self) -> tuple[str | int, ...]:
        if self._certificate is None:
            return ()
        files = ("--tls-cert-file", self._certificate.cert, "--tls-key-file", self._certificate.key)
        return (
            "--tls-port",
            self.tls_port,
            *files,
            "--tls-ca-cert-file",
            self._ca,
            "--tls-auth-clients",
            "no",
        )

    def _serves(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise AssertionError(f"Redis ended with {self._server.returncode}")
        try:
            return self.command("PING") == b"+PONG"
        except OSError:
            return False

    def stop(self) -> None:
        """As an operator would."""
        if self._server is not None:
            end(self._server)
            self._server = None

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._server is not None:
            end(self._server, signal.SIGKILL)
            self._server = None

    def restart(self) -> None:
        """Another process with another run_id, and nothing remembered."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The process stopped by SIGSTOP: connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def age(self, deployment: str) -> None:
        """Let the store of `deployment` take this server's memory for whole since ever (no horizon)."""
        identity = f"{self.info('run_id')}:{self.info('master_replid')}:1"
        self.command("SET", f"sealgate:{{{deployment}}}:identity", identity)

    def info(self, name: str) -> str:
        """One value of INFO."""
        found = re.search(rb"^%b:(.*?)\r?$" % name.encode(), self.command("INFO"), re.MULTILINE)
        assert found is not None, f"INFO has no {name}"
        return found[1].decode()

    def calls(self, command: str) -> int:
        """How often it was told `command`, by anybody, since it started."""
        pattern = rb"^cmdstat_%b:calls=(\d+)" % command.encode()
        found = re.search(pattern, self.command("INFO", "commandstats"), re.MULTILINE)
        return int(found[1]) if found else 0

    def command(self, *arguments: str) -> bytes:
        """One command over a connection of its own. A string's content, else the first line on the wire."""
        words = [word.encode() for word in arguments]
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as reply:
                line = reply.readline().rstrip(b"\r\n")
                return reply.read(int(line[1:])) if line[:1] == b"$" and line != b"$-1" else line


@contextmanager
def private_redis(certificate: Pair | None = None, ca: str = "") -> Iterator[RedisServer]:
    """A started private server, gone without a trace afterwards."""
    with tempfile.TemporaryDirectory(prefix="sealgate-redis-", ignore_cleanup_errors=True) as home:
        server = RedisServer(Path(home), certificate, ca)
        try:
            server.start()
            yield server
        finally:
            server.kill()
