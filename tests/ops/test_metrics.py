from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sealgate.ops import metrics
from sealgate.ops.metrics import build_registry, exposition
from sealgate.session.records import RATE_WAIT_SECONDS_BOUNDS, VERIFY_SECONDS_BOUNDS, Tally

#: The names of DESIGN.md, "The contract", and those this room adds.
SERIES = {
    "sealgate_messages_total",
    "sealgate_task_messages_total",
    "sealgate_verify_seconds_bucket",
    "sealgate_verify_seconds_count",
    "sealgate_verify_seconds_sum",
    "sealgate_key_messages_total",
    "sealgate_key_last_used_timestamp_seconds",
    "sealgate_key_seal_expires_latest_timestamp_seconds",
    "sealgate_producer_clock_skew_seconds",
    "sealgate_delayed_total",
    "sealgate_parked_total",
    "sealgate_rate_wait_seconds_bucket",
    "sealgate_rate_wait_seconds_count",
    "sealgate_rate_wait_seconds_sum",
    "sealgate_queue_wait_seconds_bucket",
    "sealgate_queue_wait_seconds_count",
    "sealgate_queue_wait_seconds_sum",
    "sealgate_replay_store_errors_total",
    "sealgate_replay_store_entries",
    "sealgate_client_connections",
    "sealgate_upstream_connections",
    "sealgate_buffered_bytes",
    "sealgate_unconfirmed_refusals_total",
    "sealgate_quarantined_total",
    "sealgate_quarantine_dropped_total",
    "sealgate_clamped_total",
    "sealgate_prefetch_limited_total",
    "sealgate_prefetch_granted",
    "sealgate_queue_arguments_limited_total",
    "sealgate_would_clamp_total",
    "sealgate_stripped_headers_total",
    "sealgate_limits_hit_total",
    "sealgate_config_reloads_total",
    "sealgate_logins_total",
    "sealgate_keyring_age_seconds",
    "sealgate_keyring_failing_since_timestamp_seconds",
    "sealgate_build_info",
}


class Store:
    """What the metrics ask of a claim store."""

    entries = 42
    errors = 3


def full_tally() -> Tally:
    tally = Tally()
    tally.messages["publish", "accepted", "ok"] = 5
    tally.messages["publish", "refused", "sig.bad"] = 2
    tally.task_messages["shop.*", "accepted"] = 5
    tally.key_messages["k1", "accepted"] = 5
    tally.use_of("k1").note(1, 1_700_000_000.5, 1_700_086_400, "web")
    tally.use_of("k1").clock_skew_s = -0.25
    tally.verify_seconds.observe(0.00003, 4)
    tally.verify_seconds.observe(7.0)
    tally.waited('odd "name"\\', 0.02)
    tally.delayed["*"] += 1
    tally.waited_in_queue("shop.*", 2.5)
    tally.clamped["expires"] = 3
    tally.prefetch_limited["max"] = 2
    tally.prefetch_granted = 70
    tally.queue_arguments_limited["x-expires"] = 5
    tally.would_clamp["priority"] = 4
    tally.stripped_headers = 6
    tally.unconfirmed_refusals = 7
    tally.quarantined["sig.bad"] = 8
    tally.quarantine_dropped["sig.bad"] = 9
    tally.config_reloads["ok"] = 10
    tally.limits_hit["connections"] = 11
    tally.logins["password"] = 15
    tally.client_connections = 12
    tally.upstream_connections = 13
    tally.buffered_bytes = 14
    tally.keys_good_at = 1_700_000_000.0
    tally.keys_failing_since = 1_700_000_002.0
    return tally


def text_of(tally: Tally) -> str:
    registry = build_registry(tally, Store(), {})  # type: ignore[arg-type]
    return exposition(registry, "")[0].decode()


def test_labelled_gauges_are_asked_at_each_scrape() -> None:
    up = {"one:5672": 1.0}
    registry = build_registry(Tally(), None, {}, {"upstream_up": ("Up.", "upstream", lambda: up)})
    up["two:5672"] = 0.0
    text = exposition(registry, "")[0].decode()
    assert 'sealgate_upstream_up{upstream="one:5672"} 1.0' in text
    assert 'sealgate_upstream_up{upstream="two:5672"} 0.0' in text


