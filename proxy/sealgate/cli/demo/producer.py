"""The demo's producer, a process of its own: `python -m sealgate.cli.demo.producer TASKS SECONDS`.

It publishes and waits for results as any Celery application does, and says on standard output, one JSON
object a line, which tasks it asked for (`sent`), whose results came (`results`), what was wrong (`trouble`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

from celery import chain, group
from celery.result import AsyncResult, GroupResult

from sealgate.cli.demo.celery_app import add, app, flaky

RESULT_S_MAX: Final = 30.0
_PING_S: Final = 2.0


def main(tasks: int, seconds: float) -> None:
    asked: list[tuple[Any, Any]] = []
    started_at = time.monotonic()
    sent = 0
    for result, wanted in _requests():
        ids = _ids(result)
        asked.append((result, wanted))
        sent += len(ids)
        _say(sent=ids)
        if sent >= tasks:
            break
        time.sleep(max(0.0, started_at + seconds * sent / tasks - time.monotonic()))
    for result, wanted in asked:
        _collect(result, wanted)
    if not app.control.ping(timeout=_PING_S):
        _say(trouble="the worker does not answer a ping")
    _say(done=True)


def _requests() -> Iterator[tuple[Any, Any]]:
    """Publish one after the other what applications publish; yields the result and what it must be."""
    for number, kind in enumerate(cycle(("one", "one", "chain", "one", "group", "eta", "one", "retry"))):
        if kind == "one":
            yield add.delay(number, 1), number + 1
        elif kind == "chain":
            yield chain(add.s(number, 1), add.s(10), add.s(100)).apply_async(), number + 111
        elif kind == "group":
            yield group(add.s(number, n) for n in range(3)).apply_async(), [number, number + 1, number + 2]
        elif kind == "eta":
            yield add.apply_async((number, 2), countdown=1), number + 2
        else:
            yield flaky.delay(1), 1


def _ids(result: Any) -> list[str]:
    """The ids of all tasks behind a result."""
    if isinstance(result, GroupResult):
        return [str(child.id) for child in result.results]
    ids: list[str] = []
    step: AsyncResult | None = result
    while step is not None:
        ids.append(str(step.id))
        step = step.parent
    return ids


def _collect(result: Any, wanted: Any) -> None:
    try:
        got = result.get(timeout=RESULT_S_MAX)
    except Exception as error:
        _say(trouble=f"no result: {type(error).__name__}: {error}")
        return
    if got == wanted:
        _say(results=len(_ids(result)))
    else:
        _say(trouble=f"a wrong result: {got!r} instead of {wanted!r}")


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
