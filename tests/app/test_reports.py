from __future__ import annotations

from typing import Any

from sealgate.app.reports import Report, Sum
from sealgate.ops.sums import to_plain
from sealgate.session.records import Tally


def report(accepted: int, clients: int = 0, up: float = 1.0, **more: Any) -> Report:
    tally = Tally()
    tally.messages["publish", "accepted", "ok"] = accepted
    tally.client_connections = clients
    return Report(
        {
            "tally": to_plain(tally),
            "store": [3, 1],
            "tasks": 5,
            "observed": [],
            "parking": {"wanted": [], "empty": []},
            "keys": {"source": "env:K", "keys": []},
            "upstreams": {"b:5672": up},
            "process": {"process_cpu_seconds_total": 2.0, "process_start_time_seconds": 9.0},
            "live": {"checks": {"loop": ""}, "advisory": []},
            "ready": {"checks": {"store": "unavailable", "keyring": "broken"}, "advisory": ["keyring"]},
            "listening": True,
            **more,
        }
    )


def accepted(total: Sum) -> int:
    return total.tally.messages["publish", "accepted", "ok"]


def test_sum_is_of_those_who_live_and_does_not_grow_by_looking() -> None:
    total = Sum()
    for _ in range(2):
        total.update([report(10, 2), report(5, 1)])
        assert (accepted(total), total.tally.client_connections) == (15, 3)
        assert (total.entries, total.errors, total.tasks) == (6, 2, 10)
        assert total.process == {"process_cpu_seconds_total": 4.0}


def test_what_the_dead_counted_is_kept() -> None:
    total = Sum()
    total.bury(report(10, 2))
    total.update([report(5, 1), report(1)])
    assert (accepted(total), total.tally.client_connections) == (16, 1)
    assert (total.entries, total.errors) == (6, 3)
    assert total.process["process_cpu_seconds_total"] == 6.0
    total.bury(report(5))
    total.update([])
    assert (accepted(total), total.errors, total.entries) == (15, 2, 0)


def test_tally_stays_the_same_object() -> None:
    total = Sum()
    tally = total.tally
    total.update([report(1)])
    assert total.tally is tally


def test_broker_that_one_worker_can_not_reach_is_down() -> None:
    total = Sum()
    total.update([report(1), report(1, up=0.0), report(1)])
    assert total.upstreams == {"b:5672": 0.0}


def test_checks_keep_what_is_only_a_remark() -> None:
    ready = report(1).ready
    assert (ready.failing, ready.ok) == (["store"], False)


def test_evidence_of_a_key_is_kept_of_the_dead_until_no_worker_has_it() -> None:
    tally = Tally()
    tally.use_of("k1").note(2, 1000.0, 5000, "web")
    key = {
        "kid": "k1",
        "alg": "hmac-sha256",
        "state": "active",
        "can_sign": True,
        "not_before": None,
        "not_after": None,
        "max_lifetime_s": 60,
        "known_since": 1.0,
        "state_since": 1.0,
    }
    having = {"keys": {"source": "env:K", "keys": [key]}}
    total = Sum()
    total.bury(report(1, tally=to_plain(tally), **having))
    total.update([report(1), report(1, tally=to_plain(tally), **having)])
    assert total.tally.key_use["k1"].messages_last_hour(1000.0) == 4
    total.update([])
    assert total.tally.key_use["k1"].expires_latest == 5000, "nobody is there to ask"
    total.update([report(1)])
    assert total.tally.key_use == {}
