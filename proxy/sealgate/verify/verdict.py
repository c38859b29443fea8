"""What the checks decide about a message, and what they ask the claim store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Protocol

from sealgate.layout import mypyc_attr
from sealgate.reason import Reason
from sealgate.signing.hashing import sha256
from sealgate.verify.bounds import Edits


@dataclass(slots=True, frozen=True)
class Bucket:
    """A token bucket as configured. `rate` tokens arrive each `period_us`; it holds at most `burst`.

    `name` is the configured pattern (a task name or a glob): the metric label. `key` is what a store keeps it
    by, and no two buckets share; "" is the name. Messages wait for its tokens `delay_us` at most, 0: none
    does.
    """

    name: str
    rate: int
    period_us: int
    burst: int
    key: str = ""
    delay_us: int = 0

    @property
    def state(self) -> str:
        """What a store keeps it by."""
        return self.key or self.name


@dataclass(slots=True, frozen=True)
class Debit:
    """`cost` tokens wanted from `bucket` for one message.

    Or from `spare`, which is kept for messages like this one, where that has them earlier. A bucket that a
    value in the message makes (a tenant) has an `other`, which all values share that are too many.
    """

    bucket: Bucket
    cost: int = 1
    spare: Bucket | None = None
    other: Debit | None = None


@mypyc_attr(acyclic=True)
class Claim:
    """One message's request to the store: its nonce and its tokens, all or nothing. Once granted, its lease.

    `nonce_key` names (deployment, kid, nonce) and is empty for session nonces, which need no memory.
    `signed` is the signing input, until `digest` is made of it; `fingerprint` is what `Algorithm.fingerprint`
    makes of it (b"": not known). `created` is the token's created time and `remember_until` the moment after
    which no gateway could accept the nonce again, both in Unix seconds. `wait_us` is how long the message may
    wait for its tokens; 0: it is sent at once, or refused.

    The session notes when it asks (`asked_at`, monotonic seconds: no lease began before). The store that
    grants a lease writes `owner`, and only the same owner's release is honoured; `lease_until` and `place`
    are for a store that keeps the lease here, `kept_name` for one that keeps it elsewhere.
    """

    __slots__ = (
        "_digest",
        "asked_at",
        "created",
        "debits",
        "fingerprint",
        "kept_name",
        "lease_until",
        "nonce_key",
        "owner",
        "place",
        "remember_until",
        "signed",
        "wait_us",
    )

    def __init__(
        self,
        nonce_key: bytes,
        signed: bytes,
        created: int,
        remember_until: int,
        debits: tuple[Debit, ...],
        owner: int = 0,
        wait_us: int = 0,
    ) -> None:
        self.nonce_key: Final = nonce_key
        self.signed = signed
        self.fingerprint = b""
        self._digest = b""
        self.created: Final = created
        self.remember_until: Final = remember_until
        self.debits = debits
        self.owner = owner
        self.wait_us = wait_us
        self.asked_at = 0.0
        self.lease_until = 0.0
        self.place = 0
        self.kept_name = b""

    @property
    def digest(self) -> bytes:
        """What tells a repeat of the same signing input from a conflict: its SHA-256.

        Made when it is asked for first. A store whose memory ends with its process may have put the
        fingerprint in its place before that.
        """
        if len(self.signed) > 0:
            self._digest = sha256(self.signed)
            self.signed = b""
        return self._digest

    @digest.setter
    def digest(self, digest: bytes) -> None:
        self._digest = digest
        # Hundreds of octets, which a lease that nobody settles would keep for minutes.
        self.signed = b""


@unique
class ClaimStatus(Enum):
    """The store's answer to one claim (seal1.md, the table under "Replay")."""

    __hash__ = object.__hash__

    GRANTED = "granted"
    INFLIGHT = "inflight"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    LIMITED = "limited"
    COST = "cost"
    FULL = "full"
    HORIZON = "horizon"
    UNAVAILABLE = "unavailable"
    DEGRADED = "degraded"


