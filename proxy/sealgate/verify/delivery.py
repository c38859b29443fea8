"""A message that the broker hands to a consumer, judged again (seal1.md, "At the consumer").

Signature, validity, target, content and what the key may do: not freshness, not replay, for a message may lie
in its queue, and be delivered again, for as long as its seal is valid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    TOKEN_NAME,
)
from sealgate.signing.keyring import Key
from sealgate.signing.token import Token
from sealgate.verify.alike_delivered import (
    check_seal,
    is_target,
    known_delivery,
    learn_delivery,
    prove_alike,
)
from sealgate.verify.bounds import check_delivered, subject_of
from sealgate.verify.celery import parse_moment
from sealgate.verify.checks import OTHER, Examination, Verifier
from sealgate.verify.classes import MessageClass
from sealgate.verify.fields import check_delivered_headers, check_properties
from sealgate.verify.globs import compiled
from sealgate.verify.inputs import covered_by
from sealgate.verify.known import Known
from sealgate.verify.message import Message, Peer
from sealgate.verify.naming import claimed_task
from sealgate.verify.ordered import check_revoked
from sealgate.verify.policy import CELERY
from sealgate.verify.seals import STORE_MARGIN_S, context_of, nonce_name, read_token
from sealgate.verify.targets import TargetPolicy, check_delivered_target
from sealgate.verify.verdict import Accepted, Claim, Refused, Verdict
from sealgate.wire.constants import TIMESTAMP_S_MAX
from sealgate.wire.properties import TIMESTAMP, scan_content_header

#: In place of a kid in the store's names of deliveries: no kid has such a character (seal1.md, "The token"),
#: so that none of them is ever the name of a publish's nonce.
_ONCE: Final = "*once"
#: Octets of a digest that stand for queue, kid and nonce: as many as the longest stored nonce has.
_ONCE_BYTES: Final = 23
_NO_USER: Final = ""


@unique
class Requirement(Enum):
    """Whose signature a delivery must carry: `deliver.require`."""

    __hash__ = object.__hash__

    PRODUCER = "producer"
    GATEWAY = "gateway"
    BOTH = "both"


@dataclass(slots=True, frozen=True)
class QueueTerms:
    """How deliveries from the queues that `match` (a glob) are judged; `once`: acknowledged means done."""

    match: str = "*"
    target: TargetPolicy = TargetPolicy.STRICT
    once: bool = False


_DEFAULT_TERMS: Final = QueueTerms()


@dataclass(slots=True, frozen=True)
class DeliveryPolicy:
    """What the operator asks of deliveries.

    `countersigners` are the kids of gateways: a producer's key must not stand in for one. `tasks` are names
    and globs of tasks whose wait in queues is told apart.
    """

    require: Requirement = Requirement.PRODUCER
    countersigners: frozenset[str] = frozenset()
    queues: tuple[QueueTerms, ...] = ()
    tasks: tuple[str, ...] = ()

    def terms_of(self, queue: str) -> QueueTerms:
        """Those of the first entry that matches."""
        for terms in self.queues:
            if terms.match == "*" or compiled((terms.match,)).match(queue):
                return terms
        return _DEFAULT_TERMS

    def label(self, task: str) -> str:
        """The configured name or glob that stands for `task` in a metric, "" for none."""
        if task in self.tasks:
            return task
        for pattern in self.tasks:
            if compiled((pattern,)).match(task):
                return pattern
        return ""


class DeliveryVerifier:
    """Judges deliveries by `policy`, and by the policy and keys of `verifier`, which a reload replaces."""

    __slots__ = ("policy", "verifier")

    def __init__(self, policy: DeliveryPolicy, verifier: Verifier) -> None:
        self.policy: Final = policy
        self.verifier: Final = verifier

    def examine(self, message: Message, queue: str, terms: QueueTerms, peer: Peer, now: float) -> Verdict:
        """The verdict at `now` (Unix seconds) on `message`, whose target is the one it is delivered with.

        Its header must have been scanned for the producer's seal. `peer` is the consumer. An `Accepted` with
        a claim (`terms.once`) stands once the store has granted it.
        """
        known = known_delivery(message, self.verifier.keyring, self.verifier.policy, peer)
        if known is not None:
            accepted = self._examine_alike(known, message, queue, terms, peer, now)
            if accepted is not None:
                return accepted
        judged = _Judged(message)
        try:
            return self._examine(judged, queue, terms, peer, now)
        except GateError as error:
            examination = judged.examination
            profile = self.verifier.content_for(judged.published, peer).profile
            claimed = claimed_task(judged.published, profile)
            refused = Refused(
                error.reason,
                error.detail,
                kid=judged.kid,
                task=(examination.task if examination is not None else "") or claimed,
                authenticated=examination is not None,
                expires=judged.expires,
            )
            return self.verifier.refusal(refused, judged.published, peer)

    def _examine_alike(
        self, known: Known, message: Message, queue: str, terms: QueueTerms, peer: Peer, now: float
    ) -> Accepted | None:
        """The verdict on a message that `known` holds for, if it is accepted."""
        try:
            proven = prove_alike(known, message, peer, now)
            token = proven.token
            _check_timestamp(message, token, CELERY)
            check_delivered_target(message, token.target, terms.target)
        except GateError:
            return None
        claim: Claim | None = None
        if terms.once:
            claim = _claim(queue, token, proven.signed, known.policy.deployment, known.policy.clock_skew_s)
        skew_s = token.created - now
        return Accepted(proven.key.kid, proven.task, claim, (), None, skew_s, None, "", token.expires)

    def task_label(self, task: str) -> str:
        """The metric label of a task: a configured name or glob, else "other"."""
        return self.policy.label(task) or self.verifier.task_label(task) or OTHER

    def _examine(self, judged: _Judged, queue: str, terms: QueueTerms, peer: Peer, now: float) -> Accepted:
        message, policy = judged.published, self.verifier.policy
        if len(message.body) > policy.body_bytes_max:
            raise GateError(Reason.BODY_SIZE, f"over {policy.body_bytes_max} bytes")
        check_properties(message.header, _NO_USER)
        profile = self.verifier.content_for(message, peer).profile
        check_delivered_headers(message.header.table, profile)
        require = self.policy.require
        beside: tuple[str, int] | None = None
        if require is Requirement.PRODUCER:
            seal = self._read(message, read_token(message, peer), judged, peer, now)
        elif require is Requirement.GATEWAY:
            seal = self._countersignature(message, judged, peer, now)
        else:
            countersigned = self._countersignature(message, judged, peer, now)
            check_delivered_target(message, countersigned.token.target, terms.target)
            beside = (countersigned.key.kid, countersigned.token.expires)
            seal = self._read(message, read_token(message, peer), judged, peer, now)
        key, token = seal.key, seal.token
        judged.expires = token.expires
        _check_timestamp(message, token, profile)
        published = message
        target = token.target
        if not is_target(message, token):
            published = Message(
                target.exchange, target.routing_key, False, message.header, message.body, message.body_sha256
            )
        judged.published = published
        rules = self.verifier.content_for(published, peer)
        examination = judged.examination = Examination(published, peer, now, rules, True)
        check_delivered_target(message, target, terms.target)
        envelope, flags = self.verifier.authorise(examination, key, token)
        if policy.bounds is not None and envelope.message_class is MessageClass.TASK:
            task = subject_of(message, envelope.task, envelope.body.value)
            check_delivered(policy.bounds, task, now, policy.clock_skew_s)
        check_revoked(envelope, rules.profile, policy, now)
        if (
            published is message
            and require is Requirement.PRODUCER
            and envelope.message_class is MessageClass.TASK
        ):
            learn_delivery(message, peer, key, self.verifier.keyring, policy, rules)
        claim: Claim | None = None
        if terms.once:
            claim = _claim(queue, token, seal.signed, policy.deployment, policy.clock_skew_s)
        skew_s = token.created - now
        return Accepted(
            key.kid,
            envelope.task,
            claim,
            flags,
            clock_skew_s=skew_s,
            expires=token.expires,
            countersigned=beside,
        )

    def _read(self, message: Message, token: Token, judged: _Judged, peer: Peer, now: float) -> _Seal:
        """The seal of `message`, which is good. Raises `GateError` sig.* or time.expired."""
        keyring, policy = self.verifier.keyring, self.verifier.policy
        key = keyring.get(token.kid)
        if key is None:
            raise GateError(Reason.SIG_KID, "unknown key")
        judged.kid = key.kid
        check_seal(keyring, key, token, now, policy)
        signed = covered_by(context_of(key, peer, policy), message, token.prefix)
        if not key.algorithm.verify(signed, token.signature):
            raise GateError(Reason.SIG_BAD, "the signature is not of this message")
        return _Seal(key, token, signed)

    def _countersignature(self, message: Message, judged: _Judged, peer: Peer, now: float) -> _Seal:
        """The same of a gateway's signature, which covers the producer's as an ordinary header."""
        value = message.header.table.values.get(COUNTERSIGN_NAME)
        if value is None:
            raise GateError(Reason.SIG_MISSING, f"no {COUNTERSIGN_NAME} header")
        if isinstance(value, str):
            value = value.encode()
        if not isinstance(value, bytes):
            raise GateError(Reason.SIG_MALFORMED, "not a string")
        token = peer.countersigns.read(value)
        if token.kid not in self.policy.countersigners:
            raise GateError(Reason.SIG_KID, "not a gateway's key")
        header = scan_content_header(
            message.header.payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, TOKEN_NAME
        )
        covered = Message(
            message.exchange, message.routing_key, False, header, message.body, message.body_sha256
        )
        return self._read(covered, token, judged, peer, now)


class _Judged:
    """What is known of a delivery so far: by whose key it is, until when, and where it was published to."""

    __slots__ = ("examination", "expires", "kid", "published")

    def __init__(self, message: Message) -> None:
        self.kid = ""
        self.expires = 0
        self.published = message
        self.examination: Examination | None = None


class _Seal:
    """A signature that is good: by `key`, over `signed`."""

    __slots__ = ("key", "signed", "token")

    def __init__(self, key: Key, token: Token, signed: bytes) -> None:
        self.key: Final = key
        self.token: Final = token
        self.signed: Final = signed


def queue_wait_s(eta_header: object, accepted: Accepted, now: float) -> float:
    """How long a task that is delivered at `now` has waited since its seal, in seconds.

    One with an ETA that has passed has waited since then: before, it was not to be run.
    """
    waited = -accepted.clock_skew_s
    eta = parse_moment(eta_header)
    if eta is not None and eta <= now:
        waited = min(waited, now - eta)
    return max(waited, 0.0)


def _check_timestamp(message: Message, token: Token, profile: str) -> None:
    """An interceptor of the broker may add a timestamp (hostile.jsonl CO05), and so may anybody there.

    py-amqp dies of one after the year 9999. Raises `GateError` header.timestamp.
    """
    value = message.header.fields[TIMESTAMP]
    if value is None or (profile != CELERY and token.target.timestamp == value):
        return
    if int.from_bytes(value, "big") > TIMESTAMP_S_MAX:
        raise GateError(Reason.HEADER_TIMESTAMP, "after the year 9999")


def _claim(queue: str, token: Token, signed: bytes, deployment: str, skew_s: int) -> Claim:
    """What the store is asked to remember of a delivery: that its nonce was acknowledged from this queue.

    For as long as any consumer would take it. When it was created is no matter: what was acknowledged before
    the memory of the store begins is taken once more (docs/decisions.md).
    """
    name = queue.encode()
    parts = (b"%d:" % len(name), name, token.kid.encode(), b":", token.nonce)
    digest = hashlib.sha256(b"".join(parts)).digest()[:_ONCE_BYTES]
    until = token.expires + 2 * skew_s + STORE_MARGIN_S
    return Claim(nonce_name(deployment, _ONCE, digest), signed, until, until, ())
