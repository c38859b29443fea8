"""Messages of the canvas cases, written by hand: as Celery's own API writes them, and as it would not."""

from __future__ import annotations

import json
from typing import Any

from sealgate.wire.properties import CORRELATION_ID, REPLY_TO
from support.canvas_stage import mark
from support.hostile_publish import Draft
from support.hostile_rows import signature
from support.sealed import JSON_HEADER, task_headers

Signature = dict[str, Any]
NONE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
EVIL = "admin.wipe"
STEP, FAIL = "shop.step", "shop.fail"


def sig(task: str, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> Signature:
    """A signature as JSON carries it; Celery's own parts are immutable, as Celery writes them."""
    own = task.startswith("celery.")
    return signature(task, args=list(args), kwargs=kwargs or {}, options=options, immutable=own)


def structure(kind: str, options: Any = None, **kwargs: Any) -> Signature:
    """A workflow: `chain`, `group`, `chord`."""
    return signature(f"celery.{kind}", kwargs=kwargs, options=options or {}, subtask_type=kind)


def mapped(task: str, kind: str, target: Any, items: list[Any], **more: Any) -> Signature:
    kwargs = {"task": target, "it": items, **more}
    return signature(f"celery.{task}", kwargs=kwargs, subtask_type=kind, immutable=True)


def forged(
    case: str,
    task: str = "shop.step",
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    reply_to: str = "",
    **embed: Any,
) -> Draft:
    """A task of protocol 2 whose id and first argument carry the mark of its case."""
    own = mark(case)
    body = [[own] if args is None else args, kwargs or {}, {**NONE, **embed}]
    fields = task_headers(**{"task": task, "id": own, "root_id": own, **(headers or {})})
    properties = {**JSON_HEADER, CORRELATION_ID: own.encode(), REPLY_TO: reply_to.encode()}
    return Draft(json.dumps(body).encode(), fields, properties)


def protocol_1(case: str, **fields: Any) -> Draft:
    """A task of protocol 1."""
    own = mark(case)
    body = {"task": "shop.step", "id": own, "args": [own], "kwargs": {}, **fields}
    return Draft(json.dumps(body).encode(), {}, dict(JSON_HEADER))


def nested(depth: int, innermost: Signature, own: str) -> Signature:
    """Callbacks of callbacks, `depth` deep."""
    found = innermost
    for _ in range(depth - 1):
        found = sig(STEP, own, link=[found])
    return found
