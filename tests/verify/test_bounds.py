"""Bounds on both sides: what is let through, what is refused, what is changed, and how."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.session.clamping import edited
from sealgate.verify.bounds import (
    Bound,
    BoundTable,
    Edits,
    Limit,
    Subject,
    apply_bounds,
    check_delivered,
    subject_of,
)
from sealgate.verify.delivery import DeliveryPolicy, Requirement
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.verdict import Accepted, Refused
from sealgate.wire.properties import HEADERS, PRIORITY
from sealgate.wire.values import Value
from support.delivered import countersigned, judge_delivery
from support.sealed import (
    BODY,
    EMBED,
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_policy,
    judge_sealed,
    rules,
    sealed,
    task_headers,
)

SKEW_S = 30


def clamp(maximum: float | None = None, default: float | None = None) -> Limit:
    return limit(maximum, default, clamps=True)


def limit(maximum: float | None = None, default: float | None = None, clamps: bool = False) -> Limit:
    """Compiled code takes no int for a float."""
    most, put_in = [None if value is None else float(value) for value in (maximum, default)]
    return Limit(most, put_in, clamps)


def at(seconds: float) -> str:
    """A time that much from now, as Celery writes it."""
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def task(*args: object, **headers: object) -> Message:
    body = json.dumps([list(args), {}, EMBED]).encode()
    return a_message(body, task_headers(**headers))


def subject(message: Message) -> Subject:
    value = json.loads(message.body)
    headers = message.header.table.values
    name = headers.get("task") or (value.get("task") if isinstance(value, dict) else "") or ""
    assert isinstance(name, str)
    return subject_of(message, name, value)


def applied(message: Message, **bounds: Any) -> Edits | None:
    return apply_bounds(BoundTable((Bound("*", **bounds),)), subject(message), float(NOW), SKEW_S)


def changed(message: Message, **bounds: Any) -> tuple[list[str], dict[str, Value]]:
    """The bounds that changed the message, and its headers then."""
    edits = applied(message, **bounds)
    if edits is None:
        return [], message.header.table.values
    return edits.bounds, edited(message, edits).header.table.values


def refusal(message: Message, **bounds: Any) -> Reason | None:
    try:
        assert applied(message, **bounds) is None
    except GateError as error:
        return error.reason
    return None


# Which bound


def test_first_bound_that_matches_counts() -> None:
    table = BoundTable((Bound("app.big", retries_max=5), Bound("app.*", retries_max=1), Bound("*")))
    assert [bound.task for name in ("app.big", "app.add", "other") if (bound := table.of(name))] == [
        "app.big",
        "app.*",
        "*",
    ]
    assert BoundTable((Bound("app.*"),)).of("App.add") is None


def test_names_that_clients_make_up_are_forgotten() -> None:
    table = BoundTable((Bound("app.*"),))
    for number in range(5000):
        assert table.of(f"app.{number}") is not None
    assert len(table._remembered) <= 4096


# Time limits


@pytest.mark.parametrize("limits", [[600, None], [600, 599], [None, None], None, [0, 0], [599.5, 1.5]])
def test_time_limits_within_the_bound_stay(limits: object) -> None:
    message = task(timelimit=limits)
    assert changed(message, time_limit=clamp(600), soft_time_limit=clamp(599)) == (
        [],
        message.header.table.values,
    )


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ([601, None], [600, None]),
        ([600.5, 20], [600, 20]),
        ([3600, 3000], [600, 540]),
        ([3600, 599], [600, 599]),
        ([None, 9000], [None, 540]),
        ([500, 9000], [500, 450]),
        ([5, 3600], [5, 4.5]),
        ([10, 10], [10, 9]),
    ],
)
def test_time_limits_over_the_bound_are_lowered(limits: list[object], wanted: list[object]) -> None:
    """A soft limit that is not below the hard one would keep it from ever being looked at."""
    soft = clamp(540) if limits != [3600, 599] else None
    _, headers = changed(task(timelimit=limits), time_limit=clamp(600), soft_time_limit=soft)
    assert headers["timelimit"] == wanted


@pytest.mark.parametrize("limits", [None, [None, None], [0, 0], ...])
def test_time_limits_are_put_in_where_there_are_none(limits: object) -> None:
    """Also for 0, which a worker takes for none."""
    bounds, headers = changed(
        task(timelimit=limits), time_limit=clamp(600, 300), soft_time_limit=clamp(540, 240)
    )
    assert headers["timelimit"] == [300, 240]
    assert bounds == ["time_limit", "soft_time_limit"]


def test_default_soft_limit_goes_below_a_short_hard_one() -> None:
    _, headers = changed(
        task(timelimit=[5, None]), time_limit=clamp(600, 300), soft_time_limit=clamp(540, 240)
    )
    assert headers["timelimit"] == [5, 4.5]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ([600, 540], None),
        ([601, None], Reason.CELERY_TIMELIMIT),
        ([None, 541], Reason.CELERY_TIMELIMIT),
        ([300, 300], Reason.CELERY_TIMELIMIT),
        ([300, 400], Reason.CELERY_TIMELIMIT),
        ("abc", Reason.CELERY_TIMELIMIT),
        ([-1, None], Reason.CELERY_TIMELIMIT),
        ([True, None], Reason.CELERY_TIMELIMIT),
        ([1], Reason.CELERY_TIMELIMIT),
    ],
)
def test_time_limits_over_the_bound_are_refused(limits: object, reason: Reason | None) -> None:
    assert refusal(task(timelimit=limits), time_limit=limit(600), soft_time_limit=limit(540)) is reason


def test_what_is_not_touched_of_a_pair_stays_octet_for_octet() -> None:
    """The soft limit of 20 in one octet, and the hard one changed beside it."""
    pair = b"\x09timelimitA" + (4 + 5 + 2 - 4).to_bytes(4, "big") + b"I\x00\x00\x0e\x10" + b"b\x14"
    message = a_message(headers=task_headers(timelimit=...), raw_entries=pair)
    edits = applied(message, time_limit=clamp(600))
    assert edits is not None
    assert edits.entries["timelimit"] == pair.replace(b"I\x00\x00\x0e\x10", b"I\x00\x00\x02\x58")


# Expiry


@pytest.mark.parametrize(("left_s", "stays"), [(3600, True), (3630, True), (3631, False), (10**6, False)])
def test_expiry_is_held_against_the_maximum_and_the_skew(left_s: int, stays: bool) -> None:
    message = task(expires=at(left_s))
    assert refusal(message, expires=limit(3600)) is (None if stays else Reason.CELERY_EXPIRES)
    bounds, headers = changed(message, expires=clamp(3600))
    assert bounds == ([] if stays else ["expires"])
    wanted = at(left_s) if stays else f"{at(3600)[:19]}.000+00:00"
    assert headers["expires"] == wanted


def test_expiry_is_put_in_where_there_is_none() -> None:
    for absent in (None, ...):
        bounds, headers = changed(task(expires=absent), expires=limit(None, 60))
        assert (bounds, headers["expires"]) == (["expires"], f"{at(60)[:19]}.000+00:00")


@pytest.mark.parametrize("eta_s", [-600, 7200])
def test_expiry_of_a_task_that_starts_later_is_counted_from_its_start(eta_s: int) -> None:
    """Else it would be over before it began, and lost in silence."""
    begin = max(eta_s, 0)
    bounds, headers = changed(task(eta=at(eta_s)), expires=clamp(3600, 60))
    assert (bounds, headers["expires"]) == (["expires"], f"{at(begin + 60)[:19]}.000+00:00")
    assert changed(task(eta=at(eta_s), expires=at(begin + 3600)), expires=clamp(3600))[0] == []
    _, headers = changed(task(eta=at(eta_s), expires=at(begin + 9999)), expires=clamp(3600))
    assert headers["expires"] == f"{at(begin + 3600)[:19]}.000+00:00"


def test_expiry_that_no_date_can_tell_is_refused() -> None:
    """A signer has no other bound on an ETA."""
    assert refusal(task(eta="9999-12-31T23:59:59+00:00"), expires=clamp(None, 60)) is Reason.CELERY_ETA


def test_required_expiry_is_required_and_nothing_else() -> None:
    assert refusal(task(), expires=limit(), expires_required=True) is Reason.CELERY_EXPIRES
    assert refusal(task(expires=at(10**7)), expires=limit(), expires_required=True) is None


# ETA, retries, priority


@pytest.mark.parametrize(("ahead_s", "reason"), [(3630, None), (3631, Reason.CELERY_ETA), (-5, None)])
def test_eta_has_a_horizon(ahead_s: int, reason: Reason | None) -> None:
    assert refusal(task(eta=at(ahead_s)), eta_s_max=3600.0) is reason
    assert refusal(task(eta=None), eta_s_max=3600.0) is None


@pytest.mark.parametrize(("retries", "reason"), [(0, None), (3, None), (4, Reason.CELERY_RETRIES)])
def test_retries_are_counted(retries: int, reason: Reason | None) -> None:
    assert refusal(task(retries=retries), retries_max=3) is reason


def test_priority_is_lowered_put_in_or_refused() -> None:
    def with_priority(value: int | None) -> Message:
        properties = dict(JSON_HEADER) if value is None else {**JSON_HEADER, PRIORITY: bytes((value,))}
        return a_message(properties=properties)

    assert refusal(with_priority(5), priority=limit(5)) is None
    assert refusal(with_priority(6), priority=limit(5)) is Reason.PROPS_PRIORITY
    assert refusal(with_priority(None), priority=limit(5)) is None
    for value, wanted in ((6, 5), (255, 5), (None, 2)):
        message = with_priority(value)
        edits = applied(message, priority=clamp(5, 2))
        assert edits is not None
        header = edited(message, edits).header
        assert header.fields[PRIORITY] == bytes((wanted,))
        assert header.table.raw == message.header.table.raw


# Sizes


def test_body_has_a_size() -> None:
    assert refusal(a_message(), body_bytes_max=len(BODY)) is None
    assert refusal(a_message(), body_bytes_max=len(BODY) - 1) is Reason.BODY_SIZE


@pytest.mark.parametrize(
    ("args", "size"),
    [
        ((), 2 + 2),
        ((2, 3), 5 + 2),
        (("ab", None, True, False, 1.5), len('["ab",null,true,false,1.5]') + 2),
        (({"k": [1, {}]}, []), len('[{"k":[1,{}]},[]]') + 2),
        (("é",), len('["é"]'.encode()) + 2),
    ],
)
def test_arguments_have_a_size_that_spaces_and_escapes_do_not_change(args: Any, size: int) -> None:
    for message in (task(*args), a_message(json.dumps([list(args), {}, EMBED], indent=3).encode())):
        assert refusal(message, arguments_bytes_max=size) is None
        assert refusal(message, arguments_bytes_max=size - 1) is Reason.BODY_SIZE


def test_compression_is_listed_by_any_of_its_names() -> None:
    for name in ("application/x-gzip", "gzip", "zlib"):
        bound = frozenset({"application/x-gzip"})
        assert refusal(task(compression=name), compression=bound) is None
        assert refusal(task(compression=name), compression=frozenset()) is Reason.CONTENT_COMPRESSION
    assert refusal(task(), compression=frozenset()) is None


# Where nothing can be changed


def protocol_1(**fields: object) -> Message:
    body = {"task": "app.add", "id": "1", "args": [2], "kwargs": {}, "timelimit": [None, None], **fields}
    return a_message(json.dumps(body).encode(), {})


def test_body_of_protocol_1_is_never_rewritten() -> None:
    bounds = {"time_limit": clamp(600), "soft_time_limit": clamp(540), "expires": clamp(60)}
    assert applied(protocol_1(timelimit=[600, None]), **bounds) is None
    assert refusal(protocol_1(timelimit=[601, None]), **bounds) is Reason.CELERY_TIMELIMIT
    assert refusal(protocol_1(expires=at(100)), **bounds) is Reason.CELERY_EXPIRES
    assert refusal(protocol_1(), time_limit=clamp(600, 300)) is Reason.CELERY_TIMELIMIT
    assert refusal(protocol_1(retries=4), retries_max=3) is Reason.CELERY_RETRIES


@pytest.mark.parametrize(
    ("headers", "bounds", "reason"),
    [
        ({"timelimit": [600, None]}, {"time_limit": clamp(600)}, None),
        ({"timelimit": [601, None]}, {"time_limit": clamp(600)}, Reason.CELERY_TIMELIMIT),
        ({}, {"time_limit": clamp(600, 300)}, Reason.CELERY_TIMELIMIT),
        ({}, {"expires": clamp(60, 60)}, Reason.CELERY_EXPIRES),
        ({}, {"priority": clamp(60, 60)}, Reason.PROPS_PRIORITY),
    ],
)
def test_delivery_that_would_have_to_be_changed_is_refused(
    headers: dict[str, object], bounds: dict[str, Any], reason: Reason | None
) -> None:
    table = BoundTable((Bound("*", **bounds),))
    try:
        check_delivered(table, subject(task(**headers)), float(NOW), SKEW_S)
        found = None
    except GateError as error:
        found = error.reason
    assert found is reason


def test_other_profiles_have_no_celery_fields() -> None:
    body = json.dumps({"actor_name": "add", "args": [1], "kwargs": {}}).encode()
    message = a_message(body, {"timelimit": [9999, None]})
    bounds = BoundTable((Bound("*", time_limit=limit(5), arguments_bytes_max=5),))
    assert apply_bounds(bounds, subject_of(message, "add", json.loads(body)), float(NOW), SKEW_S) is None
    with pytest.raises(GateError, match=r"body\.size"):
        apply_bounds(
            BoundTable((Bound("add", arguments_bytes_max=4),)),
            subject_of(message, "add", json.loads(body)),
            float(NOW),
            SKEW_S,
        )


# In the verifier


def bounded(**bounds: Any) -> Policy:
    return a_policy(bounds=BoundTable((Bound("app.*", **bounds),)))


def test_verifier_refuses_once_the_signature_is_proven() -> None:
    refused = judge_sealed(task(retries=9), bounded(retries_max=3))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.authenticated, refused.task) == (Reason.CELERY_RETRIES, True, "app.add")
    assert isinstance(judge_sealed(task(retries=3), bounded(retries_max=3)), Accepted)


def test_verifier_says_what_is_to_be_changed() -> None:
    accepted = judge_sealed(task(timelimit=[3600, None]), bounded(time_limit=clamp(5)))
    assert isinstance(accepted, Accepted) and accepted.edits is not None
    assert (accepted.edits.bounds, accepted.edits.observed) == (["time_limit"], False)


def test_other_tasks_are_not_bounded() -> None:
    policy = a_policy(bounds=BoundTable((Bound("shop.*", retries_max=0, time_limit=clamp(1, 1)),)))
    accepted = judge_sealed(task(retries=3), policy)
    assert isinstance(accepted, Accepted) and accepted.edits is None


@pytest.mark.parametrize("headers", [{"retries": 9}, {"timelimit": [9, None]}])
def test_observed_bounds_change_and_refuse_nothing(headers: dict[str, object]) -> None:
    policy = replace(bounded(retries_max=3, time_limit=clamp(5)), rules=(Rule(task="app.add", observe=True),))
    accepted = judge_sealed(task(**headers), policy)
    assert isinstance(accepted, Accepted)
    if "retries" in headers:
        assert accepted.observed is Reason.CELERY_RETRIES
    else:
        assert accepted.edits is not None and accepted.edits.observed


def test_size_of_a_task_can_be_observed_unlike_that_of_the_gate() -> None:
    observing = replace(bounded(body_bytes_max=1), observe_default=True)
    accepted = judge_sealed(a_message(), observing)
    assert isinstance(accepted, Accepted) and accepted.observed is Reason.BODY_SIZE


def test_control_messages_and_results_are_no_tasks() -> None:
    body = json.dumps({"task_id": "1", "status": "SUCCESS", "result": 1}).encode()
    accepted = judge_sealed(a_message(body, {}), bounded(body_bytes_max=1))
    assert isinstance(accepted, Accepted)


def test_generic_message_that_celery_would_run_is_bounded_by_what_celery_would_run() -> None:
    policy = replace(bounded(retries_max=3), content=rules("generic", "application/json"))
    refused = judge_sealed(task(retries=9), policy)
    assert isinstance(refused, Refused) and refused.reason is Reason.CELERY_RETRIES


# On delivery

GATE = a_key("gate")
REQUIRE_GATEWAY = DeliveryPolicy(Requirement.GATEWAY, frozenset({"gate"}))
LIMITED = bounded(time_limit=clamp(600, 300))


def test_consumer_that_wants_the_gateways_signature_takes_a_clamped_task() -> None:
    """The producer's does not hold any more, and one that wants that does not take it."""
    message = sealed(task(timelimit=[3600, None]))
    accepted = judge_sealed(task(timelimit=[3600, None]), LIMITED)
    assert isinstance(accepted, Accepted) and accepted.edits is not None
    clamped = countersigned(edited(message, accepted.edits), GATE)
    keys = (a_key(), GATE)
    assert isinstance(judge_delivery(clamped, policy=LIMITED, keys=keys, deliver=REQUIRE_GATEWAY), Accepted)
    refused = judge_delivery(clamped, policy=LIMITED, keys=keys)
    assert isinstance(refused, Refused) and refused.reason is Reason.SIG_BAD


