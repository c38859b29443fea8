from __future__ import annotations

import hashlib
from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import session_nonce
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.seals import nonce_name
from sealgate.verify.verdict import GRANTED, Accepted, Claim, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import DELIVERY_MODE, EXPIRATION, TIMESTAMP
from support.hostile_rows import as_json
from support.sealed import (
    BODY,
    CHALLENGE,
    EXPIRES,
    JSON_HEADER,
    NONCE,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    judge,
    judge_sealed,
    received,
    rules,
    seal,
    sealed,
    table,
    task_headers,
    with_token,
)
from support.vectors import VECTORS
from support.wire_bytes import entry, long


def reason(verdict: Verdict) -> Reason:
    return verdict.reason if isinstance(verdict, Refused) else Reason.OK


def claim_of(verdict: Verdict) -> Claim:
    assert isinstance(verdict, Accepted) and verdict.claim is not None
    return verdict.claim


# --- the vectors ---


#: Vectors of what a signature covers, which a gateway refuses for what they ask.
REFUSED = {"all-types": Reason.HEADER_X_DELAY, "direct-reply-to": Reason.ACL_REPLY_TO}


@pytest.mark.parametrize("name", VECTORS)
def test_sealed_vector_is_judged_on_its_signing_input(name: str) -> None:
    vector = VECTORS[name]
    plain = received(vector.content_header, vector.body, vector.exchange, vector.routing_key)
    verifier = Verifier(
        Policy(vector.deployment, content=rules("generic", "*")),
        Keyring([Key(vector.kid, vector.algorithm())]),
    )
    peer = Peer(vector.deployment, vector.vhost, challenge=vector.nonce[:16])
    verdict = verifier.examine(with_token(plain, vector.token), peer, float(vector.created))
    assert reason(verdict) is REFUSED.get(name, Reason.OK)
    if isinstance(verdict, Accepted) and verdict.claim is not None:
        assert verdict.claim.digest == hashlib.sha256(vector.signing_input).digest()


# --- the order ---


def everything_wrong(until: int) -> tuple[Message, dict[str, Any]]:
    """A message with a fault in each check from `until` on, in the order of seal1.md."""
    key: dict[str, Any] = {"tasks": ("other",)}
    options: dict[str, Any] = {"created": NOW - 86400, "expires": NOW - 80000, "deployment": "staging"}
    properties = {**JSON_HEADER, DELIVERY_MODE: b"\x09"}
    body = b"no json"
    state, kid = KeyState.REVOKED, "k9"
    if until > 0:
        del properties[DELIVERY_MODE]
    if until > 1:
        kid = "k1"
    if until > 2:
        state = KeyState.ACTIVE
    if until > 3:
        del options["created"], options["expires"]
    if until > 4:
        del options["deployment"]
    message = a_message(body, properties=properties)
    token = seal(message, Key(kid, a_key().algorithm), **options)
    target = "celery" if until > 5 else "elsewhere"
    if until > 6:
        key = {}
    message = with_token(message, token)
    return received(message.header.payload, body, "", target), {"keys": (a_key(state=state, **key),)}


def test_checks_come_in_the_order_of_the_specification() -> None:
    found = [reason(judge(message, **options)) for message, options in map(everything_wrong, range(8))]
    assert found == [
        Reason.PROPS_DELIVERY_MODE,
        Reason.SIG_KID,
        Reason.SIG_KEY_STATE,
        Reason.TIME_EXPIRED,
        Reason.SIG_BAD,
        Reason.TARGET_MISMATCH,
        Reason.ACL_TASK,
        Reason.CONTENT_JSON,
    ]


def test_size_comes_before_all_else() -> None:
    assert reason(judge(a_message(), a_policy(body_bytes_max=len(BODY) - 1))) is Reason.BODY_SIZE


@pytest.mark.parametrize("kind", ["x", "S"])
def test_token_is_taken_as_text_or_bytes(kind: str) -> None:
    token = seal(a_message())
    assert reason(judge(a_message(raw_entries=entry("x-seal", kind, long(token))))) is Reason.OK


@pytest.mark.parametrize("value", [5, True, [], {}, 1.5])
def test_token_of_another_type_is_malformed(value: object) -> None:
    assert reason(judge(a_message(raw_entries=table({"x-seal": value})))) is Reason.SIG_MALFORMED


def test_void_token_is_no_token() -> None:
    assert reason(judge(a_message(raw_entries=table({"x-seal": None})))) is Reason.SIG_MISSING


@pytest.mark.parametrize("token", ["ż", "seal1.ż", "\x00"])
def test_token_outside_ascii_is_refused(token: str) -> None:
    message = a_message(raw_entries=entry_longstr("x-seal", token.encode()))
    assert reason(judge(message)) in (Reason.SIG_VERSION, Reason.SIG_MALFORMED)


