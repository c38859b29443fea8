"""Tokens, times, replays and rates of hostile.jsonl."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest

from sealgate.signing.algorithms import Ed25519, HmacSha256
from sealgate.signing.base64url import b64url_encode
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message
from sealgate.verify.rates import RateTable
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Verdict
from sealgate.wire.properties import (
    CONTENT_TYPE,
    PRIORITY,
    splice,
)
from support.hostile_rows import Case, Rows
from support.sealed import (
    BODY,
    DEPLOYMENT,
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    judge,
    judge_sealed,
    received,
    seal,
    sealed,
    table,
    task_headers,
    with_token,
)
from support.wire_bytes import entry

HOSTILE = Rows("SG", "RL")
LIMITED = a_key(tasks=("app.add",))


def token_fields(message: Message | None = None) -> list[str]:
    return seal(message or a_message()).decode().split(".")


def with_field(index: int, text: str) -> Verdict:
    fields = token_fields()
    fields[index] = text
    return judge(with_token(a_message(), ".".join(fields).encode()))


@HOSTILE.case("SG01")
def no_token() -> Verdict:
    return judge(a_message())


@HOSTILE.case("SG02")
def no_token_observed() -> Verdict:
    return judge(a_message(), a_policy(observe_default=True))


@HOSTILE.case("SG03")
def seven_fields() -> Verdict:
    return judge(with_token(a_message(), ".".join(token_fields()[:7]).encode()))


@HOSTILE.case("SG04")
def nine_fields() -> Verdict:
    return judge(with_token(a_message(), ".".join([*token_fields(), "x"]).encode()))


HOSTILE.cases["SG05"] = [lambda: with_field(7, token_fields()[7] + "=")]
HOSTILE.cases["SG07"] = [lambda: with_field(2, "+1767225600")]
HOSTILE.cases["SG08"] = [lambda: with_field(2, "01767225600")]
HOSTILE.cases["SG10"] = [lambda: with_field(0, "seal2")]
HOSTILE.cases["SG11"] = [lambda: with_field(5, "c9")]
HOSTILE.cases["SG12"] = [lambda: with_field(1, "k9")]
HOSTILE.cases["SG15"] = [lambda: with_field(7, b64url_encode(bytes(16)).decode())]


@HOSTILE.case("SG13")
def revoked_key() -> Verdict:
    return judge(sealed(), keys=(a_key(state=KeyState.REVOKED),))


@HOSTILE.case("SG14")
def hmac_made_from_a_public_key() -> Verdict:
    pair = Ed25519.of_private(bytes(range(32)))
    message = a_message()
    prefix = seal(message).rpartition(b".")[0]
    forged = hmac.digest(pair.public_bytes, prefix, hashlib.sha256)
    return judge(with_token(message, prefix + b"." + b64url_encode(forged)), keys=(Key("k1", pair),))


@HOSTILE.case("SG17")
def long_token() -> Verdict:
    return judge(with_token(a_message(), b"seal1." + b"a" * 4994))


def moved(message: Message, **target: str) -> Message:
    """The same bytes sent somewhere else, or with another body."""
    changes: dict[str, Any] = {"exchange": message.exchange, "routing_key": message.routing_key, **target}
    return received(message.header.payload, message.body, **changes)


def swapped(changed: Message, original: Message | None = None) -> Verdict:
    """A token of the original message on a changed one."""
    return judge(with_token(changed, seal(original or a_message())))


HOSTILE.cases["SG18"] = [lambda: swapped(a_message(BODY.replace(b"2", b"0")))]
HOSTILE.cases["SG19"] = [
    lambda: judge(
        with_token(a_message(properties={**JSON_HEADER, CONTENT_TYPE: b"text/plain"}), seal(a_message())),
    )
]
HOSTILE.cases["SG20"] = [lambda: swapped(a_message(headers=task_headers(task="app.evil")))]
HOSTILE.cases["SG21"] = [lambda: swapped(a_message(headers=task_headers(extra="x")))]
HOSTILE.cases["SG22"] = [lambda: swapped(a_message(headers=task_headers(argsrepr=...)))]
HOSTILE.cases["SG24"] = [
    lambda: swapped(
        a_message(headers=task_headers(retries=...), raw_entries=entry("retries", "l", struct.pack(">q", 0)))
    )
]
HOSTILE.cases["SG26"] = [lambda: swapped(a_message(properties={**JSON_HEADER, PRIORITY: b"\x09"}))]
HOSTILE.cases["SG27"] = [lambda: judge(moved(sealed(), routing_key="other"))]
HOSTILE.cases["SG28"] = [lambda: judge(moved(sealed(), exchange="other"))]
HOSTILE.cases["SG30"] = [lambda: judge(sealed(vhost="/a"), peer=a_peer(vhost="/b"))]
HOSTILE.cases["SG31"] = [lambda: judge(sealed(deployment="staging"))]
HOSTILE.cases["SG32"] = [lambda: judge(sealed(created=NOW - 600, expires=NOW + 86400))]
HOSTILE.cases["SG33"] = [lambda: judge(sealed(created=NOW + 300))]
HOSTILE.cases["SG34"] = [
    lambda: judge(sealed(created=NOW - 120, expires=NOW - 60)),
    lambda: judge(sealed(created=NOW - 7200, expires=NOW - 3600)),
]
HOSTILE.cases["SG35"] = [lambda: judge(sealed(expires=NOW + 86401), keys=(a_key(max_lifetime_s=86400),))]
HOSTILE.cases["SG36"] = [lambda: with_field(3, str(NOW - 1))]


def answered(status: ClaimStatus, bucket: str = "", **policy: Any) -> Verdict:
    """What the verdict of a good message becomes when the store answers `status`."""
    message, peer = sealed(), a_peer()
    verifier = Verifier(a_policy(**policy), Keyring([a_key()]))
    accepted = verifier.examine(message, peer, float(NOW))
    assert isinstance(accepted, Accepted) and accepted.claim is not None
    return verifier.settled(accepted, ClaimOutcome(status, bucket), message, peer)


HOSTILE.cases["SG37"] = [lambda: answered(ClaimStatus.DUPLICATE)]
HOSTILE.cases["SG41"] = [lambda: answered(ClaimStatus.INFLIGHT)]
HOSTILE.cases["SG40"] = HOSTILE.cases["SG42"] = [lambda: answered(ClaimStatus.GRANTED)]
HOSTILE.cases["SG43"] = [lambda: answered(ClaimStatus.HORIZON)]
HOSTILE.cases["SG44"] = [lambda: answered(ClaimStatus.UNAVAILABLE)]


@HOSTILE.case("SG39")
def same_nonce_under_another_kid() -> Verdict:
    keys = (a_key(), Key("k2", HmacSha256(bytes(range(1, 33)))))
    first = judge(sealed(key=keys[0]), keys=keys)
    second = judge(sealed(key=keys[1]), keys=keys)
    assert isinstance(first, Accepted) and isinstance(second, Accepted)
    assert first.claim is not None and second.claim is not None
    assert first.claim.nonce_key != second.claim.nonce_key
    return second


def retry() -> Message:
    """What a worker publishes again: the producer's headers, its old seal among them, under a later count."""
    token = seal(a_message())
    return with_token(a_message(headers=task_headers(retries=1)), token)


