"""Queues that hold publications for a while: what is sent there instead of to its target.

The publication keeps its place on the client's own channel, and the broker's confirm of it is the client's.
The broker itself brings it on: such a queue dead-letters to where the publication was going, when its time
there is over (a wait queue), or when a consumer of the gateway's rejects it (a park queue). Nothing is
published a second time, and nothing of it is encoded anew but the expiration.

Who holds something makes a `Detour` and calls `detours.Detours.hold`; all else is done here and in `detours`:
the queue is declared before it is first used (`DeclareQueue`, `QueueDeclared`), and declared again while it
is in use, so that the broker does not let it go.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sealgate.reason import Reason
from sealgate.verify.verdict import Claim, ClaimOutcome
from sealgate.wire.methods import Publish

#: How queues that hold something are called: consumers that verify know them by it in `x-death`.
WAIT_PREFIX: Final = "sealgate.wait."
PARK_PREFIX: Final = "sealgate.park."
HOLDING_PREFIXES: Final = (WAIT_PREFIX, PARK_PREFIX)
#: A queue is declared again before it is used after so long, seconds: `HoldingQueue.expires_ms` counts from
#: its last declaration, and must be longer than this and the longest wait together.
FRESH_S: Final = 300.0
_MILLISECONDS: Final = 1000
_MICROSECONDS: Final = 1_000_000
_DIGEST_BYTES: Final = 16


@dataclass(slots=True, frozen=True)
class HoldingQueue:
    """A durable queue that dead-letters to `exchange` with `routing_key`.

    `quorum`: a quorum queue that dead-letters at least once; else a classic one. The broker forgets it, with
    all that is in it, when it was not declared for `expires_ms` milliseconds (0: never). `paused_by` is the
    pattern for which it parks messages, "" for a wait queue.
    """

    name: str
    exchange: str
    routing_key: str
    quorum: bool = False
    expires_ms: int = 0
    paused_by: str = ""

    def arguments(self) -> dict[str, str | int]:
        """Of `queue.declare`."""
        arguments: dict[str, str | int] = {
            "x-dead-letter-exchange": self.exchange,
            "x-dead-letter-routing-key": self.routing_key,
        }
        if self.quorum:
            arguments["x-queue-type"] = "quorum"
            arguments["x-dead-letter-strategy"] = "at-least-once"
            # What at-least-once asks for (RabbitMQ, "Quorum Queues").
            arguments["x-overflow"] = "reject-publish"
            if self.paused_by:
                # Quorum queues know no exclusive consumers: two would split the order of the messages.
                arguments["x-single-active-consumer"] = True
        if self.expires_ms:
            arguments["x-expires"] = self.expires_ms
        return arguments


@dataclass(slots=True, frozen=True)
class Detour:
    """That a publication goes to `queue`, and stays there until `until` (monotonic seconds; None: until it is
    fetched). `refusal` is told when the queue can not be had.

    `bucket` is what it waits for, and `wait_s` how long, if it does.
    """

    queue: HoldingQueue
    until: float | None = None
    refusal: Reason = Reason.RATE_TASK
    bucket: str = ""
    wait_s: float = 0.0


@dataclass(slots=True, frozen=True)
class Waits:
    """What wait queues are like. `expires_ms` is as in `HoldingQueue`."""

    quorum: bool = False
    expires_ms: int = 0

    def detour(self, vhost: str, publish: Publish, claim: Claim, outcome: ClaimOutcome, now: float) -> Detour:
        """Of a message that was granted its tokens ahead at `now` (monotonic seconds).

        Messages with the same buckets and target share a queue: their slots rise in the order in which they
        were granted, as the broker looks at the first one only.
        """
        queue = HoldingQueue(
            WAIT_PREFIX + self._digest(vhost, publish, claim),
            publish.exchange,
            publish.routing_key,
            self.quorum,
            self.expires_ms,
        )
        wait_s = outcome.wait_us / _MICROSECONDS
        bucket = outcome.bucket or claim.debits[0].bucket.name
        return Detour(queue, now + wait_s, Reason.RATE_TASK, bucket, wait_s)

    def park(self, vhost: str, publish: Publish, pattern: str) -> Detour:
        """Of a message whose task `pattern` pauses: all of them with the same target share a queue.

        The broker does not forget such a queue, however long the pause.
        """
        digest = _digest_of([str(self.quorum), vhost, publish.exchange, publish.routing_key, pattern])
        name = PARK_PREFIX + digest
        queue = HoldingQueue(name, publish.exchange, publish.routing_key, self.quorum, 0, pattern)
        return Detour(queue, refusal=Reason.RATE_SHED)

    def _digest(self, vhost: str, publish: Publish, claim: Claim) -> str:
        """Also of what the queue is like: another configuration has other queues."""
        parts = [str(self.quorum), str(self.expires_ms), vhost, publish.exchange, publish.routing_key]
        for debit in claim.debits:
            parts.append(debit.bucket.state)
            parts.append("" if debit.spare is None else debit.spare.state)
        return _digest_of(parts)


def _digest_of(parts: list[str]) -> str:
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return sha256(text.encode()).digest()[:_DIGEST_BYTES].hex()


class ReadyQueues:
    """The queues that this process has declared of late, and may use: at most `count_max`."""

    __slots__ = ("_declared", "count_max")

    def __init__(self, count_max: int = 1000) -> None:
        self.count_max: Final = count_max
        #: (broker, virtual host, name) -> the queue, when it was declared, and when the broker forgets it;
        #: oldest first.
        self._declared: Final[dict[tuple[str, str, str], tuple[HoldingQueue, float, float]]] = {}

    def __len__(self) -> int:
        return len(self._declared)

    def fresh(self, broker: str, vhost: str, name: str, now: float) -> bool:
        """Whether it may be used at `now` (monotonic seconds) as it is."""
        declared = self._declared.get((broker, vhost, name))
        return declared is not None and now - declared[1] < FRESH_S

    def has_room(self, broker: str, vhost: str, name: str, now: float) -> bool:
        """Whether it may be declared: it is known, or there are not too many."""
        if len(self._declared) >= self.count_max:
            # A queue that the broker never forgets may stand before others that are gone.
            for key, (_, _, gone_at) in list(self._declared.items()):
                if now >= gone_at:
                    del self._declared[key]
        return (broker, vhost, name) in self._declared or len(self._declared) < self.count_max

    def note(self, broker: str, vhost: str, queue: HoldingQueue, now: float) -> None:
        """It was declared at `now`."""
        key = (broker, vhost, queue.name)
        self._declared.pop(key, None)
        gone_at = now + queue.expires_ms / _MILLISECONDS if queue.expires_ms else float("inf")
        self._declared[key] = (queue, now, gone_at)

    def find(self, broker: str, vhost: str, name: str) -> HoldingQueue | None:
        """The queue of this name, if it was declared."""
        declared = self._declared.get((broker, vhost, name))
        return None if declared is None else declared[0]

    def forget(self, broker: str, vhost: str, name: str) -> None:
        """It is not there any more. What else was sent there may still come back."""
        key = (broker, vhost, name)
        declared = self._declared.get(key)
        if declared is not None:
            self._declared[key] = (declared[0], -FRESH_S, declared[2])
