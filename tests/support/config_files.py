"""Configuration files for tests: a good one to spoil, a keys file, and a clean environment."""

from __future__ import annotations

import os
from pathlib import Path

from sealgate.signing.material import generate_hmac

RANDOM = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
SECRET = generate_hmac(RANDOM)
GOOD = 'upstream.urls = ["amqp://127.0.0.1:5672"]\n'
KEYS = '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:TEST_K1"\n'


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with exactly that mode, whatever the umask."""
    path.write_text(text)
    path.chmod(mode)
    return path


def environment(**variables: str) -> dict[str, str]:
    """The process's environment without any of ours, plus `variables`."""
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith("SEALGATE")}
    return own | variables
