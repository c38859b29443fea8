"""The keys in force as metrics: their state, and when they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealgate.ops.keys import RingFacts
from sealgate.ops.metrics import PREFIX, SERIES_MAX

_REVOKED: Final = "revoked"


class KeyCollector(Collector):
    """`ring` gives the keys that are in force: configured names, so that their number is an operator's."""

    def __init__(self, ring: Callable[[], RingFacts]) -> None:
        self._ring: Final = ring

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            f"{PREFIX}key_info", "A key that is in force, and its state.", labels=["kid", "alg", "state"]
        )
        ends = GaugeMetricFamily(
            f"{PREFIX}key_not_after_timestamp_seconds",
            "When a key ends that is not revoked, in Unix seconds; nothing for one that has no end.",
            labels=["kid"],
        )
        for key in islice(self._ring().keys, SERIES_MAX):
            info.add_metric([key.kid, key.alg, key.state], 1)
            if key.not_after is not None and key.state != _REVOKED:
                ends.add_metric([key.kid], key.not_after)
        yield from (info, ends)