@pytest.mark.parametrize("limits", [[3600, None], [None, None]])
def test_consumer_with_bounds_refuses_what_no_gateway_has_clamped(limits: list[object]) -> None:
    for message, deliver in (
        (sealed(task(timelimit=limits)), DeliveryPolicy()),
        (countersigned(sealed(task(timelimit=limits)), GATE), REQUIRE_GATEWAY),
    ):
        refused = judge_delivery(message, policy=LIMITED, keys=(a_key(), GATE), deliver=deliver)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.authenticated) == (Reason.CELERY_TIMELIMIT, True)


# Any message


NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
OTHERS = st.dictionaries(
    NAMES.filter(lambda name: name not in task_headers()),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=20)),
    max_size=5,
)
SECONDS = st.one_of(st.none(), st.integers(0, 10**6), st.floats(0.001, 1e6))


@given(
    others=OTHERS,
    limits=st.one_of(st.none(), st.tuples(SECONDS, SECONDS).map(list)),
    left_s=st.one_of(st.none(), st.integers(0, 10**6)),
    priority=st.one_of(st.none(), st.integers(0, 255)),
    first=st.booleans(),
)
def test_changed_message_differs_in_nothing_else_and_is_within_its_bounds(
    others: dict[str, object],
    limits: list[object] | None,
    left_s: int | None,
    priority: int | None,
    first: bool,
) -> None:
    own = task_headers(timelimit=limits, expires=None if left_s is None else at(left_s))
    headers = {**others, **own} if first else {**own, **others}
    properties = dict(JSON_HEADER) if priority is None else {**JSON_HEADER, PRIORITY: bytes((priority,))}
    message = a_message(headers=headers, properties=properties)
    bounds = BoundTable(
        (
            Bound(
                "*",
                time_limit=clamp(600, 300),
                soft_time_limit=clamp(540, 240),
                expires=clamp(3600, 900),
                priority=clamp(5, 1),
            ),
        )
    )
    edits = apply_bounds(bounds, subject(message), float(NOW), SKEW_S)
    after = message if edits is None else edited(message, edits)
    assert apply_bounds(bounds, subject(after), float(NOW), SKEW_S) is None
    check_delivered(bounds, subject(after), float(NOW), SKEW_S)
    hard, soft = after.header.table.values["timelimit"]  # type: ignore[misc]
    assert 0 < soft < hard <= 600
    assert soft <= 540
    touched = set() if edits is None else set(edits.entries)
    assert touched <= {"timelimit", "expires"}
    before, now = raw_entries(message), raw_entries(after)
    assert list(before) == list(now)
    assert {name for name in before if before[name] != now[name]} == touched
    fields = [index for index in range(14) if message.header.fields[index] != after.header.fields[index]]
    assert set(fields) <= {PRIORITY}
    assert HEADERS not in fields
    assert after.header.body_size == message.header.body_size == len(after.body)


