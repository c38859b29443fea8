"""What a session leaves behind: counts, and a record of each refusal."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Protocol

from sealgate.reason import Reason
from sealgate.session.keyuse import KeyUse

Bounds = tuple[float, ...]

# The lengths are left out of their type: mypyc takes a constant of nothing but floats for one never set.
#: Upper bounds in seconds of `sealgate_verify_seconds`; the last bucket has no bound.
VERIFY_SECONDS_BOUNDS: Final[Bounds] = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.005, 0.02, 0.1)
#: Upper bounds in seconds of `sealgate_rate_wait_seconds`.
RATE_WAIT_SECONDS_BOUNDS: Final[Bounds] = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0)
#: Upper bounds in seconds of `sealgate_queue_wait_seconds`; seals tell whole seconds.
QUEUE_WAIT_SECONDS_BOUNDS: Final[Bounds] = (
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14400.0,
    86400.0,
)
#: Distinct client-chosen names a counter may hold; the rest are counted as "other".
TALLY_NAMES_MAX: Final = 1000


class Histogram:
    """Counts per upper bound, plain integers; `counts` has one more entry than `bounds`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds: Final = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Untold(Protocol):
    """Who has counted what the tally was not told yet: a session that looks at messages."""

    def tell(self) -> None:
        """Put it into the tally, and leave its `untold`."""


@dataclass(slots=True)
class Tally:
    """The process's counters as plain integers, written by sessions and read by `ops`.

    Who reads `messages`, `task_messages`, `key_messages` or `key_use` calls `settle` before: sessions tell of
    what they accept about once a second.
    """

    #: (direction, verdict, reason): direction publish|deliver, verdict accepted|refused|observed|signed.
    messages: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: (configured task name or pattern or "other", verdict)
    task_messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: (kid, verdict), known kids only
    key_messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: kid -> how it was used, known kids only
    key_use: dict[str, KeyUse] = field(default_factory=dict)
    rate_wait: dict[str, Histogram] = field(default_factory=dict)
    #: configured task name or pattern or "other"
    queue_wait: dict[str, Histogram] = field(default_factory=dict)
    verify_seconds: Histogram = field(default_factory=lambda: Histogram(VERIFY_SECONDS_BOUNDS))
    #: bound -> messages it has changed; those it would have changed where rules only observe
    clamped: Counter[str] = field(default_factory=Counter)
    would_clamp: Counter[str] = field(default_factory=Counter)
    #: max|default|connection -> times that a prefetch count was changed
    prefetch_limited: Counter[str] = field(default_factory=Counter)
    #: Deliveries that consumers may leave unacknowledged, as far as they are bounded.
    prefetch_granted: int = 0
    #: bucket -> messages that went through a queue where messages over its rate wait
    delayed: Counter[str] = field(default_factory=Counter)
    #: argument of a reply queue -> times it was lowered or put in, "observed" for times it would have been
    queue_arguments_limited: Counter[str] = field(default_factory=Counter)
    #: Messages that were sent to a park queue.
    parked: int = 0
    stripped_headers: int = 0
    unconfirmed_refusals: int = 0
    #: reason -> refusals the broker confirmed in quarantine; those dropped because it was full or away
    quarantined: Counter[str] = field(default_factory=Counter)
    quarantine_dropped: Counter[str] = field(default_factory=Counter)
    #: ok|failed
    config_reloads: Counter[str] = field(default_factory=Counter)
    #: limit name -> times hit
    limits_hit: Counter[str] = field(default_factory=Counter)
    #: How logins ended: accounts.login.LoginResult -> count
    logins: Counter[str] = field(default_factory=Counter)
    #: When the source of the keys was last found good, and since when it fails: Unix seconds, 0 for never.
    keys_good_at: float = 0.0
    keys_failing_since: float = 0.0
    client_connections: int = 0
    upstream_connections: int = 0
    buffered_bytes: int = 0
    #: One for each connection at most, which leaves when it ends.
    untold: set[Untold] = field(default_factory=set)

    def settle(self) -> None:
        """Have everything told that was counted so far."""
        for session in list(self.untold):
            session.tell()

    def use_of(self, kid: str) -> KeyUse:
        """What is known of the use of a key, to be added to."""
        use = self.key_use.get(kid)
        if use is None:
            use = self.key_use[kid] = KeyUse()
        return use

    def delayed_by(self, bucket: str, seconds: float) -> None:
        """Count a message that waits `seconds` in the broker for `bucket`, or only behind others that do."""
        self.delayed[bucket] += 1
        if seconds:
            self.waited(bucket, seconds)

    def waited_in_queue(self, task: str, seconds: float) -> None:
        """Count how long a task waited from its seal to its delivery, by a configured name."""
        histogram = self.queue_wait.get(task)
        if histogram is None:
            histogram = self.queue_wait[task] = Histogram(QUEUE_WAIT_SECONDS_BOUNDS)
        histogram.observe(seconds)

    def waited(self, bucket: str, seconds: float) -> None:
        """Count a token wait of `seconds` that `bucket` asked for."""
        histogram = self.rate_wait.get(bucket)
        if histogram is None:
            histogram = self.rate_wait[bucket] = Histogram(RATE_WAIT_SECONDS_BOUNDS)
        histogram.observe(seconds)


@dataclass(slots=True, frozen=True)
class ClampRecord:
    """One message that its `bounds` have changed, or would have (`observed`)."""

    bounds: tuple[str, ...]
    observed: bool
    kid: str
    task: str
    vhost: str
    user: str
    client: str


@dataclass(slots=True, frozen=True)
class RefusalRecord:
    """One refused publication, for quarantine and audit. Only quarantine may look at `method` and below.

    `method` and `header` are frame payloads as received, `body` what was received of the body (empty when it
    was refused on its header: then `body_size` is what the header declared and `complete` is false).
    """

    reason: Reason
    detail: str
    kid: str
    task: str
    exchange: str
    routing_key: str
    vhost: str
    user: str
    client: str
    channel: int
    at: float
    observed: bool
    answer: str
    body_size: int
    complete: bool
    method: bytes = field(repr=False)
    header: bytes = field(repr=False)
    body: bytes = field(repr=False)
    #: publish, or deliver: then `method` is a publish to the target it was delivered with.
    direction: str = "publish"
