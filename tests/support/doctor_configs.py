"""Configurations for the doctor: a gateway and a sidecar that lack nothing, with keys, to be changed."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sealgate.signing.material import generate_hmac
from support.doctor_apps import doctor

DAY_S = 86_400
GATEWAY = """\
[listen]
address = "127.0.0.1:{port}"
[upstream]
urls = ["{upstream}"]
[publish]
action = "verify"
[credentials]
mode = "replace"
users = "file:{home}/users.toml"
user = "sealgate"
password = "file:{home}/password"
[keys]
source = "file:{home}/keys.toml"
[replay]
store = "redis://127.0.0.1:6379/0"
[rate]
"*" = "100/s"
[[bound]]
task = "*"
retries = {{ max = 10 }}
expires = {{ required = true }}
[prefetch]
max = 16
[expiry]
message_ttl_max = "1d"
[admin]
address = "127.0.0.1:{admin}"
"""
SIDECAR = """\
[listen]
address = "127.0.0.1:6673"
[upstream]
urls = ["amqp://127.0.0.1:6672"]
[publish]
action = "sign"
sign_with = "web"
[keys]
source = "file:{home}/side.toml"
[admin]
enabled = false
"""


def moment(from_now_s: float) -> str:
    """A TOML date-time."""
    return datetime.fromtimestamp(time.time() + from_now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Place:
    """A folder with `gateway.toml`, `sidecar.toml`, their keys, users and passwords."""

    def __init__(self, home: Path, upstream: str = "amqp://127.0.0.1:5672") -> None:
        self.home = home
        self.ports = {"port": 6672, "admin": 9672}
        self.upstream = upstream
        self.secrets = {kid: generate_hmac(os.urandom(32)) for kid in ("web", "other")}
        self.private("password", "Rq7broker")
        for kid, secret in self.secrets.items():
            self.private(f"{kid}.secret", secret)
        self.keys("keys.toml")
        self.keys("side.toml")
        self.private("users.toml", _users())
        self.gateway()
        self.sidecar()

    def private(self, name: str, text: str) -> None:
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(text)

    def keys(self, name: str, **changes: Any) -> None:
        """One key `web`; a change to None takes a line out, others are TOML."""
        lines = {
            "kid": '"web"',
            "alg": '"hmac-sha256"',
            "secret": f'"file:{self.home}/web.secret"',
            "state": '"active"',
            "classes": '["task"]',
            "not_after": moment(60 * DAY_S),
            **changes,
        }
        text = "\n".join(f"{key} = {value}" for key, value in lines.items() if value is not None)
        self.private(name, f"[[key]]\n{text}\n")

    def gateway(self, *changes: tuple[str, str], more: str = "") -> Path:
        return self._write("gateway.toml", GATEWAY, changes, more)

    def sidecar(self, *changes: tuple[str, str], more: str = "") -> Path:
        return self._write("sidecar.toml", SIDECAR, changes, more)

    def _write(self, name: str, text: str, changes: tuple[tuple[str, str], ...], more: str) -> Path:
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = self.home / name
        path.write_text(text.format(home=self.home, upstream=self.upstream, **self.ports) + more)
        return path

    def findings(self, *arguments: str | Path, name: str = "gateway.toml") -> list[dict[str, Any]]:
        result = doctor("--config", self.home / name, "--format", "json", *arguments)
        assert result.exit_code in (0, 1, 78), result.output
        found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
        return found


@cache
def _users() -> str:
    from click.testing import CliRunner

    from sealgate.cli import main

    done = CliRunner().invoke(main, ["users", "hash"], input="K4m2pQx9vT\n")
    assert done.exit_code == 0, done.output
    return f'[[user]]\nname = "web"\npassword = "{done.stdout.strip().splitlines()[-1]}"\n'
