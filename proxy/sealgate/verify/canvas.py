"""What a worker would publish because of a message: the signatures in it (hostile.jsonl CE28 to CE32).

A producer that may send A and not B must not have B sent for it by a worker, as a callback, an errback, a
chain step, a chord body, or inside one of Celery's own tasks that take signatures as arguments. The facts are
from `celery.canvas` and `celery.app.builtins` (5.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.keyring import Key
from sealgate.verify.authority import TaskGrant
from sealgate.verify.celery import EMBEDDED_NAMES, TaskBody, task_name
from sealgate.verify.options import SIGNATURE_OPTIONS, OptionGrant
from sealgate.verify.policy import ContentRules

#: Signatures in signatures. A chain of n groups nests n chords in one another (M), all other shapes a few.
DEPTH_MAX: Final = 32
#: Signatures in one message: each becomes a message of the worker's.
COUNT_MAX: Final = 10_000

#: Parameters of Celery's own tasks that are signatures, by position ("" for one that is none).
_TASK_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "celery.chain": ("tasks",),
    "celery.group": ("tasks",),
    "celery.chord": ("header", "body"),
    "celery.chord_unlock": ("", "callback"),
    "celery.map": ("task",),
    "celery.starmap": ("task",),
    "celery.chunks": ("task",),
}
#: The same for signatures, by `subtask_type`, which decides where it is set. They are keyword arguments then.
_TYPE_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "chain": ("tasks",),
    "group": ("tasks",),
    "chord": ("header", "body"),
    "xmap": ("task",),
    "xstarmap": ("task",),
    "chunks": ("task",),
}
#: Signatures that are only structure: their own name is never published.
_STRUCTURE: Final = frozenset(
    {("celery.chain", "chain"), ("celery.group", "group"), ("celery.chord", "chord")}
)
#: All that Celery writes into a signature (`chord_size` up to 5.1). In some places its workers go through the
#: names of a signature as through a list of signatures, so a name of anybody's choice would be a task's (M).
_SIGNATURE_NAMES: Final = frozenset(
    {"task", "args", "kwargs", "options", "subtask_type", "immutable", "chord_size"}
)
#: Celery's tasks that run the task in their argument themselves, once for each item of another argument.
_MAPS: Final = frozenset({"celery.map", "celery.starmap", "celery.chunks", "xmap", "xstarmap", "chunks"})
_CHORD: Final = "celery.chord"
#: Parameters of the task `celery.chord`. All else it is called with are options of the chord (M).
_CHORD_PARAMETERS: Final = frozenset(
    {"header", "body", "partial_args", "interval", "countdown", "max_retries", "eager", "kwargs"}
)
#: What a worker goes through one by one, without a look at whether it is a list.
_LISTED_NAMES: Final = ("callbacks", "errbacks", "chain")


def check_canvas(
    key: Key,
    grant: TaskGrant,
    rules: ContentRules,
    task: str,
    body: TaskBody,
    headers: Mapping[str, object],
) -> None:
    """Ask for every task that a worker could publish because of this message, and how it would.

    `grant` is that of `key`, `rules` those of the message's content, `headers` what the worker's request
    takes from the header table. Raises `GateError` acl.*, content.*, celery.embedded_depth, celery.id,
    celery.task_name, header.routing, or celery.envelope for what is no signature, or no list of them where a
    worker would take it for one.
    """
    if names_no_other(task, body, headers):
        return
    for name in _LISTED_NAMES:
        _check_listed(body.embed.get(name))
        _check_listed(headers.get(name))
    _check_single(body.embed.get("chord"))
    _check_single(headers.get("chord"))
    options = OptionGrant(key, grant, rules)
    walk = _Walk(grant, options)
    walk.own_task(task, body.args, body.kwargs, 1)
    for name in EMBEDDED_NAMES:
        walk.add(body.embed.get(name), 1)
        # A worker reads these from its request, where headers are what the embed leaves unsaid.
        walk.add(headers.get(name), 1)
    options.check_headers(headers.get("headers"))
    walk.run()


def check_action(key: Key, grant: TaskGrant, rules: ContentRules, action: object) -> None:
    """The same for a signature alone, which a worker that wins an election publishes. Raises as above."""
    walk = _Walk(grant, OptionGrant(key, grant, rules))
    walk.add(action, 1)
    walk.run()


def takes_signatures(task: str) -> bool:
    """Whether this is one of Celery's own tasks that take signatures as arguments."""
    return task in _TASK_PARAMETERS


def names_no_other(task: str, body: TaskBody, headers: Mapping[str, object]) -> bool:
    """Whether a worker would publish nothing because of this message, as for most."""
    if takes_signatures(task) or headers.get("headers") is not None:
        return False
    embed = body.embed
    # Not all(): a generator costs more than what it looks at.
    for name in EMBEDDED_NAMES:  # noqa: SIM110
        if embed.get(name) is not None or headers.get(name) is not None:
            return False
    return True


