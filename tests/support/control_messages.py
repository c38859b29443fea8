"""Remote control and events of the tests of what a key may do: as kombu writes them, and forged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.canvas_shapes import EVIL, STEP, sig
from support.hostile_publish import Draft

MAILBOX, EVENTS = "celery.pidbox", "celeryev"
ELECTION = "election-1"


def command(method: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The body of a command."""
    return {
        "method": method,
        "arguments": arguments or {},
        "destination": None,
        "pattern": None,
        "matcher": None,
        **more,
    }


def control(body: dict[str, Any], clock: int = 1, exchange: str = MAILBOX, routing_key: str = "") -> Draft:
    """A command to all workers, or to the mailbox of one of them by the name of its queue."""
    headers = {"clock": clock, "expires": time.time() + 60}
    return Draft(json.dumps(body).encode(), headers, exchange=exchange, routing_key=routing_key)


def event(kind: str, host: str, clock: int = 1, **fields: Any) -> Draft:
    """A worker's event."""
    body = {
        "type": kind,
        "hostname": host,
        "clock": clock,
        "timestamp": time.time(),
        "utcoffset": 0,
        **fields,
    }
    routing_key = kind.replace("-", ".")
    return Draft(json.dumps(body).encode(), {"hostname": host}, exchange=EVENTS, routing_key=routing_key)


def heartbeat(host: str, clock: int = 1) -> Draft:
    return event("worker-heartbeat", host, clock, pid=1, freq=2)


def election(action: Any) -> Draft:
    """The command that has workers elect one of them, which publishes `action`."""
    return control(command("election", {"id": ELECTION, "topic": "task", "action": action}))


def candidate(host: str, pid: int, action: Any) -> Draft:
    """The event of a candidate of that election. The lowest clock wins, and so does what it asked for."""
    return event("worker-elect", host, 1, pid=pid, id=ELECTION, topic="task", action=action, cver=1)


@dataclass(frozen=True)
class Asked:
    """A message of `kid`, and the reason it is refused for, "" for none."""

    kid: str
    draft: Callable[[str], Draft]
    reason: str = ""


#: `draft` gets the name of the worker that is asked.
ASKED: dict[str, Asked] = {
    "ping": Asked("monitor", lambda w: control(command("ping"))),
    "active_of_one": Asked("monitor", lambda w: control(command("active", destination=[w]))),
    "by_glob": Asked("monitor", lambda w: control(command("ping", pattern="kept@*", matcher="glob"))),
    "mailbox_of_one": Asked(
        "monitor", lambda w: control(command("ping"), exchange="", routing_key=f"{w}.{MAILBOX}")
    ),
    "any_command": Asked("admin", lambda w: control(command("clock"))),
    "expression_by_who_may_all": Asked(
        "admin", lambda w: control(command("ping", pattern="nobody@.*", matcher="pcre"))
    ),
    "shutdown": Asked("monitor", lambda w: control(command("shutdown")), "celery.control"),
    "shutdown_of_one": Asked(
        "monitor", lambda w: control(command("shutdown", destination=[w])), "celery.control"
    ),
    "shutdown_in_the_mailbox": Asked(
        "monitor",
        lambda w: control(command("shutdown"), exchange="", routing_key=f"{w}.{MAILBOX}"),
        "celery.control",
    ),
    "shutdown_by_another_name": Asked(
        "monitor", lambda w: control(command("ping shutdown")), "celery.control"
    ),
    "alias": Asked("monitor", lambda w: control(command("dump_active")), "celery.control"),
    "revoke": Asked(
        "monitor", lambda w: control(command("revoke", {"task_id": "x", "terminate": True})), "celery.control"
    ),
    "command_of_a_producer": Asked("wide", lambda w: control(command("ping")), "celery.control"),
    "shutdown_of_a_worker_key": Asked("worker", lambda w: control(command("shutdown")), "celery.control"),
    "expression": Asked(
        "monitor",
        lambda w: control(command("ping", pattern="(.*)*" * 40 + "X", matcher="pcre")),
        "celery.control",
    ),
    "end_of_the_clock": Asked("monitor", lambda w: control(command("ping"), 2**63 - 1), "celery.envelope"),
    "answer_to_a_queue": Asked(
        "monitor",
        lambda w: control(command("ping", ticket="t", reply_to={"exchange": "", "routing_key": "celery"})),
        "acl.reply_to",
    ),
    "answer_to_another_mailbox": Asked(
        "monitor",
        lambda w: control(command("ping", ticket="t", reply_to={"exchange": MAILBOX, "routing_key": ""})),
        "acl.reply_to",
    ),
    "elected_to_another_task": Asked("admin", lambda w: election(sig(EVIL)), "acl.task"),
    "answer_of_a_producer": Asked(
        "wide",
        lambda w: Draft(
            b'{"w": {"ok": "pong"}}', {"ticket": "t"}, exchange=f"reply.{MAILBOX}", routing_key="x"
        ),
        "celery.control",
    ),
    "event_of_a_producer": Asked("wide", heartbeat, "acl.class"),
    "event_of_a_monitor": Asked("monitor", heartbeat, "acl.class"),
    "event_of_a_worker": Asked("worker", heartbeat),
    "events_at_once": Asked(
        "worker",
        lambda w: Draft(
            json.dumps([{"type": "task-started", "uuid": "x", "hostname": w, "clock": 2}] * 3).encode(),
            {"hostname": w},
            exchange=EVENTS,
            routing_key="task.multi",
        ),
    ),
    "event_at_the_end_of_the_clock": Asked("worker", lambda w: heartbeat(w, 2**63 - 1), "celery.envelope"),
    "candidate_for_another_task": Asked("admin", lambda w: candidate(w, 1, sig(EVIL)), "acl.task"),
    "candidate_of_who_holds_no_elections": Asked(
        "worker", lambda w: candidate(w, 1, sig(STEP)), "celery.control"
    ),
    "event_that_ends_workers": Asked(
        "worker", lambda w: event("worker-online", w, alive=True), "celery.envelope"
    ),
    # A worker alone ends over an election with one candidate (Celery 5.7), so here there are two.
    "candidate_for_a_task_of_the_key": Asked("admin", lambda w: candidate("x@tests", 1, sig(STEP))),
    "elected_to_a_task_of_the_key": Asked("admin", lambda w: election(sig(STEP, "elected"))),
}
