"""What a worker would publish because of a message: the signatures in it (hostile.jsonl CE28 to CE32).

A producer that may send A and not B must not have B sent for it by a worker, as a callback, an errback, a
chain step, a chord body, or inside one of Celery's own tasks that take signatures as arguments. The facts are
from `celery.canvas` and `celery.app.builtins` (5.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.authority import TaskGrant
from sealgate.verify.celery import EMBEDDED_NAMES, TaskBody, task_name

#: Signatures in signatures. A chain of n groups nests n chords in one another (M), all other shapes a few.
DEPTH_MAX: Final = 32
#: Signatures in one message: each becomes a message of the worker's.
COUNT_MAX: Final = 10_000
#: Tables in the header `headers`, which a worker merges into the headers of a retry.
_HEADERS_DEPTH_MAX: Final = 8

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
#: What a worker goes through one by one, without a look at whether it is a list.
_LISTED_NAMES: Final = ("callbacks", "errbacks")
#: Options of a signature that are signatures.
_OPTIONS: Final = ("link", "link_error", "chain", "chord")


def check_canvas(grant: TaskGrant, task: str, body: TaskBody, headers: Mapping[str, object]) -> None:
    """Ask `grant` for every task that a worker could publish because of this message.

    `headers` are what the worker's request takes from the header table. Raises `GateError` acl.task,
    celery.embedded_depth, celery.task_name, or celery.envelope for what is no signature, or no list of them
    where a worker would take it for one.
    """
    if names_no_other(task, body, headers):
        return
    for name in _LISTED_NAMES:
        _check_listed(body.embed.get(name))
        _check_listed(headers.get(name))
    walk = _Walk(grant)
    walk.parameters(_TASK_PARAMETERS.get(task, ()), body.args, body.kwargs, 1)
    for name in EMBEDDED_NAMES:
        walk.add(body.embed.get(name), 1)
        # A worker reads these from its request, where headers are what the embed leaves unsaid.
        walk.add(headers.get(name), 1)
    walk.headers(headers.get("headers"))
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
        raise GateError(Reason.CELERY_ENVELOPE, "callbacks that are no list")


class _Walk:
    """Signatures still to be looked at, each with its depth: no recursion, so no stack to exhaust."""

    __slots__ = ("_grant", "_waiting")

    def __init__(self, grant: TaskGrant) -> None:
        self._grant: Final = grant
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
        if not isinstance(kind, str | None):
            raise GateError(Reason.CELERY_ENVELOPE, "subtask_type")
        if (name, kind) not in _STRUCTURE:
            self._grant.check(name)
        kwargs = signature.get("kwargs")
        if kind in _TYPE_PARAMETERS:
            self.parameters(_TYPE_PARAMETERS[kind], None, kwargs, depth + 1)
        else:
            self.parameters(_TASK_PARAMETERS.get(name, ()), signature.get("args"), kwargs, depth + 1)
        options = signature.get("options")
        if isinstance(options, dict):
            for option in _OPTIONS:
                self.add(options.get(option), depth + 1)
            self.headers(options.get("headers"))

    def parameters(self, names: tuple[str, ...], args: object, kwargs: object, depth: int) -> None:
        for position, name in enumerate(names):
            if not name:
                continue
            if isinstance(kwargs, dict):
                self.add(kwargs.get(name), depth)
            if isinstance(args, list) and position < len(args):
                self.add(args[position], depth)

    def headers(self, headers: object) -> None:
        """Headers that a worker publishes with: a `task` among them replaces the name."""
        depth = 0
        while isinstance(headers, dict):
            depth += 1
            if depth > _HEADERS_DEPTH_MAX:
                raise GateError(Reason.CELERY_EMBEDDED_DEPTH, f"headers over {_HEADERS_DEPTH_MAX} deep")
            if "task" in headers:
                self._grant.check(task_name(headers["task"]))
            headers = headers.get("headers")
