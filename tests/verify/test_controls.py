"""Orders of an operator: what is shed or revoked is refused, whatever let it through, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sealgate.reason import Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Keyring
from sealgate.verify.checks import Verifier
from sealgate.verify.controls import Controls
from sealgate.verify.known import Memory
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.verdict import Accepted, ClaimOutcome, ClaimStatus, Refused, Verdict
from sealgate.wire.properties import EXPIRATION, MESSAGE_ID
from sealgate.wire.reader import HeaderReader
from support.delivered import judge_delivery
from support.sealed import (
    EMBED,
    JSON_HEADER,
    NOW,
    TASK_ID,
    a_key,
    a_message,
    a_peer,
    a_policy,
    judge,
    judge_sealed,
    rules,
    seal,
    sealed,
    task_headers,
    with_token,
)


def ordering(*shed: str, revoked: str = "", until: float = NOW + 60, **policy: Any) -> Policy:
    return a_policy(controls=Controls(shed, {revoked: until} if revoked else {}), **policy)


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refused) else verdict.observed


def body(*args: object, **kwargs: object) -> bytes:
    return json.dumps([list(args), kwargs, EMBED]).encode()


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [("app.add", True), ("app.*", True), ("*", True), ("app", False), ("app.add.*", False), ("App.*", False)],
)
def test_task_that_is_shed_is_refused(pattern: str, refused: bool) -> None:
    verdict = judge_sealed(a_message(), ordering(pattern))
    assert reason(verdict) is (Reason.RATE_SHED if refused else None)
    assert verdict.task == "app.add"
    assert verdict.kid == "k1"
    if refused:
        assert isinstance(verdict, Refused)
        assert verdict.authenticated


def test_id_that_is_revoked_is_refused_until_its_time() -> None:
    policy = ordering(revoked=TASK_ID, until=NOW + 10)
    message = sealed()
    assert reason(judge(message, policy, now=NOW + 9.9)) is Reason.ACL_REVOKED
    assert reason(judge(message, policy, now=NOW + 10)) is None
    assert reason(judge(message, ordering(revoked="another"))) is None


@pytest.mark.parametrize("order", [ordering("*"), ordering(revoked=TASK_ID)])
def test_who_has_no_good_seal_learns_nothing(order: Policy) -> None:
    assert reason(judge(a_message(), order)) is Reason.SIG_MISSING
    forged = with_token(a_message(), seal(a_message(), deployment="other"))
    assert reason(judge(forged, order)) is Reason.SIG_BAD
    foreign = a_key(tasks=("other.*",))
    assert reason(judge_sealed(a_message(), order, foreign)) is Reason.ACL_TASK


@pytest.mark.parametrize("rule", [(), (Rule(task="app.*", observe=True),)])
def test_orders_hold_where_rules_only_observe(rule: tuple[Rule, ...]) -> None:
    watched = {"observe_default": not rule, "rules": rule}
    for message in (sealed(), a_message()):
        for order, expected in (
            (ordering("app.*", **watched), Reason.RATE_SHED),
            (ordering(revoked=TASK_ID, **watched), Reason.ACL_REVOKED),
        ):
            verdict = judge(message, order)
            assert isinstance(verdict, Refused)
            assert verdict.reason is expected
        passed = judge(message, ordering("other.*", revoked="another", **watched))
        assert isinstance(passed, Accepted)
    unsealed = judge(a_message(), ordering("app.*", **watched))
    # Nothing was guessed: it would have passed.
    assert isinstance(unsealed, Refused)
    assert unsealed.authenticated


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("celery.map", body(task={"task": "app.add", "args": []}, it=[])),
        ("celery.starmap", body({"task": "app.add"}, [])),
        ("celery.chunks", body("app.add", [], 2)),
    ],
)
def test_task_that_is_run_in_the_place_of_another_is_shed(name: str, arguments: bytes) -> None:
    message = a_message(arguments, task_headers(task=name))
    assert reason(judge_sealed(message, ordering("app.*"))) is Reason.RATE_SHED
    assert reason(judge_sealed(message, ordering("other.*"))) is None


def test_task_that_a_worker_will_publish_itself_is_asked_about_then() -> None:
    following = json.dumps([[1, 2], {}, {**EMBED, "chain": [{"task": "app.mul", "args": []}]}]).encode()
    assert reason(judge_sealed(a_message(following), ordering("app.mul"))) is None


def test_results_control_and_events_are_no_tasks() -> None:
    result = json.dumps({"task_id": TASK_ID, "status": "SUCCESS", "result": 1}).encode()
    for message in (
        a_message(result, {}),
        a_message(json.dumps({"method": "ping", "arguments": {}}).encode(), {}, exchange="celery.pidbox"),
        a_message(json.dumps({"type": "worker-online"}).encode(), {}, exchange="celeryev"),
    ):
        assert reason(judge_sealed(message, ordering("*", revoked=TASK_ID))) is None


def test_task_of_protocol_1_is_known_by_its_body() -> None:
    task = {"task": "app.add", "id": TASK_ID, "args": [], "kwargs": {}}
    message = a_message(json.dumps(task).encode(), {})
    for order, expected in (
        (ordering("app.*", protocol_1=True), Reason.RATE_SHED),
        (ordering(revoked=TASK_ID, protocol_1=True), Reason.ACL_REVOKED),
        (ordering("other", revoked="another", protocol_1=True), None),
    ):
        assert reason(judge_sealed(message, order)) is expected


@pytest.mark.parametrize("profile", ["dramatiq", "taskiq", "generic"])
def test_tasks_of_other_libraries_are_known_by_name_and_id(profile: str) -> None:
    headers: dict[str, object] = {}
    properties = dict(JSON_HEADER)
    if profile == "dramatiq":
        value: dict[str, object] = {
            "queue_name": "celery",
            "actor_name": "app.add",
            "args": [],
            "kwargs": {},
            "options": {},
            "message_id": TASK_ID,
            "message_timestamp": 1,
        }
    elif profile == "taskiq":
        value = {"task_id": TASK_ID, "task_name": "app.add", "labels": {}, "args": [], "kwargs": {}}
    else:
        value = {}
        properties[MESSAGE_ID] = TASK_ID.encode()
        properties[10] = b"app.add"
    content = rules(profile)
    message = a_message(json.dumps(value).encode(), headers, properties)
    for order, expected in (
        (ordering("app.*", content=content), Reason.RATE_SHED),
        (ordering(revoked=TASK_ID, content=content), Reason.ACL_REVOKED),
        (ordering("other", revoked="another", content=content), None),
    ):
        assert reason(judge_sealed(message, order)) is expected
        watched = replace(order, observe_default=True)
        assert reason(judge(message, watched)) is (expected or Reason.SIG_MISSING)


def test_order_reaches_a_connection_that_sent_the_like_before() -> None:
    """And when it is lifted, they pass again."""
    verifier = Verifier(a_policy(), Keyring((a_key(),)))
    peer = a_peer()

    def next_one(number: int) -> Verdict:
        message = a_message(headers=task_headers(id=f"id-{number}", root_id=f"id-{number}"))
        nonce = bytes([number]) * 16
        return verifier.examine(sealed(message, nonce=nonce), peer, float(NOW))

    assert reason(next_one(1)) is None
    assert reason(next_one(2)) is None
    verifier.policy = ordering("app.add")
    assert reason(next_one(3)) is Reason.RATE_SHED
    verifier.policy = ordering("other", revoked="id-5")
    assert [reason(next_one(number)) for number in (4, 5, 6)] == [None, Reason.ACL_REVOKED, None]
    verifier.policy = a_policy()
    assert reason(next_one(7)) is None


def test_order_holds_where_one_kind_of_message_has_many_tasks() -> None:
    """What is remembered of them is then all but the task."""
    verifier = Verifier(ordering("app.mul"), Keyring((a_key(),)))
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties)
    peer = a_peer()
    tasks = ["app.add", "app.sub", "app.add", "app.sub", "app.mul", "app.add", "app.mul"]
    verdicts = []
    for number, task in enumerate(tasks):
        message = sealed(a_message(headers=task_headers(task=task)), nonce=bytes([number]) * 16)
        header = reader.read(message.header.payload)
        again = Message("", "celery", False, header, message.body, message.body_sha256)
        verdicts.append(reason(verifier.examine(again, peer, float(NOW))))
    assert isinstance(peer.known, Memory)
    assert any(known.task_at >= 0 for known in peer.known.all())
    assert verdicts == [Reason.RATE_SHED if task == "app.mul" else None for task in tasks]


def test_delivery_of_what_is_revoked_is_refused_and_of_what_is_shed_is_not() -> None:
    message: Message = sealed()
    assert reason(judge_delivery(message, policy=ordering(revoked=TASK_ID))) is Reason.ACL_REVOKED
    assert reason(judge_delivery(message, policy=ordering("*"))) is None
    watched = ordering(revoked=TASK_ID, observe_default=True)
    verdict = judge_delivery(message, policy=watched)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.ACL_REVOKED


def test_paused_task_is_accepted_and_told_to_be_parked() -> None:
    def pausing(*patterns: str, **policy: Any) -> Policy:
        return a_policy(controls=Controls((), {}, patterns), **policy)

    accepted = judge_sealed(a_message(), pausing("app.*", "app.a*", "other"))
    assert isinstance(accepted, Accepted)
    # The first in order, so that every gateway takes the same one.
    assert accepted.parked == "app.*"
    for order in (a_policy(), pausing("other")):
        passed = judge_sealed(a_message(), order)
        assert isinstance(passed, Accepted)
        assert passed.parked == ""
    event = a_message(json.dumps({"type": "worker-online"}).encode(), {}, exchange="celeryev")
    passed = judge_sealed(event, pausing("*"))
    assert isinstance(passed, Accepted)
    assert passed.parked == ""
    both = a_policy(controls=Controls(("app.add",), {}, ("app.add",)))
    assert reason(judge_sealed(a_message(), both)) is Reason.RATE_SHED
    expiring = a_message(properties={**JSON_HEADER, EXPIRATION: b"1000"})
    assert reason(judge_sealed(expiring, pausing("*"))) is Reason.RATE_SHED
    watched = judge(a_message(), pausing("*", observe_default=True))
    assert isinstance(watched, Accepted)
    assert (watched.observed, watched.parked) == (Reason.SIG_MISSING, "*")
    # What the store says later changes nothing about that.
    verifier = Verifier(pausing("*", observe_default=True), Keyring((a_key(),)))
    asked = verifier.examine(sealed(), a_peer(), float(NOW))
    assert isinstance(asked, Accepted)
    for status in (ClaimStatus.GRANTED, ClaimStatus.DEGRADED, ClaimStatus.DUPLICATE):
        settled = verifier.settled(asked, ClaimOutcome(status), sealed(), a_peer())
        assert isinstance(settled, Accepted)
        assert settled.parked == "*"
