"""How a row is played: the ways a message is sent, and everything that must be true afterwards."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from support.hostile_broker import Arrived
from support.hostile_publish import Draft, Publish, publish
from support.hostile_stage import Gate, Stage
from support.raw_client import PY_AMQP, RawClient

#: Ways to send: a channel with confirms of a client that is not py-amqp (mandatory, so that refusals are
#: returned); one of py-amqp; a channel without confirms.
NACK, CLOSE, SILENT = "nack", "close", "silent"
WAYS = (NACK, CLOSE, SILENT)
ACCESS_REFUSED = 403


def is_told(text: str, code: int, name: str, reason: str) -> None:
    """The reply text of a refusal: RabbitMQ's name of the code, then the reason, then perhaps a detail."""
    start = f"{name} - sealgate: {reason}"
    assert text == start or text.startswith(start + " "), (code, text)


def refuse_in_every_detail(
    stage: Stage, gate: str, way: str, draft: Draft, reason: str, on_header: bool = False
) -> None:
    """Send `draft` and find it refused for `reason`: counted once, told, kept, and unknown to the broker.

    What is refused on its content header already is neither returned nor kept with its body.
    """
    expected = {f"refused {reason}": 1} | ({"unconfirmed": 1} if way == SILENT else {})
    running = stage.gate(gate)
    with stage.client(gate, product=PY_AMQP if way == CLOSE else "raw client") as client:
        client.open_channel(confirms=way != SILENT)
        with running.counting(expected):
            sent = publish(draft, client)
            client.send(sent.frames(client, mandatory=way == NACK))
            answer = hear_refusal(client, way, sent, reason, returned=sent.readable and not on_header)
        # The broker has handled what came on this channel before: nothing can still be under way.
        client.ask(1, commands.Queue.Declare(queue="celery", passive=True), commands.Queue.DeclareOk)
    stage.broker.check_nothing_arrived()
    check_kept(running, sent, reason, answer, way == NACK, body=b"" if on_header else None)


def hear_refusal(client: RawClient, way: str, sent: Publish, reason: str, returned: bool) -> str:
    """What the client is told, up to a channel that works; returns the answer as quarantine names it."""
    if way == NACK:
        if returned:
            hear_return(client, sent, reason)
        nack = client.expect(1, commands.Basic.Nack)
        assert (nack.delivery_tag, nack.multiple, nack.requeue) == (1, False, False)
        return "basic.nack"
    if way == CLOSE:
        close = client.expect(1, commands.Channel.Close)
        assert (close.reply_code, close.class_id, close.method_id) == (ACCESS_REFUSED, 60, 40)
        is_told(close.reply_text, close.reply_code, "ACCESS_REFUSED", reason)
        client.say(1, commands.Channel.CloseOk())
        client.open_channel()
        return "channel.close"
    # Nothing is told, and the channel lives: the next method is answered, and by nothing before it.
    client.ask(1, commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    return "none"


def hear_return(client: RawClient, sent: Publish, reason: str) -> None:
    """The client's own publish back, octet by octet."""
    returned = client.expect(1, commands.Basic.Return)
    assert returned.reply_code == ACCESS_REFUSED
    is_told(returned.reply_text, returned.reply_code, "ACCESS_REFUSED", reason)
    assert (returned.exchange, returned.routing_key) == (sent.exchange, sent.routing_key)
    assert client.read().payload == sent.header
    body = b""
    while len(body) < len(sent.body):
        body += client.read().payload
    assert body == sent.body


def check_kept(
    gate: Gate,
    sent: Publish,
    reason: str,
    answer: str,
    mandatory: bool = False,
    body: bytes | None = None,
    observed: bool = False,
    channel: int = 1,
) -> None:
    """The publication is in quarantine, whole (or with as much of the body), with its reason."""
    [kept] = gate.take_kept()
    headers = kept.properties.headers
    assert headers["x-sealgate-reason"] == reason
    assert headers["x-sealgate-answer"] == answer
    assert headers["x-sealgate-observed"] is observed
    assert headers["x-sealgate-complete"] is (body is None)
    assert kept.body == sent.kept_frames(sent.body if body is None else body, mandatory, channel)


def accept_in_every_detail(
    stage: Stage, gate: str, way: str, draft: Draft, counted: str = "accepted ok", **options: Any
) -> None:
    """Send `draft` and find exactly that at the broker, once, less what the gateway takes out."""
    running = stage.gate(gate)
    with stage.client(gate, **options) as client:
        client.open_channel(confirms=way != SILENT)
        with running.counting({counted: 1}):
            sent = publish(draft, client)
            client.send(sent.frames(client, mandatory=True))
            if way != SILENT:
                hear_ack(client)
            client.ask(1, commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    check_arrived(stage, sent)
    if counted.startswith("observed"):
        check_kept(running, sent, counted.split()[1], "forwarded", mandatory=True, observed=True)


def hear_ack(client: RawClient, tag: int = 1, channel: int = 1) -> None:
    ack = client.expect(channel, commands.Basic.Ack)
    assert ack.delivery_tag == tag


def hear_nack(client: RawClient, tag: int = 1, channel: int = 1) -> None:
    nack = client.expect(channel, commands.Basic.Nack)
    assert nack.delivery_tag == tag


def check_arrived(stage: Stage, *sent: Publish) -> None:
    """The broker has these publishes and no other, each once, octet by octet."""
    arrived = stage.broker.take_arrived(len(sent))
    assert arrived == [Arrived(each.exchange, each.routing_key, each.arriving, each.body) for each in sent]
