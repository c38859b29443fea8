"""Methods of who receives messages, against pamqp."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from pamqp import commands, frame

from sealgate.reason import GateError, Reason
from sealgate.wire import consuming, receiving

Basic, Queue = commands.Basic, commands.Queue


def payload(method: Any) -> bytes:
    return frame.marshal(method, 1)[7:-1]


@pytest.mark.parametrize("tag", ["", "tag", "t" * 255])
@pytest.mark.parametrize(("no_ack", "nowait"), [(False, False), (True, False), (False, True), (True, True)])
def test_consume(tag: str, no_ack: bool, nowait: bool) -> None:
    method = Basic.Consume(
        queue="queue",
        consumer_tag=tag,
        no_local=True,
        exclusive=True,
        no_ack=no_ack,
        nowait=nowait,
        arguments={"x-priority": 1},
    )
    consume = consuming.read_consume(payload(method))
    assert (consume.queue, consume.tag, consume.no_ack, consume.nowait) == (
        "queue",
        tag.encode(),
        no_ack,
        nowait,
    )
    renamed = consuming.with_consumer_tag(payload(method), consume, b"mine")
    method.consumer_tag = "mine"
    assert renamed == payload(method)


@pytest.mark.parametrize("nowait", [False, True])
def test_cancel(nowait: bool) -> None:
    assert consuming.read_cancel(payload(Basic.Cancel("tag", nowait))) == (b"tag", nowait)


def test_tags() -> None:
    for method in (Basic.ConsumeOk("tag"), Basic.Cancel("tag"), Basic.CancelOk("tag")):
        assert consuming.read_consumer_tag(payload(method)) == b"tag"


@pytest.mark.parametrize("no_ack", [False, True])
def test_get(no_ack: bool) -> None:
    get = consuming.read_get(payload(Basic.Get(queue="q", no_ack=no_ack)))
    assert (get.queue, get.no_ack) == ("q", no_ack)


@pytest.mark.parametrize("nowait", [False, True])
def test_declare(nowait: bool) -> None:
    method = Queue.Declare(
        queue="q", passive=True, durable=True, exclusive=True, auto_delete=True, nowait=nowait
    )
    declare = consuming.read_declare(payload(method))
    assert (declare.queue, declare.nowait) == ("q", nowait)
    assert declare.passive and declare.exclusive and declare.auto_delete
    assert consuming.read_declare_ok(payload(Queue.DeclareOk("amq.gen-1", 2, 3))) == "amq.gen-1"


@pytest.mark.parametrize("redelivered", [False, True])
def test_delivered(redelivered: bool) -> None:
    tag = 2**40 + 7
    deliver = receiving.read_deliver(payload(Basic.Deliver("c", tag, redelivered, "e", "k")))
    got = receiving.read_get_ok(payload(Basic.GetOk(tag, redelivered, "e", "k", 5)))
    assert deliver == receiving.Delivered(b"c", tag, redelivered, b"e", b"k")
    assert got == receiving.Delivered(b"", tag, redelivered, b"e", b"k")


def test_what_is_written() -> None:
    assert receiving.encode_reject(7, True) == payload(Basic.Reject(7, True))
    assert receiving.encode_reject(7, False) == payload(Basic.Reject(7, False))
    assert receiving.encode_get_empty() == payload(Basic.GetEmpty())
    assert receiving.encode_publish(b"e", b"k") == payload(Basic.Publish(exchange="e", routing_key="k"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert receiving.encode_recover() == payload(Basic.Recover(True))


@pytest.mark.parametrize(
    ("read", "method"),
    [
        (consuming.read_consume, Basic.Consume(queue="q", consumer_tag="t")),
        (consuming.read_get, Basic.Get(queue="q")),
        (consuming.read_declare, Queue.Declare(queue="q")),
        (receiving.read_deliver, Basic.Deliver("c", 1, False, "e", "k")),
        (receiving.read_get_ok, Basic.GetOk(1, False, "e", "k", 5)),
    ],
)
def test_short_arguments_are_refused(read: Any, method: Any) -> None:
    """Names and bits are there, or the connection ends."""
    for size in (4, 5, 6):
        with pytest.raises(GateError) as refused:
            read(payload(method)[:size])
        assert refused.value.reason is Reason.FRAME_TRUNCATED


@pytest.mark.parametrize(
    ("read", "method"),
    [
        (consuming.read_consume, Basic.Consume(queue="q", consumer_tag="t")),
        (consuming.read_get, Basic.Get(queue="q")),
        (consuming.read_declare, Queue.Declare(queue="q")),
        (consuming.read_cancel, Basic.Cancel("t")),
    ],
)
def test_arguments_end_where_the_method_does(read: Any, method: Any) -> None:
    with pytest.raises(GateError) as refused:
        read(payload(method) + b"x")
    assert refused.value.reason is Reason.FRAME_TRAILING
