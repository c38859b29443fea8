from __future__ import annotations

from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.verify.authority import TaskGrant
from sealgate.verify.canvas import COUNT_MAX, DEPTH_MAX, check_action, check_canvas
from sealgate.verify.celery import TaskBody
from support.hostile_rows import signature
from support.sealed import a_key, rules

OK, EVIL = signature("app.add"), signature("app.evil")


def refusal(
    tasks: tuple[str, ...] | None = ("app.add",),
    task: str = "app.add",
    args: list[object] | None = None,
    kwargs: dict[str, object] | None = None,
    headers: dict[str, object] | None = None,
    **embed: object,
) -> Reason | None:
    body = TaskBody(args or [], kwargs or {}, embed)
    try:
        key = a_key(tasks=tasks)
        check_canvas(key, TaskGrant(key), rules(), task, body, headers or {})
    except GateError as error:
        return error.reason
    return None


def structure(kind: str, **kwargs: object) -> dict[str, object]:
    return signature(f"celery.{kind}", kwargs=kwargs, subtask_type=kind)


def alone(item: object) -> object:
    return item


def listed(item: object) -> object:
    return [item]


def within(item: object) -> object:
    return [OK, [item]]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[(name, shape) for name in ("callbacks", "errbacks", "chain") for shape in (listed, within)],
        ("chord", alone),
    ],
)
def test_signature_is_found_wherever_a_worker_would_read_one(name: str, shape: Any) -> None:
    assert refusal(**{name: shape(OK)}) is None
    assert refusal(**{name: shape(EVIL)}) is Reason.ACL_TASK
    assert refusal(**{name: shape("app.evil")}) is (
        Reason.CELERY_ENVELOPE if name == "chord" else Reason.ACL_TASK
    )
    assert refusal(headers={name: shape(EVIL)}) is Reason.ACL_TASK


