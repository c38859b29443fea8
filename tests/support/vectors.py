"""The seal1 test vectors, typed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sealgate.signing.algorithms import Algorithm, Ed25519, HmacSha256

_FILE = Path(__file__).parent.parent / "data" / "vectors.json"


@dataclass(frozen=True)
class Vector:
    """One vector; bytes where the file has hexadecimal digits."""

    name: str
    note: str
    kid: str
    alg: str
    key: bytes
    deployment: str
    vhost: str
    exchange: str
    routing_key: str
    created: int
    expires: int
    nonce: bytes
    content_header: bytes
    body: bytes
    canonical_properties: bytes
    canonical_headers: bytes
    signing_input: bytes
    token: bytes

    def algorithm(self) -> Algorithm:
        return HmacSha256(self.key) if self.alg == "hmac-sha256" else Ed25519.of_private(self.key)


def _vector(entry: dict[str, object]) -> Vector:
    values: dict[str, object] = {}
    for name, value in entry.items():
        if name.endswith("_hex"):
            values[name.removesuffix("_hex")] = bytes.fromhex(str(value))
        else:
            values[name] = str(value).encode() if name == "token" else value
    return Vector(**values)  # type: ignore[arg-type]


VECTORS = {str(entry["name"]): _vector(entry) for entry in json.loads(_FILE.read_text())}
