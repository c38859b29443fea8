"""What is known of one client's messages: what holds for all that are like one that was accepted.

`alike` checks what is left.
"""

from __future__ import annotations

from typing import Final

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import TOKEN_NAME, Snapshot
from sealgate.signing.hashing import sha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.canvas import names_no_other
from sealgate.verify.celery import ID_NAMES, TASK_HEADER, TaskBody, parse_moment
from sealgate.verify.content import COMPRESSION, Form, form_of
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.verify.seals import context_of, nonce_head
from sealgate.wire.table import Table
from sealgate.wire.values import Likeness

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
#: Kinds of messages that are known of one client, of each to how many targets, and how many keys may send
#: them. All are of messages that were accepted, and take 200 bytes a key, 500 a kind, beside what
#: `HeaderReader` knows of a kind.
KINDS_MAX: Final = 40
TARGETS_MAX: Final = 4
KEYS_MAX: Final = 1024
_NO_BODY: Final = TaskBody([], {}, {})


class Sender:
    """A key that may send messages of a kind."""

    __slots__ = ("_body_bytes", "_context", "_head", "_hmac", "_prefix_bytes", "_size", "key", "nonce_head")

    def __init__(self, key: Key, context: bytes, nonce_head: bytes) -> None:
        self.key: Final = key
        self.nonce_head: Final = nonce_head
        self._context: Final = context
        #: What is signed up to the token's prefix, for one of `_prefix_bytes`.
        self._head = b""
        self._prefix_bytes = -1
        #: The length of the last body, as it is signed.
        self._size = b""
        self._body_bytes = -1
        #: The algorithm, where it is that of most keys: it is then called directly.
        self._hmac: Final = key.algorithm if isinstance(key.algorithm, HmacSha256) else None

    def signed(self, data: bytes, signature_text: bytes) -> bool:
        """Whether it is this key's signature of `data`, as text."""
        if self._hmac is not None:
            return self._hmac.verify_text(data, signature_text)
        return self.key.algorithm.verify_text(data, signature_text)

    def covered_by(self, message: Message, prefix: bytes) -> bytes:
        """The bytes that are signed of a message; `prefix` is its token's. As `signing_input_in`."""
        if len(prefix) != self._prefix_bytes:
            self._prefix_bytes = len(prefix)
            self._head = self._context + len(prefix).to_bytes(4, "big")
        if len(message.body) != self._body_bytes:
            self._body_bytes = len(message.body)
            self._size = self._body_bytes.to_bytes(8, "big")
        return b"%b%b%b%b%b%b" % (
            self._head,
            prefix,
            sha256(message.section_p),
            sha256(message.header.table.canonical),
            self._size,
            message.body_sha256,
        )


class Known:
    """What holds for all messages that are like one that was accepted.

    They have its shape, likeness and target, and are judged by the same policy and keys. Not `usable`, they
    are examined each for itself.
    """

    __slots__ = (
        "_last",
        "_senders",
        "checks_fields",
        "end",
        "eta",
        "exchange",
        "ids_at",
        "keyring",
        "likeness",
        "policy",
        "routing_key",
        "shape",
        "target",
        "task",
        "task_at",
        "token_at",
        "usable",
    )

    def __init__(self, message: Message, likeness: Likeness, keyring: Keyring, policy: Policy) -> None:
        self.shape: Final = message.header.shape
        self.likeness: Final = likeness
        self.exchange: Final = message.exchange
        self.routing_key: Final = message.routing_key
        self.keyring: Final = keyring
        self.policy: Final = policy
        self.usable = False
        self.task = ""
        #: Where the token, the task (unless it is the same in all) and the ids are in `Alike.texts`.
        self.token_at = -1
        self.task_at = -1
        self.ids_at: list[int] = []
        #: More of what Celery's fields hold is looked at than the ids and the clock: it differs.
        self.checks_fields = False
        #: The ETA and the end of all of them, Unix seconds, where they have them.
        self.eta: float | None = None
        self.end: float | None = None
        #: A token's that was found to be theirs, where nothing of it can differ in them.
        self.target: Snapshot | None = None
        self._senders: Final[dict[str, Sender]] = {}
        self._last: Sender | None = None

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

    def sender(self, kid: str) -> Sender | None:
        """The key of that name, if a message of this kind was accepted under it."""
        last = self._last
        if last is None or last.key.kid != kid:
            last = self._senders.get(kid)
            if last is not None:
                self._last = last
        return last

    def admit(self, sender: Sender) -> None:
        """A message of this kind was accepted under this key."""
        self._senders[sender.key.kid] = self._last = sender

    def learn(self, message: Message, table: Table, rules: ContentRules, unread: frozenset[str]) -> None:
        """Find out whether what decides on such messages can be known from this accepted one."""
        likeness, policy = self.likeness, self.policy
        values = likeness.values
        task = values.get(TASK_HEADER)
        if not isinstance(task, str) or not _usable(message, table, task, rules, policy, unread):
            return
        self.usable = True
        self.task = task
        if TASK_HEADER in likeness.changing:
            self.task_at = likeness.texts.index(TASK_HEADER)
        self.token_at = likeness.texts.index(TOKEN_NAME)
        self.ids_at = [likeness.texts.index(name) for name in ID_NAMES if name in likeness.changing]
        self.checks_fields = not _FIELDS.isdisjoint(likeness.changing)
        self.eta = parse_moment(values.get("eta"))
        self.end = parse_moment(values.get("expires"))


class Memory:
    """What is known of one client's messages, all of it from those that were accepted."""

    __slots__ = ("_keys", "_kinds", "_last")

    def __init__(self) -> None:
        self._last: Known | None = None
        self._kinds: Final[dict[Likeness, list[Known]]] = {}
        self._keys = 0

    def all(self) -> list[Known]:
        """Everything, to look at."""
        return [known for kind in self._kinds.values() for known in kind]

    def find(self, message: Message, keyring: Keyring, policy: Policy) -> Known | None:
        """What is known of messages like this one."""
        last = self._last
        if last is not None and last.holds_for(message, keyring, policy):
            return last
        alike = message.header.table.alike
        if alike is None:
            return None
        kind = self._kinds.get(alike.likeness)
        if kind is not None:
            for known in kind:
                if known.holds_for(message, keyring, policy):
                    self._last = known
                    return known
        return None

    def learn(
        self,
        message: Message,
        peer: Peer,
        key: Key,
        keyring: Keyring,
        policy: Policy,
        rules: ContentRules,
        unread: frozenset[str] = UNREAD,
    ) -> None:
        """Remember an accepted message, a task, if there is something to know those like it by.

        `unread` names the headers that no check reads.
        """
        table = message.header.table
        if table.alike is None or message.header.shape is None:
            return
        known = self.find(message, keyring, policy)
        if known is not None and known.sender(key.kid) is not None:
            return
        if self._keys >= KEYS_MAX:
            self._kinds.clear()
            self._keys = 0
            known = None
        if known is None:
            known = Known(message, table.alike.likeness, keyring, policy)
            known.learn(message, table, rules, unread)
            self._remember(known)
        known.admit(Sender(key, context_of(key, peer, policy), nonce_head(policy.deployment, key.kid)))
        self._keys += 1

    def _remember(self, known: Known) -> None:
        self._last = known
        kind = self._kinds.get(known.likeness)
        if kind is not None:
            kind.insert(0, known)
            del kind[TARGETS_MAX:]
            return
        if len(self._kinds) >= KINDS_MAX:
            # The oldest goes: its tables may have long been known by another likeness.
            for oldest in self._kinds:
                del self._kinds[oldest]
                break
        self._kinds[known.likeness] = [known]


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
