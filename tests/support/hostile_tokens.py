"""Rows SG of hostile.jsonl that one message tells: tokens, keys, times, changes after sealing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sealgate.signing.base64url import b64url_decode, b64url_encode
from sealgate.wire.properties import CONTENT_TYPE, PRIORITY
from support.hostile_catalogue import Rows
from support.hostile_keys import FORGER, STAGING
from support.hostile_publish import Draft, Seal, stored
from support.sealed import BODY, JSON_HEADER, task_headers
from support.wire_bytes import entry

ROWS = Rows()
DAY = 24 * 3600
CREATED, EXPIRES, PROFILE, SIGNATURE = 2, 3, 5, 7


def edited(change: Callable[[list[str]], Any]) -> Draft:
    """A token whose fields were changed in place after it was made."""

    def edit(token: str) -> str:
        fields = token.split(".")
        change(fields)
        return ".".join(fields)

    return Draft(seal=Seal(edit=edit))


def with_field(index: int, change: Callable[[str], str]) -> Draft:
    def put(fields: list[str]) -> None:
        fields[index] = change(fields[index])

    return edited(put)


def swapped(**changes: Any) -> Draft:
    """An ordinary message whose token is on a changed one."""
    return Draft(sent_as=replace(Draft(), **changes))


ROWS.drafts("SG01", "no token, mode enforce", Draft(seal=None))
ROWS.drafts(
    "SG02", "no token, mode observe", Draft(seal=None), gate="observe", counted="observed sig.missing"
)
ROWS.drafts("SG03", "token with 7 fields", edited(lambda fields: fields.pop()))
ROWS.drafts("SG04", "token with 9 fields", edited(lambda fields: fields.append("x")))
ROWS.drafts("SG05", 'base64url with "=" padding', with_field(SIGNATURE, lambda text: text + "="))
ROWS.drafts("SG07", 'created "+1767225600"', with_field(CREATED, lambda text: "+" + text))
ROWS.drafts("SG08", 'created "01767225600"', with_field(CREATED, lambda text: "0" + text))
ROWS.drafts("SG10", "scheme seal2", with_field(0, lambda text: "seal2"))
ROWS.drafts("SG11", "profile c9", with_field(PROFILE, lambda text: "c9"))
ROWS.drafts("SG12", "unknown kid", Draft(seal=Seal("unknown")))
ROWS.drafts("SG13", "revoked kid", Draft(seal=Seal("revoked")))


def forge(token: str) -> str:
    """An HMAC under the Ed25519 key's kid, made with what everybody may know of that key."""
    prefix = token.rpartition(".")[0].replace(".k1.", ".ed.", 1)
    return prefix + "." + b64url_encode(FORGER.algorithm.sign(prefix.encode())).decode()


ROWS.drafts(
    "SG14",
    "kid of an Ed25519 key with an HMAC made from the public key",
    Draft(seal=Seal(edit=forge)),
)
ROWS.drafts(
    "SG15",
    "signature cut to 16 bytes",
    with_field(SIGNATURE, lambda text: b64url_encode(b64url_decode(text.encode())[:16]).decode()),
)
ROWS.drafts("SG17", "token of 5,000 bytes", Draft(seal=Seal(edit=lambda token: token.ljust(5000, "A"))))
ROWS.drafts("SG18", "one bit flipped in the body", swapped(body=BODY.replace(b"2", b"0")))
ROWS.drafts(
    "SG19",
    "content_type changed",
    swapped(properties={**JSON_HEADER, CONTENT_TYPE: b"application/x-python-serialize"}),
)
ROWS.drafts(
    "SG20",
    "task header changed, body and token untouched",
    swapped(headers=task_headers(task="app.evil")),
)
ROWS.drafts("SG21", "header added", swapped(headers=task_headers(extra="x")))
ROWS.drafts("SG22", "header removed", swapped(headers=task_headers(argsrepr=...)))
ROWS.drafts(
    "SG24",
    "retries I 0 changed to l 0",
    swapped(headers=task_headers(retries=...), entries=entry("retries", "l", struct.pack(">q", 0))),
)
ROWS.drafts("SG26", "priority changed", swapped(properties={**JSON_HEADER, PRIORITY: b"\x09"}))
ROWS.drafts("SG27", "routing key changed", swapped(routing_key="other"))
ROWS.drafts("SG28", "exchange changed", swapped(exchange="other"))
ROWS.drafts("SG30", "message captured on vhost /a, sent on /b", Draft(seal=Seal(vhost="/a")))
ROWS.drafts(
    "SG31",
    "message from staging with the same secret and kid",
    Draft(seal=Seal(deployment=STAGING)),
)
ROWS.drafts("SG32", "created 10 minutes ago at the ingress", Draft(seal=Seal(created=-600, expires=DAY)))
ROWS.drafts("SG33", "created 5 minutes in the future", Draft(seal=Seal(created=300, expires=DAY)))
ROWS.drafts(
    "SG34",
    "expires passed",
    Draft(seal=Seal(created=-120, expires=-60)),
    Draft(seal=Seal(created=-2 * 3600, expires=-3600)),
)
ROWS.drafts(
    "SG35",
    "expires - created above the key's max_lifetime",
    Draft(seal=Seal("day", expires=DAY + 1)),
)


def end_before_the_start(fields: list[str]) -> None:
    fields[EXPIRES] = str(int(fields[CREATED]) - 1)


ROWS.drafts("SG36", "expires < created", edited(end_before_the_start))
ROWS.drafts(
    "SG43", "memory store, created before gateway start", Draft(seal=stored(created=-280)), gate="fresh"
)
#: What a worker publishes again without a signer: the producer's headers, its seal among them.
RETRIED = swapped(headers=task_headers(retries=1))
ROWS.drafts("SG45", "Celery retry carrying the old token, no signer in between", RETRIED)
ROWS.drafts(
    "SG47",
    "client supplies x-countersign",
    Draft(stripped=entry("x-countersign", "S", struct.pack(">I", 5) + b"seal1")),
)
