"""Messages that are like the last one accepted from the same client, as most of a producer's are.

Of such a message everything is the same, byte for byte, but its seal, its ids, what Celery writes for people
to read, and its body. Only these are checked again. The answer here is yes or nothing: what is not accepted
is examined from the beginning, by all checks in their order, so that a refusal never hangs on what came
before it.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import Token
from sealgate.verify.authority import TaskGrant
from sealgate.verify.canvas import names_no_other, takes_signatures
from sealgate.verify.celery import (
    EMBEDDED_NAMES,
    ID_NAMES,
    TASK_HEADER,
    Clock,
    TaskBody,
    check_fields,
    check_id,
    read_body_2,
    task_name,
)
from sealgate.verify.content import COMPRESSION, Form, form_of
from sealgate.verify.message import Message, Peer
from sealgate.verify.pickles import may_hold_pickle
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.verify.seals import check_snapshot, check_times, claim_of, context_of, covered_by
from sealgate.verify.strict_json import parse_json
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import MESSAGE_ID
from sealgate.wire.table import Table
from sealgate.wire.values import LENGTH_BYTES, Likeness

#: What `check_fields` reads beside the ids.
_FIELDS: Final = frozenset({"retries", "timelimit", "eta", "expires", "stamped_headers", "stamps"})
#: Headers that no check reads.
UNREAD: Final = frozenset(
    {
        "argsrepr",
        "group_index",
        "ignore_result",
        "kwargsrepr",
        "lang",
        "origin",
        "replaced_task_nesting",
        "shadow",
    }
)
#: What no check reads may differ, and this, which is checked again.
_CHECKED: Final = _FIELDS | {*ID_NAMES, TASK_HEADER, TOKEN_NAME}
#: So many kinds of messages are known of one client.
KNOWN_MAX: Final = 4
_LOOK: Final = "to be examined by all checks"
_NO_BODY: Final = TaskBody([], {}, {})


class Known:
    """What holds for all messages that are like one that was accepted.

    They have its shape, likeness and target, and are judged by the same policy and keys. Not `usable`, they
    are examined each for itself.
    """

    __slots__ = (
        "checks_fields",
        "context",
        "exchange",
        "ids_at",
        "key",
        "keyring",
        "likeness",
        "policy",
        "routing_key",
        "shape",
        "task",
        "task_at",
        "token_at",
        "usable",
    )

    def __init__(
        self, message: Message, likeness: Likeness, key: Key, keyring: Keyring, policy: Policy, context: bytes
    ) -> None:
        self.shape: Final = message.header.shape
        self.likeness: Final = likeness
        self.exchange: Final = message.exchange
        self.routing_key: Final = message.routing_key
        self.key: Final = key
        self.keyring: Final = keyring
        self.policy: Final = policy
        self.context: Final = context
        self.usable = False
        self.task = ""
        #: Where the token, the task (unless it is the same in all) and the ids are in `Alike.texts`.
        self.token_at = -1
        self.task_at = -1
        self.ids_at: list[int] = []
        #: More of what Celery's fields hold is looked at than the ids: it differs, or the clock decides.
        self.checks_fields = False

    def holds_for(self, message: Message, keyring: Keyring, policy: Policy) -> bool:
        """Whether `message` is like the one that was accepted."""
        alike = message.header.table.alike
        return (
            alike is not None
            and alike.likeness is self.likeness
            and message.header.shape is self.shape
            and message.routing_key == self.routing_key
            and message.exchange == self.exchange
            and policy is self.policy
            and keyring is self.keyring
        )


def learn(
    message: Message,
    peer: Peer,
    key: Key,
    keyring: Keyring,
    policy: Policy,
    rules: ContentRules,
    unread: frozenset[str] = UNREAD,
) -> Known | None:
    """What an accepted message says of those like it; None when there is nothing to know them by.

    `unread` names the headers that no check reads.
    """
    table = message.header.table
    if table.alike is None or message.header.shape is None:
        return None
    likeness = table.alike.likeness
    known = Known(message, likeness, key, keyring, policy, context_of(key, peer, policy))
    task = likeness.values.get(TASK_HEADER)
    if isinstance(task, str) and _usable(message, table, task, rules, policy, unread):
        known.usable = True
        known.task = task
        if TASK_HEADER in likeness.changing:
            known.task_at = likeness.texts.index(TASK_HEADER)
        known.token_at = likeness.texts.index(TOKEN_NAME)
        known.ids_at = [likeness.texts.index(name) for name in ID_NAMES if name in likeness.changing]
        values = likeness.values
        timed = values.get("eta") is not None or values.get("expires") is not None
        known.checks_fields = timed or not _FIELDS.isdisjoint(likeness.changing)
    return known


def _usable(
    message: Message, table: Table, task: str, rules: ContentRules, policy: Policy, unread: frozenset[str]
) -> bool:
    """Whether all that decides on such messages is the same in all of them, but for what is looked at."""
    assert table.alike is not None  # the caller looked
    likeness = table.alike.likeness
    values = table.values
    read_again = likeness.changing & {*ID_NAMES, TASK_HEADER, TOKEN_NAME}
    return (
        likeness.changing <= _CHECKED | unread
        and TOKEN_NAME in likeness.changing
        and read_again <= set(likeness.texts)
        # Rules may name tasks, and ask for other content; bounds look at each message by itself.
        and not (policy.rules and TASK_HEADER in likeness.changing)
        and not _is_bounded(policy, task, TASK_HEADER in likeness.changing)
        and rules.profile == CELERY
        and form_of(message.header, rules) is Form.JSON
        and not values.get(COMPRESSION)
        and names_no_other(task, _NO_BODY, values)
    )


def _is_bounded(policy: Policy, task: str, changing: bool) -> bool:
    return policy.bounds is not None and (changing or policy.bounds.of(task) is not None)


def examine_alike(known: Known, message: Message, peer: Peer, now: float) -> Accepted | None:
    """The verdict on a message that `known` holds for, if it is accepted."""
    try:
        return _examine(known, message, peer, now)
    except GateError:
        return None


def _examine(known: Known, message: Message, peer: Peer, now: float) -> Accepted | None:
    alike = message.header.table.alike
    assert alike is not None  # it is like a known one
    policy, key = known.policy, known.key
    body = message.body
    if len(body) > policy.body_bytes_max:
        return None
    token = peer.tokens.read(alike.texts[known.token_at][LENGTH_BYTES:])
    if token.kid != key.kid:
        return None
    known.keyring.check_for_verify(key, token, now)
    check_times(token, now, policy)
    signed = covered_by(known.context, message, token.prefix)
    if not key.algorithm.verify(signed, token.signature):
        return None
    check_snapshot(message, token)
    task, value = check_differences(known, message, token, now)
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
    claim = claim_of(task, message, value, peer, token, signed, policy, now, None)
    return Accepted(key.kid, task, claim, (), None, token.created - now, None, "", token.expires)


def check_differences(known: Known, message: Message, token: Token, now: float) -> tuple[str, object]:
    """What differs in a message that `known` holds for, and that is proven: its task, and its body, read.

    Raises `GateError` for what is not accepted without a look at the rest, whether or not that is refused.
    """
    alike = message.header.table.alike
    assert alike is not None  # it is like a known one
    policy, key = known.policy, known.key
    task = known.task
    if known.task_at >= 0:
        task = task_name(alike.texts[known.task_at][LENGTH_BYTES:].decode())
        if takes_signatures(task):
            raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
        TaskGrant(key).check(task)
    value = parse_json(message.body, True)
    parts = read_body_2(value)
    embed = parts.embed
    for name in EMBEDDED_NAMES:
        if embed.get(name) is not None:
            raise GateError(Reason.CELERY_ENVELOPE, _LOOK)
    if may_hold_pickle(message.body):
        raise GateError(Reason.CONTENT_B64_PICKLE, _LOOK)
    if known.checks_fields:
        clock = Clock(now, policy.clock_skew_s, token.created + key.max_lifetime_s)
        check_fields(message.header.table.values, clock)
    else:
        for at in known.ids_at:
            check_id(alike.texts[at][LENGTH_BYTES:].decode())
    return task, value
