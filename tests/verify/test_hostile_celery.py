"""The envelopes of hostile.jsonl: what kills a Celery worker, or makes one do more than the key may."""

from __future__ import annotations

import pytest

from sealgate.verify.message import Message
from support.hostile_rows import Case, Rows, as_json, signature, task_body
from support.sealed import (
    NONCE,
    NOW,
    a_key,
    a_message,
    a_policy,
    rules,
)

HOSTILE = Rows("CE")

HOSTILE.message("CE01", a_message)
HOSTILE.task(
    "CE02",
    {
        "expires": "2026-01-01T01:00:00+00:00",
        "eta": "2026-01-01T00:00:10+00:00",
        "timelimit": [30, 20.5],
        "tenant": "a",
    },
)
CANVAS = {
    "callbacks": [signature("app.add", options={"link": [signature("app.mul")]})],
    "errbacks": [signature("app.add")],
    "chain": [
        signature("celery.group", kwargs={"tasks": [signature("app.mul")]}, subtask_type="group"),
        signature("celery.chain", kwargs={"tasks": [signature("app.mul")]}, subtask_type="chain"),
    ],
    "chord": signature(
        "celery.chord",
        kwargs={"header": [signature("app.add")], "body": signature("app.mul"), "kwargs": {}},
        subtask_type="chord",
    ),
}
HOSTILE.body("CE03", task_body(**CANVAS), key=a_key(tasks=("app.add", "app.mul")))
HOSTILE.task("CE04", {"stamps": {"visit": ["a"]}, "stamped_headers": ["visit"]})
V1 = {
    "task": "app.add",
    "id": NONCE.hex(),
    "args": [2, 3],
    "kwargs": {},
    "retries": 0,
    "eta": None,
    "utc": True,
}
HOSTILE.message("CE05", lambda: a_message(as_json(V1), headers={}))
HOSTILE.message("CE06", lambda: a_message(as_json(V1), headers={}), policy=a_policy(protocol_1=True))
for protocol_1 in (False, True):
    HOSTILE.task("CE07", {"task": "app.evil"}, as_json(V1), policy=a_policy(protocol_1=protocol_1))
HOSTILE.message("CE07", lambda: a_message(as_json(V1), headers={"task": "app.evil"}))
HOSTILE.body("CE09", b"null")
HOSTILE.body("CE10", b"5")
HOSTILE.body("CE12", b"[1]")
HOSTILE.body("CE14", b"[[],{},{},{}]")
HOSTILE.task("CE15", {"id": ...})
HOSTILE.task("CE16", {"id": "../../etc/x"})
HOSTILE.task("CE17", {"task": ["app.add"]})
HOSTILE.task("CE18", {"task": "app.add "}, key=a_key(tasks=("app.add",)))
HOSTILE.task("CE20", {"task": "a" * 300})
HOSTILE.task("CE21", {"timelimit": "abc"})
HOSTILE.task("CE23", {"eta": NOW + 10})
HOSTILE.task("CE24", {"eta": "2026-01-09T00:00:00+00:00"})
HOSTILE.task("CE25", {"expires": "2025-12-31T23:00:00+00:00"})
HOSTILE.task("CE26", {"expires": "zzz"})
HOSTILE.task("CE27", {"retries": 1_000_000})
LIMITED = a_key(tasks=("app.add",))
HOSTILE.body("CE28", task_body(callbacks=[signature("app.evil")]), key=LIMITED)
HOSTILE.body("CE28", task_body(errbacks=[signature("app.evil")]), key=LIMITED)
HOSTILE.body("CE30", task_body(chord=signature("app.evil")), key=LIMITED)


def deep_signature(depth: int) -> dict[str, object]:
    found = signature("app.add")
    for _ in range(depth - 1):
        found = signature("app.add", options={"link": [found]})
    return found


HOSTILE.body("CE32", task_body(callbacks=[deep_signature(100)]))


def command(method: str) -> Message:
    body = {"method": method, "arguments": {}, "destination": None, "pattern": None, "matcher": None}
    return a_message(
        as_json(body), {"clock": 1, "expires": NOW + 1.5}, exchange="celery.pidbox", routing_key=""
    )


HOSTILE.message("CE34", lambda: command("shutdown"), key=a_key(classes=("task",)))
HOSTILE.message("CE34", lambda: command("shutdown"), key=a_key(classes=("task", "control:ping")))
HOSTILE.message("CE35", lambda: command("ping"), key=a_key(classes=("control:ping",)))
EVENT = {"type": "worker-heartbeat", "hostname": "w@h", "timestamp": NOW + 0.5, "clock": 3}
WORKER = a_key(classes=("task", "result", "event"))
HOSTILE.message(
    "CE36",
    lambda: a_message(
        as_json(EVENT), {"hostname": "w@h"}, exchange="celeryev", routing_key="worker.heartbeat"
    ),
    key=WORKER,
)
RESULT = {"task_id": "abc", "status": "SUCCESS", "result": 5, "traceback": None, "children": []}
HOSTILE.message(
    "CE37", lambda: a_message(as_json(RESULT), {}, routing_key="reply"), key=a_key(classes=("task",))
)
HOSTILE.message("CE38", lambda: a_message(as_json(RESULT), {}, routing_key="reply"), key=WORKER)
HOSTILE.task("CE39", {"shadow": "app.evil"}, key=LIMITED)
HOSTILE.message(
    "CE41",
    lambda: a_message(exchange="celery_delayed_3", routing_key="0." * 26 + "1.0.celery"),
    key=a_key(routing_keys=("celery",)),
)
TASKIQ = {"task_id": "1", "task_name": "app:evil", "labels": {}, "args": [], "kwargs": {}}
HOSTILE.message(
    "CE42",
    lambda: a_message(as_json(TASKIQ), {"task_id": "1", "task_name": "app:add"}, {}),
    policy=a_policy(content=rules("taskiq", "")),
)
DRAMATIQ = {
    "queue_name": "low",
    "actor_name": "add",
    "args": [],
    "kwargs": {},
    "options": {},
    "message_id": "1",
    "message_timestamp": NOW,
}
HOSTILE.message(
    "CE43",
    lambda: a_message(as_json(DRAMATIQ), {}, {}, routing_key="high"),
    policy=a_policy(content=rules("dramatiq", "")),
)


@pytest.mark.parametrize(("row", "run"), HOSTILE.parameters())
def test_hostile_row_gets_its_verdict(row: str, run: Case) -> None:
    HOSTILE.check(row, run)


def test_every_row_of_these_families_has_a_case() -> None:
    HOSTILE.check_complete()
