"""What real Celery and kombu write, in every shape they write it, passes: nothing legitimate is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import pytest
from celery import Celery, chain, chord, group
from celery.canvas import StampingVisitor
from kombu.messaging import Producer
from kombu.pidbox import Mailbox

from sealgate.reason import Reason
from sealgate.signing.keyring import Key
from sealgate.verify.message import Message
from sealgate.verify.policy import Policy
from sealgate.verify.verdict import Accepted, Refused
from support.sealed import a_key, a_policy, judge, received, rules, sealed

WIDE = a_policy(
    content=rules(
        "celery",
        "application/json",
        "application/x-msgpack",
        compression=("application/x-gzip", "application/x-bz2", "application/x-lzma"),
    )
)
PROPERTIES = {name for name, _ in amqp.Message.PROPERTIES}
PRODUCER = a_key(tasks=("app.*",), classes=("task",))
WORKER = a_key(classes=("task", "result", "event", "control:reply"))


class Traffic:
    """A Celery application whose publishes are caught as AMQP messages instead of being sent."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.caught: list[Message] = []
        self.add = app.task(_add, name="app.add", shared=False)
        self.mul = app.task(_add, name="app.mul", shared=False)
        self.evil = app.task(_add, name="evil.task", shared=False)

    def publish(self, body: Any, priority: Any, content_type: str, content_encoding: str, *rest: Any) -> None:
        """Stands in for `Producer._publish`, the last step before the transport."""
        headers, properties, routing_key, _, _, exchange = rest[:6]
        data = body.encode() if isinstance(body, str) else body
        known = {name: value for name, value in properties.items() if name in PROPERTIES}
        message = amqp.Message(
            data,
            content_type=content_type,
            content_encoding=content_encoding,
            application_headers=headers,
            **({"priority": priority} if priority is not None else {}),
            **known,
        )
        payload = struct.pack(">HHQ", 60, 0, len(data)) + message._serialize_properties()
        self.caught.append(received(payload, data, exchange or "", routing_key or ""))

    def judged(self, key: Key = PRODUCER, policy: Policy = WIDE) -> list[Reason]:
        """The reasons that the messages caught so far get under `key`, one each."""
        caught, self.caught = self.caught, []
        assert caught, "nothing was published"
        # Celery tells the time by itself, so these are judged at the time of day.
        now = int(self.app.now().timestamp())
        return [_reason(judge(sealed(m, key=key, created=now), policy, (key,), now=now)) for m in caught]


def _add(*args: object, **kwargs: object) -> None:
    """A task body; it never runs."""


def _reason(verdict: Accepted | Refused) -> Reason:
    return verdict.reason if isinstance(verdict, Refused) else Reason.OK


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    app = Celery("traffic", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_publish_retry = False
    app.conf.task_allow_error_cb_on_chord_header = True
    found = Traffic(app)
    monkeypatch.setattr(Producer, "_publish", lambda producer, *args, **_: found.publish(*args))
    yield found
    app.close()


class Visitor(StampingVisitor):
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"visit": "v1", "stamped_headers": ["visit"]}


def stamped(traffic: Traffic) -> Any:
    signature = traffic.add.s(1, 2)
    signature.stamp(Visitor())
    return signature


def stamped_chord(traffic: Traffic) -> Any:
    signature = traffic.add.s(1) | group(traffic.add.s(1), traffic.mul.s(2)) | traffic.mul.s(3)
    signature.stamp(Visitor(), customer="c-17")
    signature.link_error(traffic.add.s(9))
    return signature