def raw_entries(message: Message) -> dict[str, bytes]:
    table = message.header.table
    return {entry.name: table.raw[entry.start : entry.end] for entry in table.entries}


@pytest.mark.parametrize("hard", [10**400, -1, True, "5", 10.0**300], ids=range(5))
def test_time_limit_of_a_generic_message_that_is_no_time(hard: object) -> None:
    """Nothing else has looked at it: a number of any length must not be our own end."""
    policy = replace(bounded(time_limit=clamp(None, 60)), content=rules("generic", "application/json"))
    body = json.dumps({"task": "app.add", "id": "i", "timelimit": [hard, None]}).encode()
    verdict = judge_sealed(a_message(body, {}), policy)
    assert isinstance(verdict, Refused) and verdict.reason is Reason.CELERY_TIMELIMIT


def test_time_limit_that_is_no_number_is_refused() -> None:
    """NaN is neither above nor below any bound."""
    message = task()
    fields = {"task": "t", "timelimit": [float("nan"), None]}
    table = BoundTable((Bound("t", time_limit=limit(None, 60)),))
    with pytest.raises(GateError) as refused:
        apply_bounds(table, Subject(message, "t", fields, []), float(NOW), SKEW_S)
    assert refused.value.reason is Reason.CELERY_TIMELIMIT
