"""The target for what a connection remembers: each message must be judged as if nothing had come before.

A few good messages are sent first, so that there is a memory to be fooled; those that follow are changed from
one of them, and sealed again or not.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache

from differential.picture import picture
from fuzz.targets.answers import answer, require, tell
from fuzz.targets.changes import Operands, Signed, changed
from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, canonical_properties
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import session_nonce
from sealgate.verify import strict_json
from sealgate.verify.celery import TASK_HEADER
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.targets import TargetPolicy
from sealgate.wire.properties import ContentHeader, scan_content_header, splice
from sealgate.wire.reader import HeaderReader
from support.sealed import (
    BODY,
    CHALLENGE,
    DEPLOYMENT,
    JSON_HEADER,
    NOW,
    SECRET,
    a_message,
    rules,
    seal,
    task_headers,
    with_token,
)

_ONCE = QueueTerms(target=TargetPolicy.DEAD_LETTER, once=True)
_MESSAGES_MAX = 12
_CHANGES_MAX = 4
#: The second shows what changes, the third is read by that, and the fourth judged by what was accepted.
_GOOD_FIRST = 4
_KEY = Key("k1", HmacSha256(SECRET), tasks=("app.*",), reply_to=("answers",))
_KEYRINGS = (
    Keyring([_KEY]),
    Keyring([_KEY, Key("k2", HmacSha256(bytes(32)))]),
    Keyring([Key("k1", HmacSha256(SECRET), state=KeyState.REVOKED)]),
    Keyring([Key("k1", HmacSha256(SECRET), not_after=NOW + 1, max_lifetime_s=3600)]),
)
_RATES = RateTable({"app.*": "5/s", "*": "9/s burst 1"})
#: Which buckets are asked for hangs on more than the task.
_VALUED_RATES = RateTable(
    {
        "app.*": ["5/s", {"limit": "3/s", "per": "kwarg:a", "reserve": {"priority": 1, "share": "50%"}}],
        "*": {"limit": "9/s burst 1", "per": "header:shadow"},
    },
    delay_us=3_600_000_000,
)
_EVERYDAY = (
    Policy(DEPLOYMENT),
    Policy(DEPLOYMENT, protocol_1=True, strict_b64=True, rates=_RATES),
    Policy(DEPLOYMENT, rules=(Rule(task="app.mul", observe=True), Rule(exchange="a", observe=True))),
    Policy(DEPLOYMENT, content=rules("generic", "*")),
)
_POLICIES = (
    *_EVERYDAY,
    _EVERYDAY[0],
    Policy(DEPLOYMENT, protocol_1=True, strict_b64=True, rates=_VALUED_RATES),
    *_EVERYDAY[2:],
)
_BODIES = (
    b"[[],{},{}]",
    b'[["a:\\"b\\":"],{"a":1},{}]',
    b'[[],{"a":1,"\\u0061":2},{}]',
    b'[["gASVBQAAAAAAAABdlIwBeJRhLg=="],{},{}]',
    b'[[],{},{"chain":[{"task":"evil"}]}]',
    b'[[],{},{"chain":null,"other":1}]',
    b'[[{"__type__":"uuid","__value__":1}],{},{}]',
    b"[[1e999],{},{}]",
)


@cache
def _drafts() -> tuple[Message, ...]:
    everyday = {**JSON_HEADER, 3: b"\x02", 5: b"c-1", 6: b"answers"}
    stamped = {**everyday, 7: b"60000", 8: b"m-1", 9: NOW.to_bytes(8, "big"), 10: b"t", 12: b"a"}
    return (
        a_message(properties=everyday),
        a_message(headers=task_headers(group="g-1", parent_id="p-1"), properties=stamped),
        a_message(headers=task_headers(shadow="s", stamps={"a": [1]}), properties=JSON_HEADER),
        a_message(headers=task_headers(eta="2026-01-01T00:00:10+00:00"), properties=everyday),
    )


class _Connection:
    """One connection with its memory, and the same without."""

    def __init__(self, policy: Policy, keyring: Keyring, kind_name: str) -> None:
        self.verifier = Verifier(policy, keyring)
        names = OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME
        self._reader = HeaderReader(*names, canonical_properties, kind_name)
        self._peer = Peer(DEPLOYMENT, user="app", challenge=CHALLENGE)
        self._judging = DeliveryVerifier(DeliveryPolicy(), self.verifier)
        self._consumer = Peer(DEPLOYMENT, "/", "worker")
        self.now = float(NOW)
        self.count = 0

    def judge(self, signed: Signed) -> None:
        names = OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME
        alone, refused = _said(scan_content_header, signed.header, *names)
        header, refused_too = _said(self._reader.read, signed.header)
        require(refused == refused_too, f"{refused_too}, but {refused} where nothing came before")
        if alone is None or header is None:
            return
        fresh = Peer(DEPLOYMENT, "/", "app", "", CHALLENGE, self._peer.last_sequence)
        verdict = self.verifier.examine(_message(signed, header), self._peer, self.now)
        wanted = self.verifier.examine(_message(signed, alone), fresh, self.now)
        tell(verdict)
        require(picture(verdict) == picture(wanted), f"{verdict}, but {wanted} where nothing came before")
        require(self._peer.last_sequence == fresh.last_sequence, "another sequence was taken")
        self._judge_delivered(signed, header, alone)
        _compare(header, alone)

    def _judge_delivered(self, signed: Signed, header: ContentHeader, alone: ContentHeader) -> None:
        """The same message as a broker hands it to a consumer, who remembers deliveries."""
        fresh = Peer(DEPLOYMENT, "/", "worker")
        verdict = self._judging.examine(_message(signed, header), "q", _ONCE, self._consumer, self.now)
        wanted = self._judging.examine(_message(signed, alone), "q", _ONCE, fresh, self.now)
        tell(verdict)
        require(
            picture(verdict) == picture(wanted),
            f"delivered: {verdict}, but {wanted} where nothing came before",
        )

    def sealed(self, signed: Signed, stored: bool) -> Signed:
        """Under a good seal with a nonce of its own; as it is when it can not be read."""
        self.count += 1
        nonce = self.count.to_bytes(16, "big") if stored else session_nonce(CHALLENGE, self.count)
        header = answer(scan_content_header, signed.header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)[0]
        if header is None:
            return signed
        token, _ = answer(seal, _message(signed, header), _KEY, nonce=nonce)
        if token is None:
            return signed
        message, _ = answer(with_token, _message(signed, header), token)
        return signed if message is None else replace(signed, header=message.header.payload)


def _said(read: object, *args: object) -> tuple[ContentHeader | None, tuple[Reason, str] | None]:
    try:
        found: ContentHeader = read(*args)  # type: ignore[operator]
    except GateError as error:
        tell(error)
        return None, (error.reason, error.detail)
    return found, None


def _message(signed: Signed, header: ContentHeader) -> Message:
    digest = hashlib.sha256(signed.body).digest()
    return Message(signed.exchange, signed.routing_key, False, header, signed.body, digest)


def _compare(header: ContentHeader, alone: ContentHeader) -> None:
    require(header.fields == alone.fields and header.flags == alone.flags, "other properties")
    require(header.section_p in (None, canonical_properties(alone.fields)), "another section P")
    require((header.body_size, header.table_span) == (alone.body_size, alone.table_span), "other sizes")
    one, other = header.table, alone.table
    require(repr(one.values) == repr(other.values) and [*one.values] == [*other.values], "other values")
    require(one.canonical == other.canonical, "another canonical form")
    require((one.size, one.foreign, one.traits) == (other.size, other.foreign, other.traits), "another table")
    require(one.entries == other.entries, "other entries")
    names = frozenset({"task", TOKEN_NAME})
    require(splice(header, names, b"") == splice(alone, names, b""), "spliced otherwise")


def memory(data: bytes) -> None:
    """An octet each for message, policy and keys; then one for each message to come, and its changes."""
    operands = Operands(data)
    drafts = _drafts()
    draft = drafts[operands.octet() % len(drafts)]
    policy = _POLICIES[operands.octet() % len(_POLICIES)]
    # Each other octet has tables told apart by their task, as sessions have it.
    keys = operands.octet()
    kind_name = TASK_HEADER if keys % (2 * len(_KEYRINGS)) >= len(_KEYRINGS) else ""
    connection = _Connection(policy, _KEYRINGS[keys % len(_KEYRINGS)], kind_name)
    base = Signed(draft.exchange, draft.routing_key, draft.header.payload, draft.body)
    for number in range(_GOOD_FIRST):
        # Ids and the like change before anything else does: what is remembered has gaps there.
        body = BODY.replace(b"2", b"%d" % number, 1)
        header = base.header.replace(b"b3f359bd", b"b3f359b%d" % number).replace(b"c-1", b"c-%d" % number)
        connection.judge(connection.sealed(replace(base, header=header, body=body), stored=False))
    signed = base = connection.sealed(base, stored=False)
    for _ in range(_MESSAGES_MAX):
        if not operands.more:
            return
        choice = operands.octet()
        if choice & 4:
            signed = base
        for _ in range(choice % _CHANGES_MAX):
            signed = changed(signed, operands)
        if choice & 8:
            signed = replace(signed, body=_BODIES[operands.octet() % len(_BODIES)])
        if choice & 16 == 0:
            signed = connection.sealed(signed, stored=choice & 32 != 0)
        if choice & 64:
            connection.now += 0.5
        if choice & 128:
            connection.verifier.keyring = _KEYRINGS[operands.octet() % len(_KEYRINGS)]
        connection.judge(signed)


def json_ways(data: bytes) -> None:
    """What msgspec reads and what the standard library reads is one and the same."""
    for kombu in (False, True):
        one, refused = _parsed(strict_json.parse_json, data, kombu)
        other, refused_slowly = _parsed(strict_json.parse_slowly, data, kombu)
        require(refused == refused_slowly, f"{refused}, but {refused_slowly} by the standard library")
        require(one == other, "another value by the standard library")


def _parsed(parse: object, *args: object) -> tuple[str, tuple[Reason, str] | None]:
    try:
        return _shown(parse(*args)), None  # type: ignore[operator]
    except GateError as error:
        return "", (error.reason, error.detail)


def _shown(value: object) -> str:
    """`repr`, with what kombu reads in typed values."""
    if isinstance(value, strict_json.KombuValue):
        return f"{value.kind} {_shown(value.value)}"
    if isinstance(value, dict):
        return repr([(name, _shown(inner)) for name, inner in value.items()])
    return repr([_shown(item) for item in value]) if isinstance(value, list) else repr(value)
