"""SHA-256 with as little around it as can be: it is asked for five times for each message."""

from __future__ import annotations

import hashlib
from typing import Final

new_sha256: Final = hashlib.sha256
_Hash: Final = type(new_sha256())
# Called so, a method is not looked up in each object.
copy_of: Final = _Hash.copy
feed: Final = _Hash.update
digest_of: Final = _Hash.digest


_EMPTY: Final = new_sha256()


def sha256(data: bytes) -> bytes:
    """The digest of `data`, 32 bytes."""
    # A copy is made faster than a new one, which asks for its algorithm by name.
    hashed = copy_of(_EMPTY)
    feed(hashed, data)
    return digest_of(hashed)