HOSTILE.cases["SG45"] = [lambda: judge(retry())]


@HOSTILE.case("SG46")
def retry_through_the_signer() -> Verdict:
    message = retry()
    sealer = Sealer(Keyring([a_key()]), "k1", DEPLOYMENT, bytes)
    added = sealer.seal(message, a_peer(), SignerSession(), NOW)
    payload = splice(message.header, frozenset({"x-seal", "x-countersign"}), added)
    return judge(received(payload, message.body))


HOSTILE.cases["SG47"] = [
    lambda: judge_sealed(a_message(raw_entries=table({"x-countersign": "seal1.forged"})))
]


SLOW = RateTable({"app.add": "5/m burst 10"})
HOSTILE.cases["RL01"] = [lambda: answered(ClaimStatus.LIMITED, "app.add", rates=SLOW)]
HOSTILE.cases["RL02"] = [lambda: answered(ClaimStatus.COST, "app.add", rates=SLOW)]
HOSTILE.cases["RL03"] = [lambda: judge(a_message(), a_policy(rates=SLOW))]
HOSTILE.cases["RL06"] = [lambda: answered(ClaimStatus.DEGRADED, rates=SLOW)]
HOSTILE.task(
    "RL04", {"task": "made.up.4711"}, key=LIMITED, policy=a_policy(rates=RateTable({"app.*": "5/m"}))
)


@pytest.mark.parametrize(("row", "run"), HOSTILE.parameters())
def test_hostile_row_gets_its_verdict(row: str, run: Case) -> None:
    HOSTILE.check(row, run)


def test_every_row_of_these_families_has_a_case() -> None:
    HOSTILE.check_complete()
