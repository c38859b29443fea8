"""What is known of one client's messages: what holds for all that are like one that was accepted.

`alike` checks what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sealgate.signing.canonical import TOKEN_NAME, Snapshot
from sealgate.signing.keyring import Key, Keyring
from sealgate.signing.token import Token, parse_token
from sealgate.signing.token_reader import TokenShape
from sealgate.verify.canvas import names_no_other
from sealgate.verify.celery import ID_NAMES, TASK_HEADER, TaskBody, parse_moment
from sealgate.verify.content import COMPRESSION, Form, form_of
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import CELERY, ContentRules, Policy
from sealgate.verify.senders import GRANTS_MAX, Grant, Sender, Senders
from sealgate.wire.table import Table
from sealgate.wire.values import Likeness

if TYPE_CHECKING:
    from mypy_extensions import i64

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
#: Kinds of messages that are known of one client, and of each to how many targets. All are of messages that
#: were accepted, and take 500 bytes each, beside what `HeaderReader` knows of a kind.
KINDS_MAX: Final = 40
TARGETS_MAX: Final = 4
_NO_BODY: Final = TaskBody([], {}, {})


class Known:
    """What holds for all messages that are like one that was accepted.

    They have its shape, likeness and target, and are judged by the same policy and keys. Not `usable`, they
    are examined each for itself.
    """

    __slots__ = (
        "_grants",
        "_last",
        "checks_fields",
        "end",
        "eta",
        "exchange",
        "ids_at",
        "keyring",
        "likeness",
        "policy",
        "routing_key",
        "senders",
        "shape",
        "target",
        "task",
        "task_at",
        "token_at",
        "tokens",
        "usable",
    )

    def __init__(self, message: Message, likeness: Likeness, senders: Senders) -> None:
        self.shape: Final = message.header.shape
        self.likeness: Final = likeness
        self.exchange: Final = message.exchange
        self.routing_key: Final = message.routing_key
        self.senders: Final = senders
        self.keyring: Final = senders.keyring
        self.policy: Final = senders.policy
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
        #: What their tokens are like; None while none was read for that.
        self.tokens: TokenShape | None = None
        #: A token's that was found to be theirs, where nothing of it can differ in them.
        self.target: Snapshot | None = None
        #: Of the keys that one was accepted under.
        self._grants: Final[set[Grant]] = set()
        self._last: Grant | None = None

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

    def sender(self, text: bytes, at: i64) -> Sender | None:
        """Whose key a token of such a message names, which begins at `text[at]`.

        None unless a message of this kind was accepted under a key that may do all that this one may.
        """
        sender = self.senders.named(text, at)
        if sender is None or (sender.grant is not self._last and not self.admits(sender.grant)):
            return None
        return sender

    def token(self, text: bytes, at: i64, sender: Sender) -> Token:
        """The token `text[at:]`, which names `sender`. Raises `GateError` as `parse_token`.

        Its signature may be left as text: then it must be compared with one that is right.
        """
        tokens = self.tokens
        if tokens is not None:
            token = tokens.read(text, at, sender.kid, at + len(sender.start))
            if token is not None:
                return token
        return parse_token(text[at:])

    def proven(self, text: bytes, at: i64, sender: Sender, token: Token) -> None:
        """A message with this token was good, and more than usual is new about it."""
        self.senders.keep(sender)
        if token.signature:
            self.tokens = TokenShape(text[at:], token)

    def admits(self, grant: Grant) -> bool:
        """Whether a message of this kind was accepted under a key that may do just that."""
        if grant not in self._grants:
            return False
        self._last = grant
        return True

    def admit(self, grant: Grant) -> None:
        """A message of this kind was accepted under such a key."""
        self._grants.add(grant)
        self._last = grant

    @property
    def grants(self) -> int:
        """How many were admitted."""
        return len(self._grants)

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

    __slots__ = ("_grants", "_kinds", "_last", "_senders")

    def __init__(self) -> None:
        self._last: Known | None = None
        self._kinds: Final[dict[Likeness, list[Known]]] = {}
        #: The keys they came under, as they are in force: when others are, all this is forgotten.
        self._senders: Senders | None = None
        #: How many are admitted in all kinds.
        self._grants = 0

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
        senders = self._senders
        if (
            senders is None
            or senders.keyring is not keyring
            or senders.policy is not policy
            or senders.is_full
            or self._grants >= GRANTS_MAX
        ):
            self._forget_all()
            senders = self._senders = Senders(keyring, policy)
        sender = senders.of(key, peer)
        senders.keep(sender)
        known = self.find(message, keyring, policy)
        if known is None:
            known = Known(message, table.alike.likeness, senders)
            known.learn(message, table, rules, unread)
            self._remember(known)
        if not known.admits(sender.grant):
            known.admit(sender.grant)
            self._grants += 1

    def _forget_all(self) -> None:
        self._last = None
        self._kinds.clear()
        self._grants = 0

    def _remember(self, known: Known) -> None:
        self._last = known
        kind = self._kinds.get(known.likeness)
        if kind is not None:
            kind.insert(0, known)
            self._forget(kind[TARGETS_MAX:])
            del kind[TARGETS_MAX:]
            return
        if len(self._kinds) >= KINDS_MAX:
            # The oldest goes: its tables may have long been known by another likeness.
            for oldest in self._kinds:
                self._forget(self._kinds.pop(oldest))
                break
        self._kinds[known.likeness] = [known]

    def _forget(self, gone: list[Known]) -> None:
        for known in gone:
            self._grants -= known.grants


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