# --- the clocks ---


@pytest.mark.parametrize(
    ("created", "expires", "expected"),
    [
        (NOW + 30, NOW + 3600, Reason.OK),
        (NOW + 31, NOW + 3600, Reason.TIME_FUTURE),
        (NOW - 330, NOW + 3600, Reason.OK),
        (NOW - 331, NOW + 3600, Reason.TIME_STALE),
        (NOW - 100, NOW - 30, Reason.OK),
        (NOW - 100, NOW - 31, Reason.TIME_EXPIRED),
        (NOW - 86400, NOW - 80000, Reason.TIME_EXPIRED),
    ],
)
def test_times_are_exact_to_the_second(created: int, expires: int, expected: Reason) -> None:
    assert reason(judge(sealed(created=created, expires=expires))) is expected


def test_fraction_of_a_second_over_the_bound_counts() -> None:
    message = sealed(created=NOW - 330)
    assert reason(judge(message, now=NOW + 0.5)) is Reason.TIME_STALE
    assert reason(judge(sealed(created=NOW + 30), now=NOW - 0.5)) is Reason.TIME_FUTURE


def test_verdict_tells_how_far_the_producers_clock_is() -> None:
    verdict = judge(sealed(created=NOW + 10), now=NOW + 0.5)
    assert isinstance(verdict, Accepted)
    assert verdict.clock_skew_s == 9.5


# --- the snapshot ---


@pytest.mark.parametrize(("index", "value"), [(EXPIRATION, b"60000"), (TIMESTAMP, (NOW).to_bytes(8, "big"))])
def test_expiration_and_timestamp_are_those_of_the_snapshot(index: int, value: bytes) -> None:
    bare, full = a_message(), a_message(properties={**JSON_HEADER, index: value})
    changed = a_message(properties={**JSON_HEADER, index: value[:-1] + b"1"})
    assert reason(judge(sealed(full))) is Reason.OK
    assert reason(judge(with_token(bare, seal(full)))) is Reason.TARGET_MISMATCH
    assert reason(judge(with_token(full, seal(bare)))) is Reason.TARGET_MISMATCH
    assert reason(judge(with_token(changed, seal(full)))) is Reason.TARGET_MISMATCH


# --- the nonce ---


def test_stored_nonce_is_claimed_until_no_gateway_could_accept_it() -> None:
    claim = claim_of(judge(sealed()))
    assert claim.nonce_key == nonce_name("prod", "k1", NONCE)
    assert (claim.created, claim.remember_until) == (NOW, NOW + 300 + 60 + 5)
    assert claim.debits == ()


def test_digest_of_a_claim_tells_messages_apart() -> None:
    first, again = claim_of(judge(sealed())), claim_of(judge(sealed()))
    other = claim_of(judge(sealed(a_message(b"[[1],{},{}]"))))
    assert first.digest == again.digest != other.digest
    assert first.nonce_key == other.nonce_key


def test_names_of_nonces_do_not_meet() -> None:
    names = {
        nonce_name("prod", "k1", NONCE),
        nonce_name("prod:k1", "k1", NONCE),
        nonce_name("prod", "k1", b":" + NONCE),
        nonce_name("4:prod", "k1", NONCE),
        nonce_name("prod", "k2", NONCE),
        nonce_name("", "k1", NONCE),
    }
    assert len(names) == 6


def session_message(sequence: int, challenge: bytes = CHALLENGE) -> Message:
    return sealed(nonce=session_nonce(challenge, sequence))


def test_session_nonce_needs_no_claim() -> None:
    peer = a_peer()
    verdict = judge(session_message(0), peer=peer)
    assert isinstance(verdict, Accepted)
    assert verdict.claim is None
    assert peer.last_sequence == 0


@pytest.mark.parametrize(
    ("last", "sequence", "passes"),
    [(-1, 0, True), (4, 5, True), (4, 900, True), (5, 5, False), (5, 4, False)],
)
def test_sequence_must_be_above_the_last(last: int, sequence: int, passes: bool) -> None:
    peer = a_peer(last_sequence=last)
    verdict = judge(session_message(sequence), peer=peer)
    assert reason(verdict) is (Reason.OK if passes else Reason.REPLAY_SESSION)
    assert peer.last_sequence == (sequence if passes else last)


@pytest.mark.parametrize("challenge", [b"", bytes(16)])
def test_session_nonce_of_another_connection_is_refused(challenge: bytes) -> None:
    verdict = judge(session_message(0), peer=a_peer(challenge=challenge))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.authenticated) == (Reason.REPLAY_SESSION, True)