@pytest.mark.parametrize(
    "inner",
    [
        signature("app.add", options={"link": [EVIL]}),
        signature("app.add", options={"link": EVIL}),
        signature("app.add", options={"link_error": [EVIL]}),
        signature("app.add", options={"chord": EVIL}),
        signature("app.add", options={"chain": [EVIL]}),
        signature("app.add", options={"headers": {"task": "app.evil"}}),
        signature("app.add", options={"headers": {"headers": {"task": "app.evil"}}}),
        structure("chain", tasks=[OK, EVIL]),
        structure("group", tasks=[OK, EVIL]),
        structure("chord", header=[EVIL], body=OK),
        structure("chord", header=structure("group", tasks=[EVIL]), body=OK),
        structure("chord", header=[OK], body=EVIL),
        signature("celery.chord", args=[[EVIL], OK], immutable=True),
        signature("celery.map", kwargs={"task": EVIL, "it": []}, subtask_type="xmap"),
        signature("celery.starmap", kwargs={"task": "app.evil", "it": []}, subtask_type="xstarmap"),
        signature("celery.chunks", args=[EVIL, [], 1], immutable=True),
        signature("app.add", kwargs={"tasks": [EVIL]}, subtask_type="group"),
    ],
)
def test_signature_inside_a_signature_is_found(inner: dict[str, object]) -> None:
    granted = ("app.add", "celery.chord", "celery.map", "celery.starmap", "celery.chunks")
    assert refusal(granted, callbacks=[inner]) is Reason.ACL_TASK
    assert refusal((*granted, "app.evil"), callbacks=[inner]) is None


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        ("celery.map", [EVIL, []], {}),
        ("celery.map", [], {"task": "app.evil"}),
        ("celery.starmap", [], {"task": EVIL}),
        ("celery.chunks", [EVIL], {}),
        ("celery.group", [[EVIL], [], "gid", []], {}),
        ("celery.chord", [[OK], EVIL], {}),
        ("celery.chord", [], {"header": [EVIL], "body": OK}),
        ("celery.chord_unlock", ["gid", EVIL], {}),
        ("celery.chord_unlock", ["gid"], {"callback": EVIL}),
        ("celery.chain", [], {"tasks": [EVIL]}),
    ],
)
def test_arguments_of_celerys_own_tasks_are_signatures(
    task: str, args: list[object], kwargs: dict[str, object]
) -> None:
    assert refusal(("app.add", "celery.*"), task, args, kwargs) is Reason.ACL_TASK
    assert refusal(("*",), task, args, kwargs) is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        # A group, a chain or a map takes the table in `options` for its options.
        (structure("group", tasks=[OK]) | {"options": {"options": {"link": [EVIL]}}}, Reason.CELERY_ENVELOPE),
        # A chord makes a table of pairs.
        (structure("chord", header=[OK], body=OK) | {"options": [["link", [EVIL]]]}, Reason.CELERY_ENVELOPE),
        (signature("app.add", args="app.evil"), Reason.CELERY_ENVELOPE),
        (signature("app.add", kwargs=[["tasks", [EVIL]]]), Reason.CELERY_ENVELOPE),
        (signature("app.add", subtask_type="application's own"), Reason.CELERY_ENVELOPE),
        (structure("group", tasks="app.evil"), Reason.CELERY_ENVELOPE),
        # What a map calls with its items must not take those for signatures.
        (
            signature("celery.starmap", args=["celery.group", [[[EVIL]]]], immutable=True),
            Reason.CELERY_ENVELOPE,
        ),
        (
            signature(
                "celery.map",
                kwargs={"task": structure("group", tasks=[]), "it": [[EVIL]]},
                subtask_type="xmap",
            ),
            Reason.CELERY_ENVELOPE,
        ),
        # Without arguments of its own, it takes what the task before it returns.
        (signature("celery.group"), Reason.CELERY_ENVELOPE),
        (signature("celery.starmap", args=[[["app.add"]]]), Reason.CELERY_ENVELOPE),
        (signature("app.add", options={"queue": "secret"}), Reason.ACL_ROUTING_KEY),
        (
            signature("app.add", options={"link": [signature("app.add", options={"exchange": "x"})]}),
            Reason.ACL_EXCHANGE,
        ),
        (
            signature("celery.chord", kwargs={"header": [OK], "body": OK, "exchange": "x"}, immutable=True),
            Reason.ACL_EXCHANGE,
        ),
    ],
)
def test_ways_around_the_walk_are_closed(wrong: dict[str, object], reason: Reason) -> None:
    key = a_key(tasks=("app.add", "celery.*"), exchanges=("",), routing_keys=("celery",))
    body = TaskBody([], {}, {"callbacks": [wrong]})
    with pytest.raises(GateError) as caught:
        check_canvas(key, TaskGrant(key), rules(), "app.add", body, {})
    assert caught.value.reason is reason


def test_what_a_chord_is_called_with_beyond_its_parameters_are_options() -> None:
    called = {"header": [OK], "body": OK, "countdown": 2, "link": [EVIL]}
    assert refusal(("app.add", "celery.chord"), "celery.chord", [], called) is Reason.ACL_TASK
    assert refusal(("app.*", "celery.chord"), "celery.chord", [], called) is None


@pytest.mark.parametrize("action", [EVIL, "app.evil", [EVIL], structure("chain", tasks=[EVIL])])
def test_what_an_elected_worker_would_publish_is_asked_for(action: object) -> None:
    for tasks, reason in ((("app.add",), Reason.ACL_TASK), (("app.*",), None)):
        key = a_key(tasks=tasks)
        try:
            check_action(key, TaskGrant(key), rules(), action)
        except GateError as error:
            assert error.reason is reason
        else:
            assert reason is None


def test_arguments_of_other_tasks_are_data() -> None:
    assert refusal(args=[EVIL], kwargs={"task": "buy milk", "tasks": [EVIL]}) is None
    assert refusal(callbacks=[signature("app.add", args=[EVIL], kwargs={"body": EVIL})]) is None


