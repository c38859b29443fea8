from __future__ import annotations

from typing import Any

import pytest

from sealgate.verify.bounds import Edits
from sealgate.verify.bucket import interval_us
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.rates import RateTable, parse_rate
from sealgate.verify.verdict import Accepted, Debit
from sealgate.wire.properties import EXPIRATION, PRIORITY
from support.sealed import JSON_HEADER, NOW, a_key, a_message, a_policy, judge, sealed, task_headers

RATES = RateTable({"app.add": "5/m burst 10 cost 2", "app.*": "100/s", "*": "2000/s burst 4000"})


def drawn(rates: RateTable, task: str) -> tuple[Debit, ...]:
    return rates.debits(task, a_message(), [[], {}, {}], "app", "k1")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("5/m", (5, 60_000_000, 5, 1)),
        ("5/m burst 10", (5, 60_000_000, 10, 1)),
        ("5/m cost 2 burst 10", (5, 60_000_000, 10, 2)),
        ("1/10s", (1, 10_000_000, 1, 1)),
        ("7/h", (7, 3_600_000_000, 7, 1)),
        ("1/30d", (1, 2_592_000_000_000, 1, 1)),
    ],
)
def test_rate_is_read(text: str, parsed: tuple[int, int, int, int]) -> None:
    assert parse_rate(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/",
        "5/w",
        "-5/m",
        "5.5/m",
        "0/s",
        "1000001/s",
        "5/0s",
        "5/31d",
        "5/m burst 0",
        "5/m burst 1000001",
        "5/m burst",
        "5/m burst 10 burst 11",
        "5/m cost 0",
        "5/m cost 6",
        "5/m  burst 10",
        "٥/m",
        "1/30d burst 100",
    ],
)
def test_rate_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|burst|cost|period|bucket"):
        parse_rate(text)


def test_task_draws_from_every_bucket_that_matches() -> None:
    found = [(debit.bucket.name, debit.cost) for debit in drawn(RATES, "app.add")]
    assert found == [("app.add", 2), ("app.*", 1), ("*", 1)]
    assert [debit.bucket.name for debit in drawn(RATES, "other")] == ["*"]


def test_task_without_a_matching_bucket_draws_nothing() -> None:
    assert drawn(RateTable(), "a") == ()
    assert drawn(RateTable({"b": "1/s"}), "a") == ()


def test_unknown_names_share_the_buckets_of_their_patterns_and_are_not_remembered_for_ever() -> None:
    buckets = {drawn(RATES, f"made.up.{n}")[0].bucket for n in range(10_000)}
    assert [bucket.name for bucket in buckets] == ["*"]
    assert len(RATES._remembered) <= 4096
    assert drawn(RATES, "made.up.1") == drawn(RATES, "made.up.9999")


def test_label_of_a_task_is_a_configured_name() -> None:
    assert [RATES.label(task) for task in ("app.add", "app.mul", "other", "")] == ["app.add", "app.*", "", ""]


# --- forms, values, reserves ---


def keys(rates: RateTable, message: Message | None = None, body: object = None, **of: str) -> list[str]:
    """What a store keeps the buckets by that one message draws from."""
    arguments = [[], {}, {}] if body is None else body
    user, kid = of.get("user", "app"), of.get("kid", "k1")
    debits = rates.debits("app.add", message or a_message(), arguments, user, kid)
    return [debit.bucket.state for debit in debits]


def test_several_windows_of_a_task_are_buckets_of_their_own_under_one_name() -> None:
    rates = RateTable({"app.add": ["10/s burst 20", "100000/d"]})
    debits = drawn(rates, "app.add")
    assert [debit.bucket.burst for debit in debits] == [20, 100_000]
    assert [debit.bucket.name for debit in debits] == ["app.add", "app.add"]
    # The first one is kept where the only one was before.
    assert debits[0].bucket.state == "app.add" != debits[1].bucket.state
    assert (
        RateTable({"app.add": {"limit": ["10/s burst 20", "100000/d"]}}).debits(
            "app.add", a_message(), None, "", ""
        )
        == debits
    )
    assert drawn(rates, "app.add") is debits