def test_stored_nonce_is_refused_where_only_session_nonces_are_taken() -> None:
    policy = a_policy(session_nonces_only=True)
    verdict = judge(sealed(), policy)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.authenticated) == (Reason.REPLAY_SESSION, True)
    assert reason(judge(session_message(0), policy)) is Reason.OK


def test_sequence_rises_only_when_all_else_passed() -> None:
    peer = a_peer()
    bad = [
        received(session_message(7).header.payload, b"[[9],{},{}]"),
        received(session_message(7).header.payload, BODY, "", "elsewhere"),
        sealed(a_message(b"[]"), nonce=session_nonce(CHALLENGE, 7)),
    ]
    assert [reason(judge(message, peer=peer)) for message in bad] == [
        Reason.SIG_BAD,
        Reason.TARGET_MISMATCH,
        Reason.CELERY_ENVELOPE,
    ]
    too_dear = a_policy(rates=_costly())
    assert reason(judge(session_message(7), too_dear, peer=peer)) is Reason.RATE_COST
    assert peer.last_sequence == -1
    assert reason(judge(session_message(0), peer=peer)) is Reason.OK


# --- the rates ---


def _costly() -> RateTable:
    """A table whose bucket can never hold the cost; the loader would refuse to write one."""
    from sealgate.verify.rates import _Matching
    from sealgate.verify.verdict import Bucket, Debit

    table = RateTable({"app.add": "1/s"})
    table._remembered["app.add"] = _Matching([], (Debit(Bucket("app.add", 1, 1_000_000, 1), 2),))
    return table


def test_authenticated_task_is_debited_from_every_bucket_that_matches() -> None:
    policy = a_policy(rates=RateTable({"app.add": "5/m", "app.*": "9/s", "b.*": "1/s"}))
    claim = claim_of(judge(sealed(), policy))
    assert [debit.bucket.name for debit in claim.debits] == ["app.add", "app.*"]
    session = claim_of(judge(session_message(1), policy))
    assert (session.nonce_key, session.debits) == (b"", claim.debits)


def test_unauthenticated_task_is_debited_from_none() -> None:
    assert isinstance(judge(a_message(), a_policy(rates=RateTable({"*": "1/s"}))), Refused)


def test_cost_no_bucket_can_hold_is_refused_at_once() -> None:
    verdict = judge(sealed(), a_policy(rates=_costly()))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.authenticated, verdict.task) == (Reason.RATE_COST, True, "app.add")


def test_results_and_events_draw_from_no_bucket() -> None:
    policy = a_policy(rates=RateTable({"*": "1/s"}))
    result = as_json({"task_id": "a", "status": "SUCCESS", "result": None})
    verdict = judge_sealed(a_message(result, {}, routing_key="reply"), policy)
    assert claim_of(verdict).debits == ()
    assert verdict.task == ""


# --- what the store answers ---

ANSWERS = {
    ClaimStatus.INFLIGHT: Reason.REPLAY_INFLIGHT,
    ClaimStatus.DUPLICATE: Reason.REPLAY_DUPLICATE,
    ClaimStatus.CONFLICT: Reason.REPLAY_CONFLICT,
    ClaimStatus.LIMITED: Reason.RATE_TASK,
    ClaimStatus.COST: Reason.RATE_COST,
    ClaimStatus.FULL: Reason.STORE_FULL,
    ClaimStatus.HORIZON: Reason.STORE_HORIZON,
    ClaimStatus.UNAVAILABLE: Reason.STORE_UNAVAILABLE,
}


def settle(outcome: ClaimOutcome, **policy: Any) -> tuple[Accepted, Verdict]:
    message, peer = sealed(), a_peer()
    verifier = Verifier(a_policy(**policy), Keyring([a_key()]))
    accepted = verifier.examine(message, peer, float(NOW))
    assert isinstance(accepted, Accepted)
    return accepted, verifier.settled(accepted, outcome, message, peer)


@pytest.mark.parametrize("status", ANSWERS)
def test_answer_of_the_store_becomes_a_refusal(status: ClaimStatus) -> None:
    _, verdict = settle(ClaimOutcome(status, "app.add", 1500))
    assert verdict == Refused(
        ANSWERS[status],
        kid="k1",
        task="app.add",
        authenticated=True,
        bucket="app.add",
        wait_us=1500,
        expires=EXPIRES,
    )


@pytest.mark.parametrize("status", ANSWERS)
def test_answer_of_the_store_is_observed_without_a_claim(status: ClaimStatus) -> None:
    _, verdict = settle(ClaimOutcome(status), observe_default=True)
    assert verdict == Accepted("k1", "app.add", observed=ANSWERS[status], expires=EXPIRES)


