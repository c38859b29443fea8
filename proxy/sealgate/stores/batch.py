"""What one call to Redis says, and how its reply is checked. Pure: arguments out, outcomes in.

An owner is 16 hexadecimal digits on the wire. It names the lease and is echoed with each outcome, so that a
reply that belongs to another call can not pass for this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sealgate.verify.bucket import interval_us
from sealgate.verify.verdict import GRANTED, Claim, ClaimOutcome, ClaimStatus

Argument = bytes | int | str
Answer = Callable[[list[ClaimOutcome]], None]

COMMIT: Final = "C"
RELEASE: Final = "R"
RENEW: Final = "N"

#: By the numbers that claim.lua returns.
_STATUSES: Final = (
    ClaimStatus.GRANTED,
    ClaimStatus.INFLIGHT,
    ClaimStatus.DUPLICATE,
    ClaimStatus.CONFLICT,
    ClaimStatus.LIMITED,
    ClaimStatus.COST,
    ClaimStatus.FULL,
    ClaimStatus.HORIZON,
)
#: Fields per claim in the reply of claim.lua, after the first two.
_REPLY_FIELDS: Final = 4


class ReplyMismatch(Exception):  # noqa: N818
    """The reply is not the one to this call: the connection can not be trusted any more."""


@dataclass(slots=True)
class Waiting:
    """The claims of one `claim` call until the last has its outcome."""

    answer: Answer
    outcomes: list[ClaimOutcome | None]
    missing: int


@dataclass(slots=True)
class Ask:
    """One claim on its way: `index` is its place in `waiting`, `deadline` on the loop's clock.

    `sent` is true once it may have reached the store.
    """

    claim: Claim
    owner: int
    waiting: Waiting
    index: int
    deadline: float
    sent: bool = False


class Settlement(NamedTuple):
    """One step for settle.lua, with the owner as it was when it was asked for."""

    what: str
    claim: Claim
    owner: int


class KeySpace:
    """Names of keys. The deployment is in braces: one hash slot, so that scripts may use them together."""

    __slots__ = ("_prefix", "identity")

    def __init__(self, deployment: str) -> None:
        self._prefix: Final = b"sealgate:{%b}:" % deployment.encode()
        self.identity: Final = self._prefix + b"identity"

    def nonce(self, nonce_key: bytes) -> bytes:
        return self._prefix + b"n:" + nonce_key

    def bucket(self, name: str) -> bytes:
        return self._prefix + b"b:" + name.encode()


class ClaimCall:
    """Keys and arguments of claim.lua for `asks` (see there), and the reading of its reply."""

    __slots__ = ("_asks", "_bucket_names", "_call_id", "arguments", "keys")

    def __init__(self, call_id: int, keyspace: KeySpace, head: Sequence[Argument], asks: list[Ask]) -> None:
        self._call_id: Final = b"%d" % call_id
        self._asks: Final = asks
        self._bucket_names: Final[dict[int, str]] = {}
        self.keys: Final[list[bytes]] = [keyspace.identity]
        self.arguments: Final[list[Argument]] = [self._call_id, *head, len(asks)]
        indexes: dict[str, int] = {}
        for ask in asks:
            self._add(ask, keyspace, indexes)

    def _add(self, ask: Ask, keyspace: KeySpace, indexes: dict[str, int]) -> None:
        claim = ask.claim
        nonce_index = 0
        if claim.nonce_key:
            self.keys.append(keyspace.nonce(claim.nonce_key))
            nonce_index = len(self.keys)
        head = (owner_text(ask.owner), nonce_index, claim.digest, claim.created, claim.remember_until)
        self.arguments.extend((*head, len(claim.debits)))
        for debit in claim.debits:
            bucket = debit.bucket
            index = indexes.get(bucket.name)
            if index is None:
                self.keys.append(keyspace.bucket(bucket.name))
                index = indexes[bucket.name] = len(self.keys)
                self._bucket_names[index] = bucket.name
            interval = interval_us(bucket)
            self.arguments.extend((index, debit.cost * interval, bucket.burst * interval))

    def read(self, reply: object) -> tuple[int, list[ClaimOutcome]]:
        """Keys in the database and one outcome per ask. Raises `ReplyMismatch`."""
        size = 2 + _REPLY_FIELDS * len(self._asks)
        if not isinstance(reply, list) or len(reply) != size or reply[0] != self._call_id:
            raise ReplyMismatch("the reply to the claims is not theirs")
        outcomes = []
        for number, ask in enumerate(self._asks):
            start = 2 + _REPLY_FIELDS * number
            owner, status, bucket, wait_us = reply[start : start + _REPLY_FIELDS]
            if owner != owner_text(ask.owner) or status not in range(len(_STATUSES)):
                raise ReplyMismatch("the reply to a claim is not its own")
            outcomes.append(self._outcome(_STATUSES[status], bucket, wait_us))
        return reply[1], outcomes

    def _outcome(self, status: ClaimStatus, bucket: int, wait_us: int) -> ClaimOutcome:
        if status is ClaimStatus.GRANTED:
            return GRANTED
        return ClaimOutcome(status, self._bucket_names.get(bucket, ""), wait_us)


class SettleCall:
    """Keys and arguments of settle.lua for `steps`, and the reading of its reply."""

    __slots__ = ("_call_id", "arguments", "keys")

    def __init__(self, call_id: int, keyspace: KeySpace, lease_ms: int, steps: list[Settlement]) -> None:
        self._call_id: Final = b"%d" % call_id
        self.keys: Final = [keyspace.nonce(step.claim.nonce_key) for step in steps]
        self.arguments: Final[list[Argument]] = [self._call_id, lease_ms]
        for step in steps:
            claim = step.claim
            self.arguments.extend((step.what, owner_text(step.owner), claim.digest, claim.remember_until))

    def read(self, reply: object) -> int:
        """How many steps were done, from the first. Raises `ReplyMismatch`."""
        if not isinstance(reply, list) or len(reply) != 2 or reply[0] != self._call_id:
            raise ReplyMismatch("the reply to the settlements is not theirs")
        done = reply[1]
        if not isinstance(done, int) or not 0 <= done <= len(self.keys):
            raise ReplyMismatch("more settlements done than asked for")
        return done


def owner_text(owner: int) -> bytes:
    return b"%016x" % owner
