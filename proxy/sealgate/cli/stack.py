"""Gates for `demo` and `dev`: a verifying gateway and signing sidecars in one event loop, keys made up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealgate.app import Gate
from sealgate.config.settings import Settings
from sealgate.signing.material import generate_hmac

DEPLOYMENT: Final = "demo"
#: One machine has one clock.
_CLOCK_SKEW: Final = "2s"
#: From the start of a gateway until its memory store takes nonces made now: the skew, and two whole seconds.
HORIZON_S: Final = 4.0


@dataclass(slots=True, frozen=True)
class DemoKey:
    """A key of this run; `limits` are keys of its table in the key file."""

    kid: str
    secret: str
    state: str = "active"
    limits: tuple[tuple[str, Sequence[str]], ...] = ()


def new_key(kid: str, state: str = "active", **limits: Sequence[str]) -> DemoKey:
    """A key with a secret nobody has seen."""
    return DemoKey(kid, generate_hmac(os.urandom(32)), state, tuple(limits.items()))


def write_keys(home: Path, name: str, keys: Sequence[DemoKey]) -> str:
    """A key file and its secrets in the folder `home`, for this user alone; returns the reference to it."""
    lines: list[str] = []
    for key in keys:
        secret = home / f"{key.kid}.secret"
        _write_private(secret, key.secret)
        lines += ["[[key]]", f'kid = "{key.kid}"', 'alg = "hmac-sha256"']
        lines += [f'secret = "file:{secret}"', f'state = "{key.state}"']
        for limit, values in key.limits:
            quoted = ", ".join(f'"{value}"' for value in values)
            lines.append(f"{limit} = [{quoted}]")
    file = home / name
    _write_private(file, "\n".join(lines) + "\n")
    return f"file:{file}"


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def gateway(listen: str, upstream: str, keys: str, **sections: Mapping[str, Any]) -> Gate:
    """A gateway that verifies what is published."""
    return _gate({"publish": {"action": "verify"}, **sections}, listen, upstream, keys)


def sidecar(listen: str, upstream: str, keys: str, kid: str) -> Gate:
    """A sidecar that signs what is published with `kid`. Refusals are the gateway's, and so is quarantine."""
    sections: dict[str, dict[str, Any]] = {
        "publish": {"action": "sign", "sign_with": kid},
        "quarantine": {"enabled": False},
    }
    return _gate(sections, listen, upstream, keys)


def _gate(sections: Mapping[str, Mapping[str, Any]], listen: str, upstream: str, keys: str) -> Gate:
    settings = {
        "deployment": DEPLOYMENT,
        # Nothing else tells of a second start by mistake: there is no admin address.
        "listen": {"address": listen, "reuse_port": False},
        "upstream": {"urls": [upstream]},
        "keys": {"source": keys},
        "replay": {"clock_skew": _CLOCK_SKEW},
        "admin": {"enabled": False},
        **sections,
    }
    return Gate(Settings.model_validate(settings))
