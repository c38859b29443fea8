"""Deliveries that are like the last one accepted, as most of a queue are: the short way of `verify.delivery`.

As in `verify.alike`, and by what that remembers: yes or nothing, and all else is examined from the beginning.
Deliveries are known by deliveries, never by what was published, and only by those that have the target they
were signed for: what was dead-lettered, or has waited in a queue of Celery's, is examined each for itself.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import COUNTERSIGN_NAME
from sealgate.signing.keyring import Key, Keyring, check_lifetime, check_now
from sealgate.signing.token import Token
from sealgate.verify.alike import check_differences
from sealgate.verify.known import UNREAD, Known, Memory
from sealgate.verify.message import Message, Peer
from sealgate.verify.ordered import check_revoked_ids
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.wire.values import LENGTH_BYTES

#: What no check of a delivery reads: a gateway's signature where none is asked for, and what a quorum queue
#: counts. The producer's signature covers neither.
_UNREAD: Final = UNREAD | {COUNTERSIGN_NAME, "x-delivery-count"}


class Proven:
    """A delivery like a known one, with a good seal: what is still to be asked of it is the caller's."""

    __slots__ = ("key", "signed", "task", "token")

    def __init__(self, key: Key, token: Token, signed: bytes, task: str) -> None:
        self.key: Final = key
        self.token: Final = token
        self.signed: Final = signed
        self.task: Final = task


def known_delivery(message: Message, keyring: Keyring, policy: Policy, peer: Peer) -> Known | None:
    """What is known of deliveries like `message`, where that is enough to judge it by."""
    memory = peer.known
    known = memory.find(message, keyring, policy) if isinstance(memory, Memory) else None
    return known if known is not None and known.usable else None


def learn_delivery(
    message: Message, peer: Peer, key: Key, keyring: Keyring, policy: Policy, rules: ContentRules
) -> None:
    """Remember a task that was accepted, with the target it was signed for, by the producer's seal alone."""
    memory = peer.known
    if not isinstance(memory, Memory):
        memory = peer.known = Memory()
    memory.learn(message, peer, key, keyring, policy, rules, _UNREAD)


def prove_alike(known: Known, message: Message, peer: Peer, now: float) -> Proven:
    """Check what differs in a delivery that `known` holds for.

    Left to the caller are the target, what else its queue asks, and the claim. Raises `GateError` for what is
    not accepted here, whatever becomes of it.
    """
    alike = message.header.table.alike
    assert alike is not None  # it is like a known one
    policy = known.policy
    if len(message.body) > policy.body_bytes_max:
        raise GateError(Reason.BODY_SIZE, "")
    text = alike.texts[known.token_at]
    sender = known.sender(text, LENGTH_BYTES)
    if sender is None:
        raise GateError(Reason.SIG_KID, "")
    key = sender.key
    token = known.token(text, LENGTH_BYTES, sender)
    check_now(key, now)
    check_lifetime(key, token)
    _check_end(token, now, policy)
    signed = sender.inputs.covered_by(message, token.prefix)
    if not sender.proven(signed, token.signature_text):
        raise GateError(Reason.SIG_BAD, "")
    if not is_target(message, token):
        raise GateError(Reason.TARGET_MISMATCH, "")
    task, value = check_differences(known, message, key, token, now)
    check_revoked_ids(message, CELERY, value, policy, now)
    if token.signature or not sender.is_kept:
        known.proven(text, LENGTH_BYTES, sender, token)
    return Proven(key, token, signed, task)


def is_target(message: Message, token: Token) -> bool:
    """Whether a delivery has the exchange and the routing key that its seal is for."""
    target = token.target
    return target.exchange == message.exchange and target.routing_key == message.routing_key


def check_seal(keyring: Keyring, key: Key, token: Token, now: float, policy: Policy) -> None:
    """What can be known of a delivery's seal before its signature is tried.

    Raises `GateError` sig.* or time.expired.
    """
    keyring.check_for_verify(key, token, now)
    _check_end(token, now, policy)


def _check_end(token: Token, now: float, policy: Policy) -> None:
    if float(token.expires + policy.clock_skew_s) < now:
        raise GateError(Reason.TIME_EXPIRED, "seal expires")
