"""Canvas of any shape: what a real worker runs because of an accepted message, its key may send."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.oracles.worker import Worker
from sealgate.reason import GateError
from sealgate.signing.keyring import Key
from sealgate.verify import authority, canvas
from sealgate.verify.verdict import Accepted
from support.sealed import a_key, a_message, judge_sealed, task_headers

PRODUCER = a_key(tasks=("canvas.*",))
#: May also send Celery's own tasks, so that those are looked into as well.
WIDE = a_key(tasks=("canvas.*", "celery.*"))
TASKS = ("canvas.add", "canvas.mul", "canvasless.task")
EVIL = {
    "task": "canvasless.task",
    "args": [],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}
#: What a worker publishes of its own accord: what waits for the parts of a chord, and, where an error link
#: of a chord is no list of signatures but one (an application may write that), a task for each name in it.
OF_CELERY = ("celery.chord_unlock", "celery.accumulate", *EVIL)
#: Often one the key may send: one wrong name in a hundred places is what must be found.
names = st.sampled_from(("canvas.add", "canvas.mul") * 8 + ("canvasless.task",))
OWN = ("celery.chain", "celery.group", "celery.chord", "celery.map", "celery.starmap", "celery.chunks")
TYPES = ("chain", "group", "chord", "xmap", "xstarmap", "chunks")
PARAMETERS = ("tasks", "header", "body", "task", "callback", "it")
Json = st.SearchStrategy[Any]
data = st.sampled_from((1, "x", None, [1, 2], {"a": 1}, [[1], [2]]))


def _options(inner: Json) -> Json:
    several = inner | st.lists(inner, max_size=2)
    headers = st.fixed_dictionaries(
        {}, optional={"task": names, "headers": st.fixed_dictionaries({"task": names})}
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "link": several,
            "link_error": several,
            "chain": st.lists(inner, max_size=2),
            "chord": inner,
            "headers": headers,
            "task_id": st.just("t1"),
            # Ways around a walk that looks at the options above alone.
            "options": st.fixed_dictionaries({"link": several}),
            "immutable": st.booleans(),
        },
    ).flatmap(_perhaps_as_pairs)


def _perhaps_as_pairs(options: dict[str, Any]) -> Json:
    """A chord takes a list of pairs for its options."""
    return st.sampled_from((options,) * 9 + ([[name, value] for name, value in options.items()],))


def _signatures(inner: Json) -> Json:
    several = inner | st.lists(inner, max_size=3)
    plain = st.fixed_dictionaries(
        {
            "task": names | st.sampled_from(OWN),
            "args": st.lists(data | several, max_size=2),
            "kwargs": st.dictionaries(st.sampled_from(PARAMETERS), data | several, max_size=2),
            "options": _options(inner),
            "subtask_type": st.none() | st.sampled_from(TYPES),
            "immutable": st.booleans(),
        }
    )
    structured = st.sampled_from(tuple(zip(OWN, TYPES, strict=True))).flatmap(
        lambda kind: st.fixed_dictionaries(
            {
                "task": st.just(kind[0]),
                "args": st.just([]),
                "kwargs": _structure(kind[1], inner),
                "options": _options(inner),
                "subtask_type": st.just(kind[1]),
                "immutable": st.booleans(),
            }
        )
    )
    return plain | structured


def _structure(kind: str, inner: Json) -> Json:
    if kind in ("chain", "group"):
        return st.fixed_dictionaries({"tasks": st.lists(inner, min_size=1, max_size=3)})
    if kind == "chord":
        return st.fixed_dictionaries({"header": st.lists(inner, min_size=1, max_size=2), "body": inner})
    return st.fixed_dictionaries({"task": inner, "it": st.just([[1], [2]])})


#: What Celery does not write into a signature, most of the time nothing.
extras = st.sampled_from(
    ({},) * 60 + ({"canvasless.task": 1}, {"errbacks": [EVIL]}, {"callbacks": [EVIL]}, {"name": "x"})
)
leaves = st.tuples(names, extras).map(lambda found: {**EVIL, "task": found[0], **found[1]})
signatures = st.recursive(leaves, _signatures, max_leaves=6)


def a_task(**changes: object) -> dict[str, object]:
    """Headers; by default of a task that the key may send."""
    return task_headers(**{"task": "canvas.add", **changes})


@st.composite
def messages(draw: Callable[..., Any]) -> tuple[dict[str, object], bytes]:
    """Headers and body of a task."""
    rarely_alone = st.sampled_from((st.lists(signatures, max_size=2),) * 9 + (signatures,)).flatmap(
        lambda s: s
    )
    several = st.none() | rarely_alone
    embed = {
        "callbacks": draw(several),
        "errbacks": draw(several),
        "chain": draw(several),
        "chord": draw(st.none() | signatures),
    }
    kwargs = draw(st.sampled_from(({}, {}, {"fail": 1}, {"x": 1})))
    changes: dict[str, object] = {"task": draw(st.sampled_from(("canvas.add", "canvas.mul", *OWN)))}
    if draw(st.booleans()):
        changes["group"] = "g1"
    for name in ("callbacks", "errbacks", "chain", "chord", "link", "headers"):
        if draw(st.integers(0, 9)) == 0:
            changes[name] = draw(signatures | st.lists(signatures, max_size=2))
    args = draw(st.lists(data | signatures | st.lists(signatures, max_size=2), max_size=3))
    return a_task(**changes), json.dumps([args, kwargs, embed]).encode()


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(*TASKS)


def accepted(headers: dict[str, object], body: bytes, key: Key) -> bool:
    try:
        return isinstance(judge_sealed(a_message(body, headers), key=key), Accepted)
    except GateError:
        # The header table alone is over a limit.
        return False


def check(worker: Worker, headers: dict[str, object], body: bytes, key: Key) -> bool:
    """Run what was accepted; whether it was. Raises AssertionError for a name the key may not send."""
    if not accepted(headers, body, key):
        return False
    permitted = (*(key.tasks or ()), *OF_CELERY)
    for name in worker.run(headers, body):
        assert any(fnmatchcase(name, pattern) for pattern in permitted), f"a worker runs {name}"
    return True


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(messages())
def test_a_worker_runs_nothing_that_the_key_may_not_send(worker: Worker, message: Any) -> None:
    check(worker, *message, PRODUCER)
    check(worker, *message, WIDE)


def of(embed: dict[str, object], **kwargs: object) -> bytes:
    return json.dumps([[1, 2], kwargs, embed]).encode()


def test_the_oracle_sees_what_a_worker_runs(worker: Worker) -> None:
    assert worker.run(a_task(), of({})) == ["canvas.add"]
    assert worker.run(a_task(), of({"callbacks": [EVIL]})) == [
        "canvas.add",
        "canvasless.task",
        "canvasless.task",
    ]
    assert worker.run(a_task(), of({"chain": [EVIL]})) == ["canvas.add", "canvasless.task", "canvasless.task"]
    assert worker.run(a_task(), of({"errbacks": [EVIL]}, fail=1)) == ["canvas.add", "canvasless.task"]


@pytest.mark.replaces_core
@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord"])
def test_a_walk_that_leaves_something_out_is_noticed(
    worker: Worker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = a_task(group="g1")
    body = of({"chord" if name == "chord" else name: EVIL if name == "chord" else [EVIL]}, fail=1)
    if name != "errbacks":
        body = body.replace(b'"fail": 1', b'"x": 1')
    assert not check(worker, headers, body, PRODUCER)
    monkeypatch.setattr(canvas, "EMBEDDED_NAMES", ())
    if name == "chord":
        # The body of a chord is published by whoever counts the last part.
        assert check(worker, headers, body, PRODUCER)
        return
    with pytest.raises(AssertionError, match=r"canvasless\.task"):
        check(worker, headers, body, PRODUCER)


@pytest.mark.parametrize(
    ("embed", "kwargs"),
    [
        ({"errbacks": {**EVIL, "task": "canvas.mul", "canvasless.task": 1}}, {"fail": 1}),
        (
            {
                "chord": {
                    **EVIL,
                    "task": "canvas.add",
                    "options": {"link_error": {**EVIL, "task": "canvas.mul", "canvasless.task": 1}},
                }
            },
            {},
        ),
    ],
    ids=["errbacks-that-are-a-signature", "error-link-of-a-chord-with-a-name-of-its-own"],
)
def test_a_name_inside_a_signature_that_a_worker_takes_for_a_task(
    worker: Worker, embed: dict[str, object], kwargs: dict[str, object]
) -> None:
    headers, body = a_task(group="g1"), of(embed, **kwargs)
    assert "canvasless.task" in worker.run(headers, body)
    assert not accepted(headers, body, PRODUCER)


@pytest.mark.replaces_core
def test_a_grant_that_permits_all_is_noticed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority.TaskGrant, "check", lambda self, task: None)
    with pytest.raises(AssertionError, match=r"canvasless\.task"):
        check(worker, a_task(), of({"callbacks": [EVIL]}), PRODUCER)