def test_granted_claim_stands() -> None:
    accepted, verdict = settle(GRANTED)
    assert verdict is accepted


def test_degraded_claim_stands_with_a_flag() -> None:
    accepted, verdict = settle(ClaimOutcome(ClaimStatus.DEGRADED))
    assert isinstance(verdict, Accepted)
    assert (verdict.flags, verdict.claim) == ((Reason.RATE_DEGRADED,), accepted.claim)


def test_every_answer_has_a_verdict() -> None:
    assert set(ANSWERS) | {ClaimStatus.GRANTED, ClaimStatus.DEGRADED} == set(ClaimStatus)


# --- observe ---


def test_what_rules_observe_is_accepted_with_its_reason() -> None:
    policy = a_policy(rules=(Rule(exchange="", task="app.*", observe=True),))
    assert judge(a_message(), policy) == Accepted("", "app.add", observed=Reason.SIG_MISSING)
    assert judge_sealed(a_message(b"5"), policy) == Accepted(
        "k1", "app.add", observed=Reason.CELERY_ENVELOPE, expires=EXPIRES
    )
    other = a_message(headers=task_headers(task="other"))
    assert reason(judge(other, policy)) is Reason.SIG_MISSING
    assert reason(judge(a_message(exchange="x"), policy)) is Reason.SIG_MISSING


def test_body_over_its_size_is_refused_even_under_observe() -> None:
    policy = a_policy(observe_default=True, body_bytes_max=1)
    assert reason(judge(a_message(), policy)) is Reason.BODY_SIZE


def test_session_may_ask_what_is_observed() -> None:
    verifier = Verifier(a_policy(rules=(Rule(user="app", exchange="x", observe=True),)), Keyring())
    assert verifier.observes(a_peer(), "x")
    assert not verifier.observes(a_peer(user="b"), "x")


def test_rule_may_ask_another_content_of_some_tasks() -> None:
    policy = a_policy(rules=(Rule(task="raw.*", content=rules("generic", "*")),))
    raw = a_message(b"\x80\x04N.", task_headers(task="raw.x"), {0: b"application/x-own"}, routing_key="raw.x")
    assert reason(judge_sealed(raw, policy)) is Reason.OK
    assert reason(judge_sealed(a_message(b"\x80\x04N."), policy)) is Reason.CONTENT_JSON


# --- what a refusal knows ---


def test_refusal_names_the_key_and_the_task_as_far_as_they_are_known() -> None:
    unknown = judge(sealed(), keys=(a_key("k2"),))
    assert unknown == Refused(Reason.SIG_KID, "unknown key", task="app.add")
    bad = judge(received(sealed().header.payload, b"[[9],{},{}]"))
    assert isinstance(bad, Refused)
    assert (bad.kid, bad.task, bad.authenticated) == ("k1", "app.add", False)
    envelope = judge_sealed(a_message(b"5"))
    assert isinstance(envelope, Refused)
    assert (envelope.kid, envelope.task, envelope.authenticated) == ("k1", "app.add", True)


@pytest.mark.parametrize("name", ["a" * 256, "a\x1b[31m", ""])
def test_refusal_repeats_no_name_that_could_not_be_one(name: str) -> None:
    verdict = judge(a_message(headers=task_headers(task=name)))
    assert verdict == Refused(Reason.SIG_MISSING, "no x-seal header")


def test_refusal_names_a_task_that_only_the_body_told() -> None:
    body = as_json({"task": "app.add", "id": "../x"})
    verdict = judge_sealed(a_message(body, {}), a_policy(protocol_1=True))
    assert (reason(verdict), verdict.task) == (Reason.CELERY_ID, "app.add")


def test_detail_holds_nothing_of_the_message() -> None:
    secret = "hunter2hunter2"
    bodies = [secret.encode(), as_json({secret: 1}), as_json([[], {secret: 1}, {secret: 2}])]
    headers = [task_headers(**{name: secret}) for name in ("id", "eta", "expires", "timelimit", "retries")]
    messages = [a_message(body) for body in bodies] + [a_message(headers=values) for values in headers]
    for message in messages:
        verdict = judge_sealed(message)
        if isinstance(verdict, Refused):
            assert secret not in verdict.detail


def test_labels_are_configured_names() -> None:
    verifier = Verifier(
        a_policy(rates=RateTable({"app.add": "1/s", "lib.*": "1/s", "*": "9/s"})),
        Keyring(),
    )
    labels = [verifier.task_label(task) for task in ("app.add", "lib.x", "zzz", "")]
    assert labels == ["app.add", "lib.*", "other", "other"]
    assert Verifier(a_policy(), Keyring()).task_label("a") == "other"