def _check_listed(value: object) -> None:
    if not isinstance(value, list | None):
        raise GateError(Reason.CELERY_ENVELOPE, "callbacks or a chain that are no list")


def _check_single(value: object) -> None:
    if not isinstance(value, dict | None):
        raise GateError(Reason.CELERY_ENVELOPE, "a chord that is no signature")


class _Walk:
    """Signatures still to be looked at, each with its depth: no recursion, so no stack to exhaust."""

    __slots__ = ("_grant", "_options", "_waiting")

    def __init__(self, grant: TaskGrant, options: OptionGrant) -> None:
        self._grant: Final = grant
        self._options: Final = options
        self._waiting: Final[list[tuple[object, int]]] = []

    def add(self, value: object, depth: int) -> None:
        """`value` stands where a signature or a list of them does."""
        if value is None:
            return
        if depth > DEPTH_MAX:
            raise GateError(Reason.CELERY_EMBEDDED_DEPTH, f"signatures over {DEPTH_MAX} deep")
        self._waiting.append((value, depth))

    def run(self) -> None:
        count = 0
        while self._waiting:
            count += 1
            if count > COUNT_MAX:
                raise GateError(Reason.CELERY_EMBEDDED_DEPTH, f"over {COUNT_MAX} signatures")
            value, depth = self._waiting.pop()
            if isinstance(value, dict):
                self.signature(value, depth)
            elif isinstance(value, list):
                for item in value:
                    self.add(item, depth)
            else:
                # Where a signature is asked for, Celery takes a bare name as one.
                self._grant.check(task_name(value))

    def signature(self, signature: dict[str, object], depth: int) -> None:
        name = task_name(signature.get("task"))
        if not signature.keys() <= _SIGNATURE_NAMES:
            raise GateError(Reason.CELERY_ENVELOPE, "unknown name in a signature")
        kind = signature.get("subtask_type")
        # An application may register types of its own, and read anything as a signature then.
        if kind is not None and (not isinstance(kind, str) or kind not in _TYPE_PARAMETERS):
            raise GateError(Reason.CELERY_ENVELOPE, "subtask_type")
        if (name, kind) not in _STRUCTURE:
            self._grant.check(name)
        args, kwargs, options = signature.get("args"), signature.get("kwargs"), signature.get("options")
        # A chord makes a table of a list of pairs (M).
        if (
            not isinstance(args, list | None)
            or not isinstance(kwargs, dict | None)
            or not isinstance(options, dict | None)
        ):
            raise GateError(Reason.CELERY_ENVELOPE, "args, kwargs or options of a signature")
        if kind is not None:
            self._parameters(kind, _TYPE_PARAMETERS[kind], None, kwargs, depth + 1)
        elif takes_signatures(name):
            if signature.get("immutable") is not True:
                # What the task before it returns becomes its first argument, and so a signature (M).
                raise GateError(Reason.CELERY_ENVELOPE, "takes signatures and what another task returns")
            self.own_task(name, args, kwargs, depth + 1)
        if options:
            self.options(options, depth + 1)

    def options(self, options: dict[str, object], depth: int) -> None:
        for option in SIGNATURE_OPTIONS:
            self.add(options.get(option), depth)
        self._options.check(options)

    def own_task(
        self, task: str, args: list[object] | None, kwargs: dict[str, object] | None, depth: int
    ) -> None:
        """The arguments of one of Celery's own tasks that take signatures, of no other."""
        if not takes_signatures(task):
            return
        self._parameters(task, _TASK_PARAMETERS[task], args, kwargs, depth)
        if task == _CHORD and kwargs:
            more = {name: value for name, value in kwargs.items() if name not in _CHORD_PARAMETERS}
            if more:
                self.options(more, depth)

    def _parameters(
        self,
        kind: str,
        names: tuple[str, ...],
        args: list[object] | None,
        kwargs: dict[str, object] | None,
        depth: int,
    ) -> None:
        """The signatures among the arguments of `kind`, a task or a type of signature."""
        for position, name in enumerate(names):
            if not name:
                continue
            if kwargs is not None:
                self._parameter(kind, kwargs.get(name), depth)
            if args is not None and position < len(args):
                self._parameter(kind, args[position], depth)

    def _parameter(self, kind: str, value: object, depth: int) -> None:
        if kind in _MAPS:
            _check_mapped(value)
        elif not isinstance(value, dict | list | None):
            raise GateError(Reason.CELERY_ENVELOPE, "a parameter that is no signature")
        self.add(value, depth)


def _check_mapped(value: object) -> None:
    """The task that a map calls with items as its arguments: data, so it must not take signatures itself."""
    if value is None:
        return
    name: object = value
    if isinstance(value, dict):
        name = value.get("task")
        if value.get("subtask_type") is not None:
            raise GateError(Reason.CELERY_ENVELOPE, "a map of a workflow")
    if isinstance(name, str) and takes_signatures(name):
        raise GateError(Reason.CELERY_ENVELOPE, "a map of a task that takes signatures")
