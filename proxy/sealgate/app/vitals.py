"""What there is to know of a running gate, for its own admin address or for its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry

from sealgate.app.facts import process_values
from sealgate.net.upstream import Dialer
from sealgate.ops.health import Health, Report
from sealgate.ops.metrics import TASKS, UPSTREAM_UP, build_registry
from sealgate.ops.sums import to_plain
from sealgate.session.records import Tally
from sealgate.verify.verdict import ClaimStore


class Vitals:
    """Reads, and changes nothing but the checks it adds to `health`, and what a report takes along."""

    def __init__(
        self,
        tally: Tally,
        store: ClaimStore,
        dialer: Dialer,
        health: Health,
        news: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`news` gives what a supervisor is told beside these, and forgets of it what is to be told once."""
        self._tally: Final = tally
        self._store: Final = store
        self._dialer: Final = dialer
        self._health: Final = health
        self._news: Final = news
        health.watch("upstream", self._upstream_trouble)
        states = dialer.states()
        if len(states) > 1:
            for address in states:
                health.watch(f"upstream {address}", partial(self._endpoint_trouble, address), advisory=True)
        health.watch("store", lambda: "" if store.healthy else "unavailable")

    def registry(self) -> CollectorRegistry:
        """Every metric of this process."""
        tasks = {"tasks": (TASKS, _tasks)}
        upstreams = {"upstream_up": (UPSTREAM_UP, "upstream", self._upstreams_up)}
        return build_registry(self._tally, self._store, tasks, upstreams)

    def report(self) -> dict[str, Any]:
        """The same and the checks, as plain data for `app.reports`."""
        return {
            "tally": to_plain(self._tally),
            "store": [self._store.entries, self._store.errors],
            "tasks": _tasks(),
            "upstreams": self._upstreams_up(),
            "process": process_values(),
            **self._news(),
            "live": _plain(self._health.live()),
            "ready": _plain(self._health.ready()),
        }

    def _upstream_trouble(self) -> str:
        if self._dialer.reachable is None:
            return "not tried yet"
        return "" if self._dialer.reachable else "unreachable"

    def _endpoint_trouble(self, address: str) -> str:
        state = self._dialer.states()[address]
        if state.up is None:
            return "not tried yet"
        return "" if state.up else f"down: {state.why}"

    def _upstreams_up(self) -> dict[str, float]:
        """What is known of them; nothing of those that were not tried yet."""
        states = self._dialer.states().items()
        return {address: float(state.up) for address, state in states if state.up is not None}


def _tasks() -> int:
    return len(asyncio.all_tasks())


def _plain(report: Report) -> Mapping[str, Any]:
    return {"checks": dict(report.checks), "advisory": sorted(report.advisory)}