@pytest.mark.parametrize(
    ("per", "one", "other"),
    [
        ("key", {"kid": "k1"}, {"kid": "k2"}),
        ("user", {"user": "a"}, {"user": "b"}),
        ("arg:1", {"body": [[0, "a"], {}, {}]}, {"body": [[0, "b"], {}, {}]}),
        ("arg:0", {"body": [[7], {}, {}]}, {"body": [[8], {}, {}]}),
        ("kwarg:tenant", {"body": [[], {"tenant": "a"}, {}]}, {"body": [[], {"tenant": "b"}, {}]}),
        ("kwarg:tenant", {"body": {"kwargs": {"tenant": "a"}}}, {"body": {"kwargs": {"tenant": "b"}}}),
        (
            "header:x-tenant",
            {"message": a_message(headers=task_headers(**{"x-tenant": "a"}))},
            {"message": a_message(headers=task_headers(**{"x-tenant": "b"}))},
        ),
    ],
)
def test_each_value_has_a_bucket_and_all_messages_with_it_the_same_one(
    per: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    rates = RateTable({"app.*": {"limit": "5/m", "per": per}})
    (first,), (again,), (second,) = keys(rates, **one), keys(rates, **one), keys(rates, **other)
    assert first == again != second
    (debit,) = rates.debits("app.add", a_message(), [["v", "v"], {"tenant": "v"}, {}], "app", "k1")
    assert debit.bucket.name == "app.*"
    # Nothing of the value is in what a store keeps it by.
    assert len(first) == len(second)


@pytest.mark.parametrize("value", [None, True, 1.5, "", "x" * 257, "é" * 129, 2**63, [1], {"a": 1}, "\ud800"])
def test_a_value_that_is_none_odd_or_too_long_shares_one_bucket(value: object) -> None:
    rates = RateTable({"app.add": {"limit": "5/m", "per": "arg:0"}})
    shared = keys(rates, body=[[], {}, {}])
    assert keys(rates, body=[[value], {}, {}]) == shared
    assert keys(rates, body="not a task at all") == shared
    (debit,) = rates.debits("app.add", a_message(), [[value], {}, {}], "app", "k1")
    assert debit.other is None


def test_a_number_and_its_text_are_one_value() -> None:
    rates = RateTable({"app.add": {"limit": "5/m", "per": "arg:0"}})
    assert keys(rates, body=[[7], {}, {}]) == keys(rates, body=[["7"], {}, {}])


def test_values_are_not_remembered_for_ever_and_name_what_they_share_when_too_many() -> None:
    rates = RateTable({"app.add": {"limit": "5/m", "per": "arg:0"}})
    (shared,) = rates.debits("app.add", a_message(), [[], {}, {}], "app", "k1")
    for number in range(5000):
        (debit,) = rates.debits("app.add", a_message(), [[number], {}, {}], "app", "k1")
        assert debit.other == shared
    assert len(rates._limits[0]._remembered) <= 4096


def test_a_reserve_parts_rate_and_burst_and_is_for_messages_of_its_priority() -> None:
    rates = RateTable({"app.add": {"limit": "10/s burst 20", "reserve": {"priority": 5, "share": "20%"}}})
    for priority, reserved in [(None, False), (4, False), (5, True), (255, True)]:
        given = dict(JSON_HEADER) if priority is None else {**JSON_HEADER, PRIORITY: bytes([priority])}
        (debit,) = rates.debits("app.add", a_message(properties=given), None, "", "")
        assert debit.bucket.burst == 16 and interval_us(debit.bucket) == 125_000
        assert (debit.spare is not None) is reserved
        if debit.spare is not None:
            assert debit.spare.burst == 4 and interval_us(debit.spare) == 500_000


def test_what_bounds_make_of_a_priority_counts() -> None:
    rates = RateTable({"app.add": {"limit": "10/s", "reserve": {"priority": 5, "share": "20%"}}})
    edits = Edits()
    edits.fields[PRIORITY] = b"\x03"
    message = a_message(properties={**JSON_HEADER, PRIORITY: b"\x09"})
    (debit,) = rates.debits("app.add", message, None, "", "", edits)
    assert debit.spare is None


def test_a_pattern_with_a_nul_is_no_name() -> None:
    with pytest.raises(ValueError, match="NUL"):
        RateTable({"a\0b": "1/s"})


# --- how long a message may wait ---


def waits(message: Message, policy: Policy | None = None, expires: int = NOW + 86_400) -> int:
    """The longest wait of a sealed message, microseconds."""
    policy = policy or a_policy(rates=DELAYING)
    verdict = judge(sealed(message, expires=expires), policy, (a_key(max_lifetime_s=2 * 86_400),))
    assert isinstance(verdict, Accepted) and verdict.claim is not None
    return verdict.claim.wait_us


DELAYING = RateTable({"*": "1/s"}, delay_us=3_600_000_000)


def test_a_message_may_wait_as_long_as_is_configured_and_not_without() -> None:
    assert waits(a_message()) == 3_600_000_000
    assert waits(a_message(), a_policy(rates=RateTable({"*": "1/s"}))) == 0


@pytest.mark.parametrize(
    ("message", "expires", "longest_s"),
    [
        (a_message(), NOW + 100, 100),
        (a_message(properties={**JSON_HEADER, EXPIRATION: b"60000"}), NOW + 86_400, 60),
        (a_message(headers=task_headers(expires="2026-01-01T00:00:40+00:00")), NOW + 86_400, 40),
    ],
)
def test_no_message_waits_beyond_its_own_end(message: Message, expires: int, longest_s: int) -> None:
    assert waits(message, expires=expires) == longest_s * 1_000_000


def test_a_mandatory_message_does_not_wait() -> None:
    plain = sealed(a_message())
    message = Message(plain.exchange, plain.routing_key, True, plain.header, plain.body, plain.body_sha256)
    verdict = judge(message, a_policy(rates=DELAYING))
    assert isinstance(verdict, Accepted) and verdict.claim is not None
    assert verdict.claim.wait_us == 0


def test_what_is_only_observed_does_not_wait() -> None:
    assert waits(a_message(), a_policy(rates=DELAYING, observe_default=True)) == 0
    assert waits(a_message(), a_policy(rates=DELAYING, rules=(Rule(task="app.*", observe=True),))) == 0
    assert waits(a_message(), a_policy(rates=DELAYING, rules=(Rule(task="b.*", observe=True),))) > 0
