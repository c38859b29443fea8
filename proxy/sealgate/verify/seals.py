"""What the checks of a seal are made of: each is one step of seal1.md, "Order of checks"."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import b64url_encode
from sealgate.signing.canonical import TOKEN_NAME, signing_context
from sealgate.signing.keyring import Key
from sealgate.signing.token import Token
from sealgate.verify.bounds import Edits
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Claim, Debit
from sealgate.verify.waits import wait_us
from sealgate.wire.properties import EXPIRATION, TIMESTAMP

#: The clock of another gateway that shares the store may be this much behind, on top of the skew (seal1.md).
STORE_MARGIN_S: Final = 5


def read_token(message: Message, peer: Peer) -> Token:
    """Raises `GateError` sig.missing, sig.malformed, sig.version or sig.profile."""
    value = message.header.table.values.get(TOKEN_NAME)
    if value is None:
        raise GateError(Reason.SIG_MISSING, f"no {TOKEN_NAME} header")
    if isinstance(value, str):
        return peer.tokens.read(value.encode())
    if isinstance(value, bytes):
        return peer.tokens.read(value)
    raise GateError(Reason.SIG_MALFORMED, "not a string")


def check_times(token: Token, now: float, policy: Policy) -> None:
    """Freshness and validity, bounds included (seal1.md, "Two clocks"). Raises `GateError` time.*."""
    skew = policy.clock_skew_s
    created = float(token.created)  # of twelve digits at most, as exact as before
    if created > now + skew:
        raise GateError(Reason.TIME_FUTURE, f"created over {skew} s ahead")
    if float(token.expires + skew) < now:
        raise GateError(Reason.TIME_EXPIRED, "seal expires")
    if created < now - policy.max_age_s - skew:
        raise GateError(Reason.TIME_STALE, f"created over {policy.max_age_s} s ago")


def context_of(key: Key, peer: Peer, policy: Policy) -> bytes:
    """What the signing inputs of one key on one connection begin with."""
    return signing_context(key.algorithm.name, policy.deployment, peer.vhost)


def check_snapshot(message: Message, token: Token) -> None:
    """Raises `GateError` target.mismatch."""
    target = token.target
    fields = message.header.fields
    if target.exchange != message.exchange:
        raise GateError(Reason.TARGET_MISMATCH, "exchange")
    if target.routing_key != message.routing_key:
        raise GateError(Reason.TARGET_MISMATCH, "routing key")
    if target.expiration != fields[EXPIRATION]:
        raise GateError(Reason.TARGET_MISMATCH, "expiration")
    if target.timestamp != fields[TIMESTAMP]:
        raise GateError(Reason.TARGET_MISMATCH, "timestamp")


def claim_of(
    task: str | None,
    message: Message,
    body: object,
    peer: Peer,
    token: Token,
    signed: bytes,
    policy: Policy,
    now: float,
    edits: Edits | None,
    head: bytes,
) -> Claim | None:
    """Step 10: nonce and rate tokens together, last. Takes the sequence of a session nonce.

    `task` is None for what is no task; `body` is the parsed body, None where it is not read; `edits` are what
    the bounds change; `head` is the `nonce_head` of the token's key. Raises `GateError` rate.cost or
    replay.session.
    """
    debits: tuple[Debit, ...] = ()
    longest_us = 0
    if task is not None and policy.rates:
        debits = policy.rates.debits(task, message, body, peer.user, token.kid, edits)
        if debits:
            longest_us = wait_us(task, message, body, peer, token, policy, now, edits)
        for debit in debits:
            if debit.cost > debit.bucket.burst:
                raise GateError(Reason.RATE_COST, debit.bucket.name)
    nonce_key = b""
    if token.sequence >= 0:
        _advance(peer, token)
    elif policy.session_nonces_only:
        raise GateError(Reason.REPLAY_SESSION, "a stored nonce, where only session nonces are taken")
    else:
        nonce_key = head + token.nonce_text
    if len(nonce_key) == 0 and len(debits) == 0:
        return None
    remember_until = token.created + policy.max_age_s + 2 * policy.clock_skew_s + STORE_MARGIN_S
    return Claim(nonce_key, signed, token.created, remember_until, debits, 0, longest_us)


def nonce_head(deployment: str, kid: str) -> bytes:
    """What the names of all nonces of a key begin with."""
    name = deployment.encode()
    return b"%d:%b:%b:" % (len(name), name, kid.encode())


def nonce_name(deployment: str, kid: str, nonce: bytes) -> bytes:
    """The store's name for a nonce, as text like in a token: no two of (deployment, kid, nonce) share one."""
    return nonce_head(deployment, kid) + b64url_encode(nonce)


def _advance(peer: Peer, token: Token) -> None:
    """Take a session nonce of this connection, above the last (seal1.md, "Replay"). Raises replay.session."""
    if not token.answers(peer.challenge):
        raise GateError(Reason.REPLAY_SESSION, "challenge of another connection")
    sequence = token.sequence
    if sequence <= peer.last_sequence:
        raise GateError(Reason.REPLAY_SESSION, "sequence not above the last")
    peer.last_sequence = sequence