def test_age_of_the_keyring_is_the_time_since_its_source_was_good(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = full_tally()
    monkeypatch.setattr(metrics.time, "time", lambda: 1_700_000_060.5)
    assert value(tally, "keyring_age_seconds") == 60.5
    assert value(tally, "keyring_failing_since_timestamp_seconds") == 1_700_000_002.0


def test_where_no_keys_are_used_there_is_no_age() -> None:
    assert not [name for name, _ in samples(text_of(Tally())) if "keyring" in name]


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(tally: Tally, name: str, **labels: str) -> float:
    return samples(text_of(tally))["sealgate_" + name, tuple(sorted(labels.items()))]


def test_exactly_the_names_of_the_contract_are_there() -> None:
    names = {name for name, _ in samples(text_of(full_tally()))}
    assert {name for name in names if name.startswith("sealgate_")} == SERIES
    assert "process_cpu_seconds_total" in names


def test_an_empty_tally_still_declares_every_metric() -> None:
    declared = {
        line.split()[2] for line in text_of(Tally()).splitlines() if line.startswith("# TYPE sealgate_")
    }
    endings = ("_bucket", "_count", "_sum")
    assert declared == {name for name in SERIES if not name.endswith(endings)} | {
        "sealgate_verify_seconds",
        "sealgate_rate_wait_seconds",
        "sealgate_queue_wait_seconds",
    }


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("messages_total", {"direction": "publish", "verdict": "refused", "reason": "sig.bad"}, 2),
        ("task_messages_total", {"task": "shop.*", "verdict": "accepted"}, 5),
        ("key_messages_total", {"kid": "k1", "verdict": "accepted"}, 5),
        ("key_last_used_timestamp_seconds", {"kid": "k1"}, 1_700_000_000.5),
        ("key_seal_expires_latest_timestamp_seconds", {"kid": "k1"}, 1_700_086_400.0),
        ("producer_clock_skew_seconds", {"kid": "k1"}, -0.25),
        ("clamped_total", {"bound": "expires"}, 3),
        ("prefetch_limited_total", {"how": "max"}, 2),
        ("prefetch_granted", {}, 70),
        ("queue_arguments_limited_total", {"argument": "x-expires"}, 5),
        ("would_clamp_total", {"bound": "priority"}, 4),
        ("stripped_headers_total", {}, 6),
        ("unconfirmed_refusals_total", {}, 7),
        ("quarantined_total", {"reason": "sig.bad"}, 8),
        ("quarantine_dropped_total", {"reason": "sig.bad"}, 9),
        ("config_reloads_total", {"result": "ok"}, 10),
        ("limits_hit_total", {"limit": "connections"}, 11),
        ("client_connections", {}, 12),
        ("upstream_connections", {}, 13),
        ("buffered_bytes", {}, 14),
        ("replay_store_entries", {}, 42),
        ("replay_store_errors_total", {}, 3),
        ("queue_wait_seconds_sum", {"task": "shop.*"}, 2.5),
        ("rate_wait_seconds_count", {"bucket": 'odd "name"\\'}, 1),
    ],
)
def test_a_count_is_shown_under_its_labels(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(full_tally(), name, **labels) == expected


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    tally = full_tally()
    assert value(tally, "verify_seconds_bucket", le="2e-05") == 0
    assert value(tally, "verify_seconds_bucket", le="5e-05") == 4
    assert value(tally, "verify_seconds_bucket", le="0.1") == 4
    assert value(tally, "verify_seconds_bucket", le="+Inf") == 5
    assert value(tally, "verify_seconds_count") == 5
    assert value(tally, "verify_seconds_sum") == pytest.approx(7.00012)


def test_every_bound_is_a_bucket() -> None:
    text = text_of(full_tally())
    assert text.count("sealgate_verify_seconds_bucket") == len(VERIFY_SECONDS_BOUNDS) + 1
    assert text.count("sealgate_rate_wait_seconds_bucket") == len(RATE_WAIT_SECONDS_BOUNDS) + 1


def test_no_metric_has_more_series_than_its_limit_and_no_count_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "SERIES_MAX", 3)
    tally = Tally()
    for number in range(10):
        tally.task_messages[f"t{number}", "accepted"] = 1
        tally.use_of(f"k{number}").note(1, 1.0, 0, "")
    found = samples(text_of(tally))
    counts = {labels: count for (name, labels), count in found.items() if "task_messages" in name}
    assert len(counts) == 4
    assert counts[("task", "other"), ("verdict", "other")] == 7
    assert sum(counts.values()) == 10
    assert sum("last_used" in name for name, _ in found) == 3


def test_gauges_are_asked_at_each_scrape() -> None:
    values = iter([1.0, 2.0])
    registry = build_registry(Tally(), None, {"pending": ("Waiting.", lambda: next(values))})
    for expected in (1.0, 2.0):
        found = samples(exposition(registry, "")[0].decode())
        assert found["sealgate_pending", ()] == expected
        assert ("sealgate_replay_store_entries", ()) not in found


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    registry = build_registry(full_tally(), Store(), {})  # type: ignore[arg-type]
    body, content_type = exposition(registry, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(body.decode())}
    assert "sealgate_messages" in families


def test_registries_do_not_meet() -> None:
    build_registry(Tally(), None, {})
    build_registry(Tally(), None, {})


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("tally", [Tally(), full_tally()])
def test_promtool_finds_nothing_to_say(tally: Tally) -> None:
    ours = "".join(line + "\n" for line in text_of(tally).splitlines() if "sealgate_" in line)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
