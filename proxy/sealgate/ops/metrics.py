"""The process's counters as Prometheus metrics (DESIGN.md, "The contract": these names are public).

The counters are plain integers in a `Tally`, because a client-library counter costs ten times as much on
the data path; they become metrics only when somebody asks.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, islice
from typing import Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sealgate import __version__
from sealgate.session.records import Histogram, Tally
from sealgate.variant import core_variant

#: Label sets of one metric. Every set is of configured or closed names already; this is the second lock.
SERIES_MAX: Final = 2000
OTHER: Final = "other"

#: Before every name (DESIGN.md, "The contract").
PREFIX: Final = "sealgate_"

#: Help of the gauges that `app` brings.
TASKS: Final = "Tasks of the event loop; they do not grow with clients."
UPSTREAM_UP: Final = "Whether a broker could be reached when it was tried last."

Labels = tuple[str, ...]
Gauges = Mapping[str, tuple[str, Callable[[], float]]]
#: Name without prefix -> (help, label, value by label).
LabelledGauges = Mapping[str, tuple[str, str, Callable[[], Mapping[str, float]]]]
V = TypeVar("V")


class StoreCounts(Protocol):
    """What is asked of a replay store, or of the sum of several."""

    @property
    def entries(self) -> int: ...

    @property
    def errors(self) -> int: ...


def build_registry(
    tally: Tally, store: StoreCounts | None, gauges: Gauges, labelled: LabelledGauges | None = None
) -> CollectorRegistry:
    """A registry of its own with our metrics and the process's.

    `gauges` and `labelled` are further ones, asked at each scrape: name without prefix -> (help, value), and
    (help, label, value by label).
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TallyCollector(tally, store, gauges, labelled or {}))
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """(body, content type) of a scrape, in the format the `Accept` header asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class TallyCollector(Collector):
    """Yields every metric of the contract, whether or not it was counted yet."""

    def __init__(
        self,
        tally: Tally,
        store: StoreCounts | None,
        gauges: Gauges,
        labelled: LabelledGauges,
    ) -> None:
        self._tally = tally
        self._store = store
        self._gauges = gauges
        self._labelled = labelled

    def collect(self) -> Iterator[Metric]:
        self._tally.settle()
        yield from self._messages()
        yield from self._keys()
        yield from self._times()
        yield from self._quarantine()
        yield from self._process()
        if self._store is not None:
            yield from _store(self._store)

    def _messages(self) -> Iterator[Metric]:
        tally = self._tally
        yield _counter(
            "messages",
            "Messages by direction, verdict and reason.",
            ("direction", "verdict", "reason"),
            tally.messages.items(),
        )
        yield _counter(
            "task_messages",
            "Messages by configured task name and verdict.",
            ("task", "verdict"),
            tally.task_messages.items(),
        )
        yield _counter(
            "clamped",
            "Messages that a bound has changed.",
            ("bound",),
            _single(tally.clamped),
        )
        yield _counter(
            "would_clamp",
            "Messages that a bound would have changed, where rules only observe.",
            ("bound",),
            _single(tally.would_clamp),
        )
        yield _counter(
            "prefetch_limited",
            "Times a consumer's prefetch count was lowered, or set where there was none.",
            ("how",),
            _single(tally.prefetch_limited),
        )
        yield _counter(
            "queue_arguments_limited",
            "Times an argument of a reply queue was lowered, or put in.",
            ("argument",),
            _single(tally.queue_arguments_limited),
        )
        yield _counter(
            "stripped_headers",
            "Headers that only a broker may write, taken off what clients sent.",
            (),
            [((), tally.stripped_headers)],
        )
        yield _counter(
            "limits_hit",
            "Times a configured limit was reached.",
            ("limit",),
            _single(tally.limits_hit),
        )

    def _keys(self) -> Iterator[Metric]:
        tally = self._tally
        used = tally.key_use.items()
        yield _counter(
            "key_messages", "Messages by key and verdict.", ("kid", "verdict"), tally.key_messages.items()
        )
        yield _gauge(
            "key_last_used_timestamp_seconds",
            "When a key last signed or verified a message, in Unix seconds.",
            ("kid",),
            [((kid,), use.last_used) for kid, use in used if use.last_used],
        )
        yield _gauge(
            "key_seal_expires_latest_timestamp_seconds",
            "The latest end of a key's seals that were found good or made here, in Unix seconds.",
            ("kid",),
            [((kid,), use.expires_latest) for kid, use in used if use.expires_latest],
        )
        yield _gauge(
            "producer_clock_skew_seconds",
            "Created time of the newest message of a key less the time here.",
            ("kid",),
            [((kid,), use.clock_skew_s) for kid, use in used if use.clock_skew_s is not None],
        )

        # Where no keys are used there is no age.
        ages = [((), max(time.time() - tally.keys_good_at, 0.0))] if tally.keys_good_at else []
        yield _gauge(
            "keyring_age_seconds", "Time since the source of the keys was last found good.", (), ages
        )
        yield _gauge(
            "keyring_failing_since_timestamp_seconds",
            "Since when the source of the keys fails, in Unix seconds; 0 while it does not.",
            (),
            [((), tally.keys_failing_since)] if ages else [],
        )

    def _times(self) -> Iterator[Metric]:
        tally = self._tally
        yield _histogram(
            "verify_seconds",
            "Time taken by all checks of one message.",
            (),
            [((), tally.verify_seconds)],
        )
        yield _histogram(
            "queue_wait_seconds",
            "Time from a task's seal, or its ETA where that has passed, to its first delivery.",
            ("task",),
            _single(tally.queue_wait),
        )
        yield _histogram(
            "rate_wait_seconds",
            "Time until a rate limit has the tokens of a message that waits or is refused for them.",
            ("bucket",),
            _single(tally.rate_wait),
        )

        yield _counter(
            "delayed",
            "Messages that wait in the broker for their rate, or behind others that do.",
            ("bucket",),
            _single(tally.delayed),
        )
        yield _counter(
            "parked",
            "Messages that were sent to a park queue, as their task is paused.",
            (),
            [((), tally.parked)],
        )

    def _quarantine(self) -> Iterator[Metric]:
        tally = self._tally
        yield _counter(
            "quarantined",
            "Refused messages that the broker confirmed to be in quarantine.",
            ("reason",),
            _single(tally.quarantined),
        )
        yield _counter(
            "quarantine_dropped",
            "Refused messages that did not get into quarantine.",
            ("reason",),
            _single(tally.quarantine_dropped),
        )
        yield _counter(
            "unconfirmed_refusals",
            "Refusals that could not be told to the client: its channel has no confirms.",
            (),
            [((), tally.unconfirmed_refusals)],
        )

    def _process(self) -> Iterator[Metric]:
        tally = self._tally
        yield _counter("config_reloads", "Reloads by result.", ("result",), _single(tally.config_reloads))
        yield _counter(
            "logins",
            "Logins by result.",
            ("result",),
            _single(tally.logins),
        )
        own: dict[str, tuple[str, float]] = {
            "client_connections": ("Client connections open now.", tally.client_connections),
            "upstream_connections": ("Connections to the broker open now.", tally.upstream_connections),
            "buffered_bytes": ("Bytes of messages held now.", tally.buffered_bytes),
            "prefetch_granted": (
                "Deliveries that consumers may leave unacknowledged.",
                tally.prefetch_granted,
            ),
        }
        injected = {name: (text, value()) for name, (text, value) in self._gauges.items()}
        for name, (text, value) in {**own, **injected}.items():
            yield _gauge(name, text, (), [((), value)])
        for name, (text, label, values) in self._labelled.items():
            yield _gauge(name, text, (label,), _single(values()))
        labels = ("version", "python", "implementation", "core")
        build = (__version__, platform.python_version(), platform.python_implementation(), core_variant())
        yield _gauge("build_info", "What runs here.", labels, [(build, 1.0)])


def _store(store: StoreCounts) -> Iterator[Metric]:
    yield _counter("replay_store_errors", "Calls of the replay store that failed.", (), [((), store.errors)])
    yield _gauge("replay_store_entries", "Nonces remembered in this process.", (), [((), store.entries)])


def _single(counts: Mapping[str, V]) -> list[tuple[Labels, V]]:
    """Rows of a metric with one label."""
    return [((label,), value) for label, value in counts.items()]


def _counter(
    name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, float]]
) -> CounterMetricFamily:
    """Rows beyond the limit are added up under `other`, so that no count is lost."""
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    ordered = iter(rows)
    for values, count in islice(ordered, SERIES_MAX):
        family.add_metric(values, count)
    rest = sum(count for _, count in ordered)
    if rest:
        family.add_metric((OTHER,) * len(labels), rest)
    return family


def _gauge(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in islice(rows, SERIES_MAX):
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for values, histogram in islice(rows, SERIES_MAX):
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(values, buckets, histogram.total)
    return family
