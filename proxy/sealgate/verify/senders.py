"""The keys that one client's messages came under, and what is asked of each such key again and again.

`known` remembers with them which kinds of messages they may send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import SCHEME, is_kid
from sealgate.signing.token_reader import KID_AT, KID_BYTES_MAX
from sealgate.verify.inputs import Inputs
from sealgate.verify.message import Peer
from sealgate.verify.policy import Policy
from sealgate.verify.seals import context_of, nonce_head

if TYPE_CHECKING:
    from mypy_extensions import i64

#: Keys that take turns on one connection and are remembered, each once a message of it was good: about 300
#: bytes each.
KEYS_MAX: Final = 1024
#: How many of them may differ in what they may do.
GRANTS_MAX: Final = 1024
_START: Final = SCHEME + b"."


class Grant:
    """All that a key may do: two keys with the same one are the same to every check but those of `alike`."""

    __slots__ = ()


class Sender:
    """A key that messages of one client come under."""

    __slots__ = ("_hmac", "grant", "inputs", "is_kept", "key", "kid", "nonce_head", "start")

    def __init__(self, key: Key, start: bytes, grant: Grant, inputs: Inputs, deployment: str) -> None:
        """`start` is what its tokens begin with, up to the dot behind the kid."""
        self.key: Final = key
        self.nonce_head: Final = nonce_head(deployment, key.kid)
        self.kid: Final = key.kid
        self.start: Final = start
        self.grant: Final = grant
        self.inputs: Final = inputs
        #: Whether it is remembered: a message of it was good.
        self.is_kept = False
        #: The algorithm, where it is that of most keys: it is then called directly.
        self._hmac: Final = key.algorithm if isinstance(key.algorithm, HmacSha256) else None

    def proven(self, data: bytes, signature_text: bytes) -> bytes:
        """The fingerprint of `data` where that is this key's signature of it, as text; else b""."""
        if self._hmac is not None:
            return self._hmac.proven(data, signature_text)
        return self.key.algorithm.proven(data, signature_text)


class Senders:
    """The keys of `keyring` that a client's messages came under, all of them proven.

    A key that no message came under is found as well, where it may do just what one of these may.
    """

    __slots__ = ("_by_start", "_grants", "_inputs", "_last", "keyring", "policy")

    def __init__(self, keyring: Keyring, policy: Policy) -> None:
        self.keyring: Final = keyring
        self.policy: Final = policy
        #: By what their tokens begin with, and the one that was named last.
        self._by_start: Final[dict[bytes, Sender]] = {}
        self._last: Sender | None = None
        self._grants: Final[dict[tuple[object, ...], Grant]] = {}
        #: By the name of the algorithm.
        self._inputs: Final[dict[str, Inputs]] = {}

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a key that may do what no other one may."""
        return len(self._grants) >= GRANTS_MAX

    def named(self, text: bytes, at: i64) -> Sender | None:
        """The one that the token `text[at:]` names; nothing is proven by that.

        It is remembered, unless it was before, by `keep`.
        """
        last = self._last
        start = b""
        if last is not None:
            # Kids that take turns mostly have the same length.
            start = text[at : at + len(last.start)]
            if start == last.start:
                return last
            sender = self._by_start.get(start)
            if sender is not None:
                self._last = sender
                return sender
        kid_at = at + KID_AT
        # A slice that ends before it begins is an error where it is compiled.
        start = text[at : max(text.find(b".", kid_at, kid_at + KID_BYTES_MAX) + 1, at)]
        sender = self._by_start.get(start)
        if sender is not None:
            self._last = sender
            return sender
        return self._newcomer(start)

    def _newcomer(self, start: bytes) -> Sender | None:
        if not start.startswith(_START):
            return None
        # It is text: the header was read.
        kid = start[KID_AT:-1].decode()
        key = self.keyring.get(kid) if is_kid(kid) else None
        if key is None:
            return None
        grant = self._grants.get(_granted(key))
        inputs = self._inputs.get(key.algorithm.name)
        return (
            None
            if grant is None or inputs is None
            else Sender(key, start, grant, inputs, self.policy.deployment)
        )

    def of(self, key: Key, peer: Peer) -> Sender:
        """The one of a key that a message was accepted under."""
        start = b"%b%b." % (_START, key.kid.encode())
        sender = self._by_start.get(start)
        if sender is not None:
            return sender
        granted = _granted(key)
        grant = self._grants.get(granted)
        if grant is None:
            grant = self._grants[granted] = Grant()
        name = key.algorithm.name
        inputs = self._inputs.get(name)
        if inputs is None:
            inputs = self._inputs[name] = Inputs(context_of(key, peer, self.policy))
        return Sender(key, start, grant, inputs, self.policy.deployment)

    def keep(self, sender: Sender) -> None:
        """A message of `sender` was good: remember it."""
        if not sender.is_kept:
            if len(self._by_start) >= KEYS_MAX:
                self._by_start.clear()
            self._by_start[sender.start] = sender
            sender.is_kept = True
        self._last = sender


def _granted(key: Key) -> tuple[object, ...]:
    """What a key may do. State, times and lifetime are asked for each time, and all else decides nothing."""
    return (
        key.vhosts,
        key.users,
        key.tasks,
        key.exchanges,
        key.routing_keys,
        key.reply_to,
        key.classes,
    )
