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