@dataclass(slots=True, frozen=True)
class ClaimOutcome:
    """`bucket` and `wait_us` (until the tokens would be there) are set for LIMITED and COST.

    DEGRADED grants: the shared store is away, no nonce had to be remembered, and the local share of the
    rate had the tokens. Of what grants, `held` says that the message goes through the queue where messages
    with its buckets wait, and `wait_us` how long it stays there: 0 keeps it behind those that wait now.
    """

    status: ClaimStatus
    bucket: str = ""
    wait_us: int = 0
    held: bool = False


GRANTED = ClaimOutcome(ClaimStatus.GRANTED)


@mypyc_attr(allow_interpreted_subclasses=True)
class PromptStore:
    """Who may answer a claim at once, while a message is being decided.

    A class, where the other ports are protocols: compiled code calls its method without asking Python for it.
    """

    __slots__ = ()

    def claim_now(self, claim: Claim, wall: float, monotonic: float) -> ClaimOutcome | None:
        """The outcome of `claim`, as `ClaimStore.claim` decides it, at this time of both clocks.

        None: nothing has happened, and it is to be asked for with `claim`.
        """
        raise NotImplementedError


class ClaimStore(Protocol):
    """Where nonces and tokens are kept. Memory and Redis stand behind it and pass one contract suite.

    Every method but `start` and `close` returns at once and may be called from the event loop only.
    """

    async def start(self) -> None:
        """Connect and check. Raises `GateError` (store.unavailable) when it can not serve."""

    async def close(self) -> None:
        """Write out what is pending and let go."""

    def claim(self, claims: list[Claim], answer: Callable[[list[ClaimOutcome]], None]) -> None:
        """Ask for all `claims`; `answer` is called once, now or later, with one outcome per claim, in order.

        Each claim is decided alone and atomically: its nonce and all its debits, or nothing.
        """

    @property
    def prompt(self) -> PromptStore | None:
        """This store, where it may know the answer at once; None where every claim has to wait for it."""

    def settle(self, commits: list[Claim], releases: list[Claim]) -> None:
        """The commits reached the broker; the releases did not (nonce forgotten, tokens stay spent)."""

    def renew(self, claims: list[Claim]) -> None:
        """Extend the leases of claims that still wait for the broker's answer."""

    @property
    def healthy(self) -> bool: ...

    @property
    def entries(self) -> int:
        """Nonces remembered here, as far as known without asking."""

    @property
    def errors(self) -> int:
        """Calls that failed since the start."""


@mypyc_attr(acyclic=True, free_list_len=1)
@dataclass(slots=True, init=False)
class Accepted:
    """The message may go on (once `claim`, if any, is granted).

    `flags` are reasons that were noticed but do not refuse (accept+flag). `task` is the task name the rate
    and the metric use. With `observed`, it would have been refused for that reason but the rule only
    observes. `edits` are what its bounds have changed in it. `parked` is the pattern by which its task is
    paused, "" for none.
    """

    kid: str
    task: str
    claim: Claim | None = None
    flags: tuple[Reason, ...] = ()
    observed: Reason | None = None
    clock_skew_s: float = 0.0
    edits: Edits | None = None
    parked: str = ""
    expires: int = 0
    countersigned: tuple[str, int] | None = None

    def __init__(
        self,
        kid: str,
        task: str,
        claim: Claim | None = None,
        flags: tuple[Reason, ...] = (),
        observed: Reason | None = None,
        clock_skew_s: float = 0.0,
        edits: Edits | None = None,
        parked: str = "",
        expires: int = 0,
        countersigned: tuple[str, int] | None = None,
    ) -> None:
        # By hand, as everywhere where one is made for each message: compiled, this is native, and what the
        # decorator writes is not.
        self.kid = kid
        self.task = task
        self.claim = claim
        self.flags = flags
        self.observed = observed
        self.clock_skew_s = clock_skew_s
        self.edits = edits
        self.parked = parked
        self.expires = expires
        self.countersigned = countersigned


@dataclass(slots=True, frozen=True)
class Refused:
    """The message may not go on. `authenticated` is true when its signature was good, `expires` its end then.

    `kid` is only set when the key is known; `task` is as claimed by the message, for the record.
    """

    reason: Reason
    detail: str = ""
    kid: str = ""
    task: str = ""
    authenticated: bool = False
    bucket: str = ""
    wait_us: int = 0
    expires: int = 0


Verdict = Accepted | Refused