@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain"])
@pytest.mark.parametrize("value", [OK, "app.add", 1, True])
def test_callbacks_that_are_no_list_are_refused(name: str, value: object) -> None:
    # A worker goes through the names of an object, and the letters of a text, as through a list.
    assert refusal(**{name: value}) is Reason.CELERY_ENVELOPE
    assert refusal(headers={name: value}) is Reason.CELERY_ENVELOPE
    assert refusal(**{name: None}) is None


@pytest.mark.parametrize("option", ["link", "link_error", "chord"])
def test_a_name_that_celery_does_not_write_is_no_part_of_a_signature(option: str) -> None:
    named = {**OK, "app.evil": 1}
    assert refusal(chord=named) is Reason.CELERY_ENVELOPE
    assert refusal(chord=signature("app.add", options={option: named})) is Reason.CELERY_ENVELOPE
    assert refusal(chord={**OK, "errbacks": [EVIL]}) is Reason.CELERY_ENVELOPE
    assert refusal(chord={**OK, "chord_size": None}) is None


def test_structure_needs_no_permission_of_its_own_but_celerys_tasks_do() -> None:
    assert refusal(callbacks=[structure("group", tasks=[OK])]) is None
    plain = signature("celery.group", kwargs={"tasks": [OK]}, immutable=True)
    assert refusal(callbacks=[plain]) is Reason.ACL_TASK
    assert refusal(callbacks=[signature("celery.map", kwargs={"task": OK})]) is Reason.ACL_TASK


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (5, Reason.CELERY_TASK_NAME),
        ({}, Reason.CELERY_TASK_NAME),
        ({"task": None}, Reason.CELERY_TASK_NAME),
        ({"task": {"task": "app.add"}}, Reason.CELERY_TASK_NAME),
        (signature("app.add", subtask_type=[]), Reason.CELERY_ENVELOPE),
        (signature("app.add", options={"headers": {"task": 5}}), Reason.CELERY_TASK_NAME),
    ],
)
def test_what_is_no_signature_is_refused_under_any_key(wrong: object, reason: Reason) -> None:
    assert refusal(None, callbacks=[wrong]) is reason


def linked(depth: int) -> dict[str, object]:
    found = OK
    for _ in range(depth - 1):
        found = signature("app.add", options={"link": [found]})
    return found


@pytest.mark.parametrize("tasks", [None, ("app.add",)])
def test_depth_is_bounded_to_the_level_under_any_key(tasks: tuple[str, ...] | None) -> None:
    assert refusal(tasks, callbacks=[linked(DEPTH_MAX)]) is None
    assert refusal(tasks, callbacks=[linked(DEPTH_MAX + 1)]) is Reason.CELERY_EMBEDDED_DEPTH


def test_count_is_bounded() -> None:
    # The list itself counts as one.
    assert refusal(callbacks=[OK] * (COUNT_MAX - 1)) is None
    assert refusal(callbacks=[OK] * COUNT_MAX) is Reason.CELERY_EMBEDDED_DEPTH


def test_parts_of_nested_chords_are_visited_once() -> None:
    found: dict[str, object] = OK
    for _ in range(DEPTH_MAX - 1):
        found = structure("chord", header=[OK], body=found)
    assert refusal(chord=found) is None


def test_headers_of_headers_are_bounded() -> None:
    nested: dict[str, object] = {"trace": "x"}
    for _ in range(7):
        nested = {"headers": nested}
    assert refusal(headers={"headers": nested}) is None
    assert refusal(headers={"headers": {"headers": nested}}) is Reason.CELERY_EMBEDDED_DEPTH
    assert refusal(headers={"headers": {"task": "app.evil"}}) is Reason.ACL_TASK


@pytest.mark.parametrize("value", [[OK], "app.add", 1])
def test_a_chord_that_is_no_signature_is_refused(value: object) -> None:
    assert refusal(chord=value) is Reason.CELERY_ENVELOPE
    assert refusal(headers={"chord": value}) is Reason.CELERY_ENVELOPE
