"""The keys of the gateways that the hostile rows meet, and what their messages are sealed with."""

from __future__ import annotations

import secrets
from typing import Any

from sealgate.signing.algorithms import Ed25519, HmacSha256
from sealgate.signing.keyring import Key
from sealgate.signing.material import generate_ed25519
from support.gateway import key, new_secret

DEPLOYMENT = "prod"
STAGING = "staging"

#: The tables of the gateways' key file.
KEY_TABLES: list[dict[str, object]] = []
#: What a test seals with, by kid; the gateways need not know every one of them.
KEYRING: dict[str, Key] = {}


def _add(kid: str, known: bool = True, **limits: Any) -> None:
    secret = new_secret()
    KEYRING[kid] = Key(kid, HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))
    if known:
        KEY_TABLES.append(key(kid, secret, **limits))


_add("k1")
_add("k2")
_add("unknown", known=False)
_add("revoked", state="revoked")
_add("day", max_lifetime="24h")
_add("replies", reply_to=["replies.*"])
_add("add", tasks=["app.add"])
_add("canvas", tasks=["app.add", "app.mul"])
_add("producer", classes=["task"])
_add("producer-ping", classes=["task", "control:ping"])
_add("pinger", classes=["control:ping"])
_add("worker", classes=["task", "result", "event"])
_add("queue", routing_keys=["celery"])
_add("gw1")

_PAIR = Ed25519.of_private(_SEED := secrets.token_bytes(32))
KEY_TABLES.append({"kid": "ed", "alg": "ed25519", "public": generate_ed25519(_SEED)[1]})
KEYRING["ed"] = Key("ed", _PAIR)
#: What somebody can sign who has only the public key: the gateway knows it under the kid "ed".
FORGER = Key("ed", HmacSha256(_PAIR.public_bytes))
