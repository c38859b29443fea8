from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest

from sealgate.ops.sums import NOW, add, clear, from_plain, to_plain
from sealgate.session.records import Histogram, Tally


def some(value: Any, number: int) -> Any:
    """A value of the same kind that tells of `number`."""
    if isinstance(value, int | float):
        return type(value)(number)
    if isinstance(value, Histogram):
        value.observe(0.0015, number)
        return value
    return value


def full(number: int) -> Tally:
    """Every field with something in it."""
    tally = Tally()
    for field in fields(Tally):
        setattr(tally, field.name, some(getattr(tally, field.name), number))
    tally.messages["publish", "accepted", "ok"] = number
    tally.task_messages["shop.*", "accepted"] = number
    tally.key_messages["k1", "accepted"] = number
    use = tally.use_of("k1")
    use.note(number, 1000.0 + number, 2000 + number, f"user{number}")
    use.clock_skew_s = number / 10
    tally.waited("*", 0.2 * number)
    tally.waited_in_queue("shop.*", number)
    for counts in (tally.quarantined, tally.quarantine_dropped, tally.config_reloads):
        counts["sig.bad"] = number
    tally.delayed["*"] = number
    tally.queue_arguments_limited["x-expires"] = tally.prefetch_limited["max"] = number
    tally.clamped["expires"] = tally.would_clamp["expires"] = number
    tally.limits_hit["channel_max"] = tally.logins["ok"] = number
    return tally


def text(tally: Tally) -> str:
    return json.dumps(to_plain(tally))


def test_every_field_is_filled_by_this_test() -> None:
    """A field that comes later must be thought of here and in `sums`."""
    empty = to_plain(Tally())
    assert [name for name, value in to_plain(full(3)).items() if value == empty[name]] == []


def test_tally_survives_json() -> None:
    tally = full(3)
    again = from_plain(json.loads(text(tally)))
    assert text(again) == text(tally)
    assert again.messages == Counter({("publish", "accepted", "ok"): 3})
    again.messages["publish", "refused", "sig.bad"] += 1
    again.waited("*", 1.0)


def test_counts_and_histograms_are_added_up() -> None:
    total = Tally()
    for number in (3, 4):
        add(total, full(number))
    assert total.messages["publish", "accepted", "ok"] == 7
    assert (total.quarantined["sig.bad"], total.logins["ok"], total.unconfirmed_refusals) == (7, 7, 7)
    assert sum(total.verify_seconds.counts) == 7
    assert total.verify_seconds.total == pytest.approx(7 * 0.0015)
    assert sum(total.rate_wait["*"].counts) == sum(total.queue_wait["shop.*"].counts) == 2
    assert (total.client_connections, total.buffered_bytes) == (7, 7)


@pytest.mark.parametrize("order", [(3, 4), (4, 3)])
def test_of_a_key_the_latest_use_and_its_skew_count(order: tuple[int, int]) -> None:
    total = Tally()
    for number in order:
        add(total, full(number))
    use = total.key_use["k1"]
    assert (use.last_used, use.clock_skew_s, use.expires_latest) == (1004.0, 0.4, 2004)
    assert (use.messages_last_hour(1004.0), use.recent_users()) == (7, ["user3", "user4"])


@pytest.mark.parametrize("order", [(3, 0, 4), (4, 3, 0)])
def test_of_the_sources_of_keys_the_one_that_is_worst_off_counts(order: tuple[int, ...]) -> None:
    total = Tally()
    for number in order:
        add(total, Tally(keys_good_at=100.0 + number, keys_failing_since=float(number)))
    add(total, Tally(keys_good_at=1.0, keys_failing_since=1.0), alive=False)
    add(total, Tally())
    assert (total.keys_good_at, total.keys_failing_since) == (100.0, 3.0)


def test_of_the_dead_only_what_they_counted_is_kept() -> None:
    total = Tally()
    add(total, full(3), alive=False)
    assert {name: getattr(total, name) for name in NOW} == dict.fromkeys(NOW, 0)
    assert total.stripped_headers == 3
    assert total.messages["publish", "accepted", "ok"] == 3


def test_adding_changes_the_sum_alone() -> None:
    one, total = full(3), Tally()
    before = text(one)
    add(total, one)
    add(total, one)
    assert text(one) == before


def test_clearing_leaves_a_new_tally() -> None:
    tally = full(3)
    clear(tally)
    assert text(tally) == text(Tally())
