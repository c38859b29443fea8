"""Deliveries of hostile.jsonl, CO01 to CO10; each is also played on a real broker (tests/system)."""

from __future__ import annotations

import struct

import pytest

from sealgate.signing.keyring import Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Verdict
from sealgate.wire.properties import EXPIRATION, TIMESTAMP
from support.delivered import (
    DEAD_LETTER,
    STRICT,
    a_task_with,
    death,
    delivered,
    died,
    judge_delivery,
)
from support.hostile_rows import Case, Rows
from support.sealed import NOW, a_key, a_message, a_peer, a_policy, sealed, table, task_headers
from support.wire_bytes import entry

HOSTILE = Rows("CO")


def dead_lettered() -> Message:
    """Rejected to a dead-letter exchange: sorted, x-death there, the expiration gone."""
    return delivered(
        sealed(a_task_with(b"60000")),
        exchange="dlx",
        routing_key="dead",
        entries=died(death(expiration="60000")),
        without=(EXPIRATION,),
        resorted=True,
    )


@HOSTILE.case("CO01")
def dead_letter_policy() -> Verdict:
    return judge_delivery(dead_lettered(), DEAD_LETTER)


@HOSTILE.case("CO02")
def no_such_policy() -> Verdict:
    return judge_delivery(dead_lettered(), STRICT)


@HOSTILE.case("CO03")
def quorum_queue_first_delivery() -> Verdict:
    return judge_delivery(delivered(sealed(a_message()), entries=_count(0), resorted=True))


@HOSTILE.case("CO04")
def quorum_queue_redelivery() -> Verdict:
    return judge_delivery(delivered(sealed(a_message()), entries=_count(3), resorted=True))


@HOSTILE.case("CO05")
def interceptor_added_a_timestamp() -> Verdict:
    milliseconds = entry("timestamp_in_ms", "l", struct.pack(">q", NOW * 1000))
    stamped = {TIMESTAMP: struct.pack(">Q", NOW)}
    return judge_delivery(delivered(sealed(a_message()), entries=milliseconds, properties=stamped))


@HOSTILE.case("CO06")
def expiration_is_missing() -> Verdict:
    return judge_delivery(delivered(sealed(a_task_with(b"60000")), without=(EXPIRATION,)))


@HOSTILE.case("CO07")
def stream_dropped_headers() -> Verdict:
    headers = task_headers()
    whole = sealed(a_message(headers=headers))
    kept = {name: value for name, value in headers.items() if name not in ("timelimit", "stamps")}
    token = whole.header.table.values["x-seal"]
    return judge_delivery(a_message(headers={**kept, "x-seal": token}))


@HOSTILE.case("CO08")
def delay_was_negated() -> Verdict:
    delay = lambda value: entry("x-delay", "I", struct.pack(">i", value))  # noqa: E731
    token = sealed(a_message(raw_entries=delay(5000))).header.table.values["x-seal"]
    assert isinstance(token, str)
    return judge_delivery(a_message(raw_entries=delay(-5000) + table({"x-seal": token})))


@HOSTILE.case("CO09")
def redelivered_after_its_ack() -> Verdict:
    verifier = Verifier(a_policy(), Keyring([a_key()]))
    message, peer = sealed(a_message()), a_peer()
    once = QueueTerms(once=True)
    accepted = DeliveryVerifier(DeliveryPolicy(), verifier).examine(message, "celery", once, peer, NOW)
    assert isinstance(accepted, Accepted) and accepted.claim is not None
    return verifier.settled(accepted, ClaimOutcome(ClaimStatus.DUPLICATE), message, peer)


@HOSTILE.case("CO10")
def seal_expired_while_queued() -> Verdict:
    return judge_delivery(sealed(a_message(), expires=NOW + 60), now=NOW + 60 + 31)


def _count(times: int) -> bytes:
    return entry("x-delivery-count", "l", struct.pack(">q", times)) if times else b""


@pytest.mark.parametrize(("row", "run"), HOSTILE.parameters())
def test_hostile_row_gets_its_verdict(row: str, run: Case) -> None:
    HOSTILE.check(row, run)


def test_every_row_of_these_families_has_a_case() -> None:
    HOSTILE.check_complete()
