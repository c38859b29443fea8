"""Signs what a client published: a producer's seal, or a gateway's countersignature."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import CHARACTERS, b64url_encode
from sealgate.signing.canonical import TOKEN_NAME, encode_snapshot, signing_context
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import MIDDLE, NONCE_BYTES_MIN, session_nonce, token_head
from sealgate.verify.celery import TASK_HEADER, parse_moment
from sealgate.verify.expiration import expiration_ms
from sealgate.verify.message import Message, Peer
from sealgate.verify.seal_shape import SealShape
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import EXPIRATION, TIMESTAMP, names_in
from sealgate.wire.table import Table
from sealgate.wire.values import LENGTH_BYTES, Likeness

#: How long a seal is valid from its creation, or from the ETA of its task (seal1.md, "Two clocks").
LIFETIME_S: Final = 24 * 3600
#: Kinds of messages of one connection whose seals are known by their shape: about 500 bytes each, beside what
#: `HeaderReader` knows of a kind.
_SHAPES_MAX: Final = 40
#: What the end of a seal depends on, beside the properties.
_TIMES: Final = frozenset({"eta", "expires"})


class SignerSession:
    """One upstream connection as its signer sees it.

    `challenge` is what the gateway upstream announced, empty when it announced none (then nonces are random);
    `sequence` is the next message's. `expires_latest` is the latest end, in Unix seconds, of the seals made
    since who counts them has put it to 0. `known` finds what the seals of messages alike have in common.
    """

    __slots__ = ("_last", "_shapes", "_start", "_start_of", "challenge", "expires_latest", "sequence")

    def __init__(self, challenge: bytes = b"") -> None:
        self.challenge = challenge
        self.sequence = 0
        self.expires_latest = 0
        #: The text of a session nonce but for its last two characters, of 4,096 in a row.
        self._start = b""
        self._start_of = -1
        self._shapes: Final[dict[Likeness, SealShape]] = {}
        self._last: SealShape | None = None

    def nonce_text(self, rng: Callable[[int], bytes]) -> tuple[bytes, bytes, bytes]:
        """A nonce never used before, as a token has it, in three parts. `rng` gives so many random bytes."""
        challenge = self.challenge
        if not challenge:
            return b64url_encode(rng(NONCE_BYTES_MIN)), b"", b""
        sequence = self.sequence
        if sequence >> 12 != self._start_of:
            self._start = b64url_encode(session_nonce(challenge, sequence))[:-2]
            self._start_of = sequence >> 12
        self.sequence = sequence + 1
        return self._start, CHARACTERS[sequence >> 6 & 63], CHARACTERS[sequence & 63]

    def known(self, likeness: Likeness) -> SealShape | None:
        """The shape of the last seal of a message with this likeness."""
        last = self._last
        if last is None or last.likeness is not likeness:
            last = self._shapes.get(likeness)
            if last is not None:
                self._last = last
        return last

    def remember(self, likeness: Likeness, shape: SealShape) -> None:
        """Find `shape` from now on."""
        if len(self._shapes) >= _SHAPES_MAX and likeness not in self._shapes:
            self._shapes.clear()
        self._shapes[likeness] = self._last = shape


class Sealer:
    """Seals with one key, in header `name`. `keyring` and `kid` may be replaced at any time (reload).

    `pattern` (the beginning of kids and `*`) says which keys may take over when that of `kid` can not sign
    any more: the first that can. Empty, none may.
    """

    __slots__ = (
        "_entry",
        "_head",
        "_head_of",
        "_rng",
        "_snapshot",
        "_target",
        "deployment",
        "keyring",
        "kid",
        "name",
        "pattern",
    )

    def __init__(
        self,
        keyring: Keyring,
        kid: str,
        deployment: str,
        rng: Callable[[int], bytes],
        name: str = TOKEN_NAME,
        pattern: str = "",
    ) -> None:
        self.keyring = keyring
        self.kid = kid
        self.pattern: Final = pattern
        self.deployment: Final = deployment
        self.name: Final = name
        self._rng: Final = rng
        #: What is made of this is made anew when it is another: most messages are like the one before.
        self._head_of = ("", 0, 0)
        self._head = b""
        self._target: tuple[str, str, bytes | None, bytes | None] = ("", "", None, None)
        self._snapshot = b64url_encode(encode_snapshot("", ""))
        #: How the entry begins: its name and its type.
        self._entry: Final = entry_longstr(name, b"")[:-LENGTH_BYTES]

    def seal(self, message: Message, peer: Peer, session: SignerSession, now: float) -> bytes:
        """The encoded header entry to add to `message`. Raises `GateError` as `token` does."""
        prefix, signature = self._signed(message, peer.vhost, session, now)
        size = (len(prefix) + 1 + len(signature)).to_bytes(LENGTH_BYTES, "big")
        return b"%b%b%b.%b" % (self._entry, size, prefix, signature)

    def token(self, message: Message, peer: Peer, session: SignerSession, now: float) -> bytes:
        """The value of the header to add to `message`.

        Its header table must have been scanned with the names left out that this seal does not cover. Raises
        `GateError` sig.kid or sig.key_state (the key may not sign now), celery.eta (an ETA that no seal of
        this key outlives) or sig.malformed (a target too long for a token).
        """
        prefix, signature = self._signed(message, peer.vhost, session, now)
        return b"%b.%b" % (prefix, signature)

    def _signed(
        self, message: Message, vhost: str, session: SignerSession, now: float
    ) -> tuple[bytes, bytes]:
        """The two sides of the token's last dot."""
        shape = self._shape_of(message, vhost, session, now)
        sides = shape.sign(message, session.nonce_text(self._rng))
        if shape.expires > session.expires_latest:
            session.expires_latest = shape.expires
        return sides

    def _shape_of(self, message: Message, vhost: str, session: SignerSession, now: float) -> SealShape:
        created = int(now)
        header = message.header
        alike = header.table.alike
        likeness = None if alike is None else alike.likeness
        if likeness is not None:
            known = session.known(likeness)
            if known is not None and known.holds_for(message, vhost, self.keyring, self.kid, created, now):
                return known
        key = self._key(now)
        expires = _expires(message, created, key.max_lifetime_s)
        shape = SealShape(
            message,
            likeness,
            vhost,
            self.keyring,
            self.kid,
            key,
            created,
            expires,
            signing_context(key.algorithm.name, self.deployment, vhost),
            self._head_for(key.kid, created, expires),
            MIDDLE + self._snapshot_for(message),
        )
        # Of the properties that the shape leaves open one is signed as a part of the target.
        if (
            likeness is not None
            and header.shape is not None
            and _TIMES.isdisjoint(likeness.changing)
            and header.field(TIMESTAMP) is None
        ):
            session.remember(likeness, shape)
        return shape

    def _key(self, now: float) -> Key:
        """The one that signs at `now`. Raises `GateError` sig.kid or sig.key_state."""
        try:
            return self.keyring.signer(self.kid, now)
        except GateError:
            if not self.pattern:
                raise
        key = self.keyring.first_signer(self.pattern, now)
        self.kid = key.kid
        return key

    def _head_for(self, kid: str, created: int, expires: int) -> bytes:
        head_of = self._head_of
        if head_of[1] != created or head_of[2] != expires or head_of[0] != kid:
            self._head = token_head(kid, created, expires)
            self._head_of = kid, created, expires
        return self._head

    def _snapshot_for(self, message: Message) -> bytes:
        header = message.header
        expiration, timestamp = header.field(EXPIRATION), header.field(TIMESTAMP)
        known = self._target
        if (
            known[1] != message.routing_key
            or known[0] != message.exchange
            or known[2] != expiration
            or known[3] != timestamp
        ):
            snapshot = encode_snapshot(message.exchange, message.routing_key, expiration, timestamp)
            self._snapshot = b64url_encode(snapshot)
            self._target = message.exchange, message.routing_key, expiration, timestamp
        return self._snapshot


def _expires(message: Message, created: int, max_lifetime_s: int) -> int:
    """When the seal ends: a day after creation or ETA, sooner if the message does, within the key's limit.

    Always after `created`, as the grammar wants it; whether a message is past its own end is for the gateway
    to say.
    """
    lifetime_end = created + max_lifetime_s
    expires = created + LIFETIME_S
    table = message.header.table
    if TASK_HEADER in names_in(table):
        expires = _task_expires(table, expires, lifetime_end)
    expiration = message.header.field(EXPIRATION)
    milliseconds = expiration_ms(expiration) if expiration is not None else None
    if milliseconds is not None:
        expires = min(expires, created + -(-milliseconds // 1000))
    return max(min(expires, lifetime_end), created + 1)


def _task_expires(table: Table, expires: int, lifetime_end: int) -> int:
    eta = parse_moment(table.value("eta"))
    if eta is not None:
        if eta > lifetime_end:
            raise GateError(Reason.CELERY_ETA, "beyond the key's longest lifetime")
        expires = max(expires, ceil(eta) + LIFETIME_S)
    end = parse_moment(table.value("expires"))
    return expires if end is None else min(expires, ceil(end))