SENDS: dict[str, Callable[[Traffic], object]] = {
    "delay": lambda t: t.add.delay(1, y="é"),
    "options": lambda t: t.add.apply_async((1,), countdown=60, expires=3600, priority=5, time_limit=9),
    "soft_limit": lambda t: t.add.apply_async((1,), soft_time_limit=1.5, retries=3, shadow="name"),
    "headers": lambda t: t.add.apply_async((1,), headers={"tenant": "a", "headers": {"trace": "b"}}),
    "typed": lambda t: t.add.delay(b"\xff", {"when": t.app.now()}),
    "own_id": lambda t: t.add.apply_async((1,), task_id="order-17:paid"),
    "chain": lambda t: chain(t.add.s(1, 2), t.mul.s(3), t.add.s(4)).delay(),
    "group": lambda t: group(t.add.s(n, n) for n in range(3)).delay(),
    "chord": lambda t: chord([t.add.s(1, 1), t.add.s(2, 2)], t.mul.s(9)).delay(),
    "chain_of_groups": lambda t: chain(*[group(t.add.si(n), t.mul.si(n)) for n in range(20)]).delay(),
    "chord_in_chain": lambda t: (t.add.s(1) | group(t.add.s(1), t.mul.s(2)) | t.mul.s(3)).delay(),
    "links": lambda t: t.add.apply_async((1,), link=[t.mul.s(1), t.add.s(2)], link_error=t.add.s(3)),
    "stamps": lambda t: stamped(t).delay(),
    "routed": lambda t: (t.add.s(1) | t.mul.s(2).set(queue="other", priority=3, countdown=4)).delay(),
    "in_other_forms": lambda t: (
        t.add.s(1) | t.mul.s(2).set(serializer="msgpack", compression="zlib")
    ).delay(),
    "timed": lambda t: (t.add.s(1) | t.mul.s(2).set(expires=t.app.now(), time_limit=9, retry=False)).delay(),
    "stamped_chord": lambda t: stamped_chord(t).delay(),
    "own_headers": lambda t: t.add.apply_async((1,), link=t.mul.s(1).set(headers={"tenant": "a"})),
    "policy": lambda t: (
        t.add.s(1) | t.mul.s(1).set(retry_policy={"max_retries": 1, "interval_max": 2})
    ).delay(),
    "chord_in_callback": lambda t: t.add.apply_async((1,), link=chord([t.add.s(1), t.add.s(2)], t.mul.s())),
    "errbacks": lambda t: (t.add.s(1) | t.mul.s(2)).on_error(t.add.si(3)).apply_async(link_error=t.mul.s(1)),
    "group_of_chains": lambda t: group(t.add.s(1) | t.mul.s(2), t.add.s(3)).apply_async(
        priority=2, expires=60
    ),
    "zlib": lambda t: t.add.apply_async(("x" * 2000,), compression="zlib"),
    "bzip2": lambda t: t.add.apply_async(("x" * 2000,), compression="bzip2"),
    "lzma": lambda t: t.add.apply_async(("x" * 2000,), compression="lzma"),
    "msgpack": lambda t: t.add.apply_async((1, "é", 2.5), serializer="msgpack"),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
def test_task_as_celery_sends_it_passes(traffic: Traffic, send: Callable[[Traffic], object]) -> None:
    send(traffic)
    assert set(traffic.judged()) == {Reason.OK}


@pytest.mark.parametrize(
    "send",
    [
        lambda t: t.add.apply_async((1,), link=t.evil.s()),
        lambda t: t.add.apply_async((1,), link_error=[t.evil.s()]),
        lambda t: chain(t.add.s(1), t.mul.s(2), t.evil.s()).delay(),
        lambda t: chain(*[group(t.add.si(n), t.mul.si(n)) for n in range(9)], t.evil.si()).delay(),
        lambda t: chord([t.add.s(1)], t.evil.s()).delay(),
        lambda t: t.add.apply_async((1,), link=chord([t.add.s(1), t.evil.s(2)], t.mul.s())),
        lambda t: t.add.apply_async((1,), link=t.evil.map([1, 2])),
        lambda t: t.add.apply_async((1,), link=t.evil.chunks([(1, 1), (2, 2)], 1)),
        lambda t: t.add.apply_async((1,), link=t.add.s().set(headers={"task": "evil.task"})),
        lambda t: t.add.apply_async((1,), headers={"headers": {"task": "evil.task"}}),
    ],
)
def test_task_that_would_have_another_one_published_is_refused(
    traffic: Traffic, send: Callable[[Traffic], object]
) -> None:
    send(traffic)
    assert Reason.ACL_TASK in traffic.judged()


def test_tasks_of_celery_that_run_others_need_permission_for_both(traffic: Traffic) -> None:
    traffic.evil.starmap([(1, 2)]).delay()
    assert traffic.judged() == [Reason.ACL_TASK]
    traffic.evil.starmap([(1, 2)]).delay()
    assert traffic.judged(a_key(tasks=("celery.starmap",))) == [Reason.ACL_TASK]
    traffic.add.starmap([(1, 2)]).delay()
    assert traffic.judged(a_key(tasks=("celery.starmap", "app.add"))) == [Reason.OK]


def test_protocol_1_passes_only_where_it_is_let_in(traffic: Traffic) -> None:
    traffic.app.conf.task_protocol = 1
    for _ in range(2):
        traffic.add.apply_async((1,), countdown=5, link=traffic.mul.s())
    second = traffic.caught[1:]
    del traffic.caught[1:]
    assert traffic.judged() == [Reason.CELERY_PROTOCOL]
    traffic.caught = second
    assert traffic.judged(policy=a_policy(protocol_1=True)) == [Reason.OK]


def test_protocol_1_callback_outside_the_key_is_refused(traffic: Traffic) -> None:
    traffic.app.conf.task_protocol = 1
    traffic.add.apply_async((1,), link=traffic.evil.s())
    assert traffic.judged(policy=a_policy(protocol_1=True)) == [Reason.ACL_TASK]


def test_results_over_rpc_pass_under_a_worker_key_only(traffic: Traffic) -> None:
    from celery.app.task import Context
    from celery.backends.rpc import RPCBackend

    backend = RPCBackend(traffic.app)
    request = Context(reply_to="reply-queue", correlation_id="c1", id="c1", children=[])
    for state, result in (("SUCCESS", {"a": 1}), ("FAILURE", ValueError("x")), ("STARTED", {"pid": 1})):
        backend.store_result("c1", result, state, request=request)
    caught = list(traffic.caught)
    assert traffic.judged(WORKER) == [Reason.OK] * 3
    traffic.caught = caught
    assert traffic.judged(PRODUCER) == [Reason.ACL_CLASS] * 3


@pytest.mark.parametrize("name", ["ping", "revoke", "active_queues", "shutdown"])
def test_remote_control_passes_under_a_key_for_that_command(traffic: Traffic, name: str) -> None:
    control = traffic.app.control
    for reply in (False, True):
        control.broadcast(name, arguments={"task_id": "x"}, reply=reply, timeout=0.01)
        caught = list(traffic.caught)
        assert traffic.judged(a_key(classes=("control:" + name,))) == [Reason.OK]
        traffic.caught = list(caught)
        assert traffic.judged(a_key(classes=("task", "control:none"))) == [Reason.CELERY_CONTROL]
        traffic.caught = list(caught)
        assert traffic.judged(PRODUCER) == [Reason.CELERY_CONTROL]
        traffic.caught = caught
        assert traffic.judged(a_key(classes=("control",))) == [Reason.OK]


def test_answers_to_remote_control_pass_under_a_worker_key(traffic: Traffic) -> None:
    with traffic.app.connection() as connection:
        node = Mailbox("celery", connection=connection)(connection).Node("w@h", channel=connection.channel())
        node.reply({"w@h": {"ok": "pong"}}, "reply.celery.pidbox", "oid", "ticket")
    caught = list(traffic.caught)
    assert traffic.judged(WORKER) == [Reason.OK]
    traffic.caught = caught
    assert traffic.judged(PRODUCER) == [Reason.CELERY_CONTROL]


def test_events_pass_alone_and_in_bulk_under_a_worker_key(traffic: Traffic) -> None:
    with (
        traffic.app.connection() as connection,
        traffic.app.events.Dispatcher(
            connection, hostname="w@h", buffer_group=frozenset({"task"})
        ) as dispatcher,
    ):
        dispatcher.send("worker-heartbeat", freq=2, active=0, loadavg=(0.1, 0.2, 0.3))
        for _ in range(3):
            dispatcher.send("task-received", uuid="x", args="(1,)")
        dispatcher.flush()
    caught = list(traffic.caught)
    assert [message.exchange for message in caught] == ["celeryev", "celeryev"]
    assert traffic.judged(WORKER) == [Reason.OK, Reason.OK]
    traffic.caught = caught
    assert traffic.judged(PRODUCER) == [Reason.ACL_CLASS, Reason.ACL_CLASS]
