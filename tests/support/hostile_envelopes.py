"""Rows CE of hostile.jsonl: what Celery, dramatiq and taskiq say, and what kills or misleads a worker."""

from __future__ import annotations

import datetime
import time

from sealgate.wire.properties import PRIORITY
from support.hostile_catalogue import Rows
from support.hostile_publish import Draft, Seal
from support.hostile_rows import as_json, signature, task_body
from support.sealed import JSON_HEADER, task_headers

ROWS = Rows()


def moment(seconds_from_now: float) -> str:
    """ISO 8601 as Celery writes it."""
    return datetime.datetime.fromtimestamp(time.time() + seconds_from_now, datetime.UTC).isoformat()


def tasked(kid: str = "k1", **headers: object) -> Draft:
    """A Celery task with changes of its headers."""
    return Draft(headers=task_headers(**headers), seal=Seal(kid))


def embedding(kid: str = "k1", **embed: object) -> Draft:
    """A Celery task with changes of its embed."""
    return Draft(task_body(**embed), seal=Seal(kid))


ROWS.drafts("CE01", "Celery 5.7 v2 default message", Draft())
HOUR = 3600
ROWS.drafts(
    "CE02",
    "v2 with expires, countdown, limits, priority, custom headers",
    Draft(
        headers=task_headers(eta=moment(10), expires=moment(HOUR), timelimit=[30, 20.5], tenant="a"),
        properties={**JSON_HEADER, PRIORITY: b"\x05"},
    ),
)
CANVAS: dict[str, object] = {
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
ROWS.drafts(
    "CE03", "v2 chain, chord, group, link, link_error with permitted names", embedding("canvas", **CANVAS)
)
ROWS.drafts(
    "CE04",
    "v2 stamped message (stamps, stamped_headers)",
    tasked(stamps={"visit": ["a"]}, stamped_headers=["visit"], visit=["a"]),
)
V1 = as_json(
    {
        "task": "app.add",
        "id": "0" * 32,
        "args": [2, 3],
        "kwargs": {},
        "retries": 0,
        "eta": None,
        "utc": True,
        "expires": None,
    }
)
ROWS.drafts("CE05", "v1 message while v1 is not allowed", Draft(V1, headers={}))
ROWS.drafts("CE06", "v1 message while v1 is allowed", Draft(V1, headers={}), gate="protocol-1")
HYBRID = "v1 body plus header task=app.evil"
ROWS.drafts("CE07", HYBRID, Draft(V1, headers={"task": "app.evil"}))
ROWS.drafts("CE07", HYBRID, Draft(V1, headers=task_headers(task="app.evil")), gate="protocol-1")
ROWS.drafts("CE09", "v2 header, body null", Draft(b"null"))
ROWS.drafts("CE10", "v2 header, body 5", Draft(b"5"))
ROWS.drafts("CE12", "v2 header, body [1]", Draft(b"[1]"))
ROWS.drafts("CE14", "v2 header, body [[],{},{},{}]", Draft(b"[[],{},{},{}]"))
ROWS.drafts("CE15", "v2 without id", tasked(id=...))
ROWS.drafts("CE16", 'id = "../../etc/x"', tasked(id="../../etc/x"))
ROWS.drafts("CE17", "task header is an array", tasked(task=["app.add"]))
ROWS.drafts("CE18", 'task = "app.add " with trailing space', tasked("add", task="app.add "))
ROWS.drafts("CE20", "task name of 300 bytes", tasked(task="a" * 300))
ROWS.drafts("CE21", 'timelimit = "abc"', tasked(timelimit="abc"))
ROWS.drafts("CE23", "eta = integer", tasked(eta=int(time.time()) + 10))
ROWS.drafts(
    "CE24",
    "eta beyond the key's max_lifetime",
    tasked(eta=moment(8 * 24 * HOUR)),
    tasked("day", eta=moment(25 * HOUR)),
)
ROWS.drafts("CE25", "expires in the past", tasked(expires=moment(-HOUR)))
ROWS.drafts("CE26", 'expires = "zzz"', tasked(expires="zzz"))
ROWS.drafts("CE27", "retries = 1,000,000", tasked(retries=1_000_000))
ROWS.drafts(
    "CE28",
    "callback naming a task outside the key's ACL",
    embedding("add", callbacks=[signature("app.evil")]),
    embedding("add", errbacks=[signature("app.evil")]),
    embedding("add", callbacks=[signature("app.add", options={"link": [signature("app.evil")]})]),
)
ROWS.drafts("CE30", "chord callback outside the ACL", embedding("add", chord=signature("app.evil")))


def deep_signature(depth: int) -> dict[str, object]:
    found = signature("app.add")
    for _ in range(depth - 1):
        found = signature("app.add", options={"link": [found]})
    return found


ROWS.drafts("CE32", "embedded signature 100 levels deep", embedding(callbacks=[deep_signature(100)]))


def command(method: str, kid: str) -> Draft:
    """A remote control command as Celery broadcasts it."""
    body = {"method": method, "arguments": {}, "destination": None, "pattern": None, "matcher": None}
    headers: dict[str, object] = {"clock": 1, "expires": time.time() + HOUR}
    return Draft(as_json(body), headers, exchange="celery.pidbox", routing_key="", seal=Seal(kid))


ROWS.drafts(
    "CE34",
    'pidbox "shutdown" from a producer key',
    command("shutdown", "producer"),
    command("shutdown", "producer-ping"),
)
ROWS.drafts("CE35", 'pidbox "ping" from a key with control: [ping]', command("ping", "pinger"))
EVENT = {"type": "worker-heartbeat", "hostname": "w@h", "timestamp": time.time(), "clock": 3}
ROWS.drafts(
    "CE36",
    "event heartbeat from a worker key",
    Draft(
        as_json(EVENT),
        {"hostname": "w@h"},
        exchange="celeryev",
        routing_key="worker.heartbeat",
        seal=Seal("worker"),
    ),
)
RESULT = as_json({"task_id": "abc", "status": "SUCCESS", "result": 5, "traceback": None, "children": []})
ROWS.drafts(
    "CE37",
    "result message from a producer key",
    Draft(RESULT, headers={}, routing_key="reply", seal=Seal("producer")),
)
ROWS.drafts(
    "CE38",
    "result message from a worker key",
    Draft(RESULT, headers={}, routing_key="reply", seal=Seal("worker")),
)
ROWS.drafts("CE39", "shadow = another task name", tasked("add", shadow="app.evil"))
ROWS.drafts(
    "CE41",
    "native delayed delivery: exchange celery_delayed_3, key 28 bits + queue",
    Draft(exchange="celery_delayed_3", routing_key="0." * 26 + "1.0.celery", seal=Seal("queue")),
)
TASKIQ = {"task_id": "1", "task_name": "app:evil", "labels": {}, "args": [], "kwargs": {}}
ROWS.drafts(
    "CE42",
    "taskiq header task_name differs from body task_name",
    Draft(as_json(TASKIQ), {"task_id": "1", "task_name": "app:add"}, properties={}),
    gate="taskiq",
)
DRAMATIQ = {
    "queue_name": "low",
    "actor_name": "add",
    "args": [],
    "kwargs": {},
    "options": {},
    "message_id": "1",
    "message_timestamp": int(time.time() * 1000),
}
ROWS.drafts(
    "CE43",
    "dramatiq queue_name in the body differs from routing key",
    Draft(as_json(DRAMATIQ), {}, properties={}, routing_key="high"),
    gate="dramatiq",
)
