"""Key files to rotate keys in, and gateways that say what they are told to."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from click.testing import Result

from sealgate.signing.material import generate_hmac
from support.http_stand_in import saying

Rotate = Callable[..., Result]


class Keys:
    """A key file with web1-a (in a file of its own) and worker (in a variable)."""

    def __init__(self, folder: Path, name: str = "keys.toml") -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / name
        self.secret = folder / "web1-a.secret"
        self.write_secret(generate_hmac(os.urandom(32)))
        self.write(
            "# All our keys.\n\n"
            '# What web signs with.\n[[key]]\nkid = "web1-a"\nalg = "hmac-sha256"\n'
            f'secret = "file:{self.secret}"\n'
            'tasks = ["shop.*"]  # nothing else\nmax_lifetime = "1h"\n#users = ["web"]\n\n'
            '# What workers sign with.\n[[key]]\nkid = "worker"\nalg = "hmac-sha256"\n'
            'secret = "env:SEALGATE_WORKER"\nclasses = ["result"]\n'
        )

    def write_secret(self, text: str) -> None:
        self.secret.touch(mode=0o600)
        self.secret.write_text(text + "\n")

    def write(self, text: str) -> None:
        self.path.touch(mode=0o640)
        self.path.write_text(text)

    def text(self) -> str:
        return self.path.read_text()

    def tables(self) -> dict[str, dict[str, Any]]:
        return {table["kid"]: table for table in tomllib.loads(self.text())["key"]}

    def states(self) -> dict[str, str]:
        return {kid: table.get("state", "active") for kid, table in self.tables().items()}

    def age(self, **seconds: float) -> None:
        """Let what was written at (created, state_since) be that much longer ago."""
        for kid, by in seconds.items():
            kid = kid.replace("_", "-")
            table = self.tables()[kid]
            before, start, rest = self.text().partition(f'kid = "{kid}"\n')
            own, following, after = rest.partition("[[key]]")
            for name in ("created", "state_since"):
                if name in table:
                    old = f"{name} = {table[name]:%Y-%m-%dT%H:%M:%SZ}"
                    moment = time.gmtime(table[name].timestamp() - by)
                    own = own.replace(old, time.strftime(f"{name} = %Y-%m-%dT%H:%M:%SZ", moment))
            self.write(before + start + own + following + after)


def a_key(kid: str, state: str = "active", **given: Any) -> dict[str, Any]:
    """A key as `GET /keys` tells of it: known for a month, never used."""
    now = time.time()
    return {
        "kid": kid,
        "alg": "hmac-sha256",
        "state": state,
        "can_sign": True,
        "not_before": None,
        "not_after": None,
        "max_lifetime_s": 3600,
        "known_since": now - 30 * 86400,
        "state_since": now - 30 * 86400,
        "last_used": None,
        "messages_last_hour": 0,
        "expires_latest": None,
        "users": [],
        "users_more": False,
        **given,
    }


def an_answer(*keys: dict[str, Any], **given: Any) -> dict[str, Any]:
    """`GET /keys` of a gateway."""
    now = time.time()
    return {
        "schema": 1,
        "deployment": "prod",
        "at": now,
        "source": "file:/etc/keys.toml",
        "good_at": now,
        "failing_since": 0,
        "keys": list(keys),
        **given,
    }


class StandIn:
    """A gateway that says `answer`, with `status`, at `address`; `gateway` are the options that name it."""

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        self.answer: object = answer
        self.status = status
        self.asked = 0
        self.address = ""

    @property
    def gateway(self) -> tuple[str, str]:
        return "--gateway", self.address

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        assert handler.path == "/keys"
        saying(self.answer, self.status)(handler)


GatewayOf = Callable[..., StandIn]
