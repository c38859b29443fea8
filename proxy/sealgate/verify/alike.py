"""Messages that are like one accepted from the same client, as most of a producer's are.

Of such a message everything is the same, byte for byte, but its seal, its ids, what Celery writes for people
to read, and its body. Only these are checked again. The answer here is yes or nothing: what is not accepted
is examined from the beginning, by all checks in their order, so that a refusal never hangs on what came
before it.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.keyring import Key, check_lifetime, check_now
from sealgate.signing.token import Token
from sealgate.verify.authority import TaskGrant
from sealgate.verify.canvas import takes_signatures
from sealgate.verify.celery import (
    EMBEDDED_NAMES,
    Clock,
    check_fields,
    check_id,
    is_plain_id,
    read_body_2,
    task_name,
)
from sealgate.verify.known import Known
from sealgate.verify.message import Message, Peer
from sealgate.verify.pickles import may_hold_pickle
from sealgate.verify.seals import check_snapshot, check_times, claim_of
from sealgate.verify.strict_json import parse_json, parse_plain
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import MESSAGE_ID, TIMESTAMP
from sealgate.wire.values import LENGTH_BYTES, Alike

#: How Celery's JSON ends where a task names no others: what stands before it is then args and kwargs alone.
_NAMES_NO_OTHER: Final = b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
#: Larger bodies are read where they are.
_COPIED_BYTES_MAX: Final = 4096
_NO_OTHER: Final[dict[str, object]] = dict.fromkeys(EMBEDDED_NAMES)
_LOOK: Final = "to be examined by all checks"


def examine_alike(known: Known, message: Message, peer: Peer, now: float) -> Accepted | None:
    """The verdict on a message that `known` holds for, if it is accepted."""
    try:
        return _examine(known, message, peer, now)
    except GateError:
        return None


def _examine(known: Known, message: Message, peer: Peer, now: float) -> Accepted | None:
    alike = message.header.table.alike
    assert alike is not None  # it is like a known one
    policy = known.policy
    if len(message.body) > policy.body_bytes_max:
        return None
    text = alike.texts[known.token_at]
    sender = known.sender(text, LENGTH_BYTES)
    if sender is None:
        return None
    key = sender.key
    token = known.token(text, LENGTH_BYTES, sender)
    check_now(key, now)
    check_lifetime(key, token)
    check_times(token, now, policy)
    signed = sender.inputs.covered_by(message, token.prefix)
    fingerprint = sender.proven(signed, token.signature_text)
    if not fingerprint:
        return None
    if token.target is not known.target:
        check_snapshot(message, token)
        if message.header.fields[TIMESTAMP] is None:
            known.target = token.target
    task, value = check_differences(known, message, key, token, now)
    controls = policy.controls
    if controls is not None:
        if controls.may_concern(task):
            return None
        # The shape does not tell this property: it is one of those that change.
        if controls.revoked and (message.header.text(MESSAGE_ID) or "") in controls.revoked:
            return None
        for at in known.ids_at:
            if alike.texts[at][LENGTH_BYTES:].decode() in controls.revoked:
                return None
    claim = claim_of(task, message, value, peer, token, signed, policy, now, None, sender.nonce_head)
    if claim is not None:
        claim.fingerprint = fingerprint
    if token.signature or not sender.is_kept:
        known.proven(text, LENGTH_BYTES, sender, token)
    skew_s = float(token.created) - now
    return Accepted(key.kid, task, claim, (), None, skew_s, None, "", token.expires)


def check_differences(
    known: Known, message: Message, key: Key, token: Token, now: float
) -> tuple[str, list[object]]:
    """What differs in a message that `known` holds for, and that is proven: its task, and its body, read.

    Raises `GateError` for what is not accepted without a look at the rest, whether or not that is refused.
    """
    alike = message.header.table.alike
    assert alike is not None  # it is like a known one
    task = known.task
    if known.task_at >= 0:
        task = task_name(alike.texts[known.task_at][LENGTH_BYTES:].decode())
        if takes_signatures(task):
            raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
        TaskGrant(key).check(task)
    value = _read_body(message.body)
    if known.checks_fields:
        clock = Clock(now, known.policy.clock_skew_s, token.created + key.max_lifetime_s)
        check_fields(message.header.table.values, clock)
    else:
        _check_constants(known, token.created + key.max_lifetime_s, now)
        _check_ids(known, alike)
    return task, value


def _read_body(body: bytes) -> list[object]:
    """The value of a body that names no other tasks and holds no pickle. Raises `GateError` for any other."""
    if len(body) <= _COPIED_BYTES_MAX and body.endswith(_NAMES_NO_OTHER):
        # What stands before is a list of two just when the whole is one of three, and this the third.
        body = body[: -len(_NAMES_NO_OTHER)] + b"]"
        value = parse_plain(body)
        if not isinstance(value, list) or len(value) != 2:
            raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
        args, kwargs = value
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
        value.append(_NO_OTHER)
    else:
        value = parse_json(body, True)
        for embedded in read_body_2(value).embed.values():
            if embedded is not None:
                raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
        assert isinstance(value, list)  # it has three parts
    if may_hold_pickle(body):
        raise GateError(Reason.CONTENT_B64_PICKLE, _LOOK)
    return value


def _check_constants(known: Known, eta_max: int, now: float) -> None:
    """What the clock decides of an ETA and an end that all such messages have. As `check_fields`."""
    if known.eta is not None and known.eta > float(eta_max):
        raise GateError(Reason.CELERY_ETA, _LOOK)
    if known.end is not None and now > known.end + known.policy.clock_skew_s:
        raise GateError(Reason.TIME_EXPIRED, _LOOK)


def _check_ids(known: Known, alike: Alike) -> None:
    """Raises `GateError` celery.id."""
    before = b""
    for at in known.ids_at:
        text = alike.texts[at]
        # A task that starts a workflow is its root.
        if text != before:
            if not is_plain_id(text):
                check_id(text[LENGTH_BYTES:].decode())
            before = text
