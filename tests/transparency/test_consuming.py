"""Consumers, replies, topology and flow (protocol.md D, B5)."""

from __future__ import annotations

import pytest
from pamqp import commands

from support.conversation import Instead, conversation
from support.speaker import Message, Speaker

pytestmark = pytest.mark.system

Basic, Channel, Connection, Exchange, Queue = (
    commands.Basic,
    commands.Channel,
    commands.Connection,
    commands.Exchange,
    commands.Queue,
)
REPLY_TO = "amq.rabbitmq.reply-to"


def deliveries(c: Speaker, count: int, channel: int = 1) -> list[Basic.Deliver]:
    taken = []
    for _ in range(count):
        taken.append(c.wait(Basic.Deliver, channel))
        c.wait_for_content(channel)
    return taken


@conversation()
def test_D1_direct_reply(c: Speaker) -> None:
    c.open().queue("D1")
    server = c.another("server").open()
    server.ask(1, Basic.Consume(queue="D1", no_ack=True), Basic.ConsumeOk)
    c.ask(1, Basic.Consume(queue=REPLY_TO, no_ack=True), Basic.ConsumeOk)
    asking = Basic.Properties(reply_to=REPLY_TO, correlation_id="1")
    c.say(Message(1, "D1", b"question", properties=asking))
    server.wait(Basic.Deliver)
    server.wait_for_content()
    reply_to = server.said_last().reply_to
    server.say(Message(1, reply_to, b"answer", properties=Basic.Properties(correlation_id="1")))
    deliveries(c, 1)
    c.ask(1, Queue.Delete(queue="D1"), Queue.DeleteOk)


@conversation()
def test_D1_direct_reply_without_its_consumer(c: Speaker) -> None:
    c.open()
    c.say(Message(1, "nowhere", b"question", properties=Basic.Properties(reply_to=REPLY_TO)))
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation()
def test_D2_cancel_and_deliveries(c: Speaker) -> None:
    c.open().queue("D2")
    c.ask(1, Basic.Consume(queue="D2", consumer_tag="tag", no_ack=True), Basic.ConsumeOk)
    c.say(*[Message(1, "D2", b"m%d" % number) for number in range(10)])
    deliveries(c, 10)
    c.ask(1, Basic.Cancel("tag"), Basic.CancelOk)
    c.say(Message(1, "D2", b"for nobody"))
    c.ask(1, Basic.Cancel("tag"), Basic.CancelOk)
    c.ask(1, Queue.Delete(queue="D2"), Queue.DeleteOk)


@conversation()
def test_D3_get(c: Speaker) -> None:
    c.open().queue("D3")
    c.ask(1, Basic.Get(queue="D3"), Basic.GetEmpty)
    c.say(Message(1, "D3", b""), Message(1, "D3", b"body"))
    got = c.ask(1, Basic.Get(queue="D3"), Basic.GetOk)
    c.wait_for_content()
    c.tell(1, Basic.Reject(got.delivery_tag, True))
    c.ask(1, Basic.Get(queue="D3"), Basic.GetOk)
    c.wait_for_content()
    c.tell(1, Basic.Ack(0, True))
    c.ask(1, Queue.Delete(queue="D3"), Queue.DeleteOk)


def answer_wrongly(c: Speaker, answer: object) -> None:
    """The broker closes the channel, although there is something that could be answered."""
    named = c.open().queue("", exclusive=True).queue
    c.say(Message(1, named, b"m"))
    c.ask(1, Basic.Get(queue=named), Basic.GetOk)
    c.wait_for_content()
    c.tell(1, answer)
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation()
def test_D3_ack_of_nothing(c: Speaker) -> None:
    answer_wrongly(c, Basic.Ack(7))


@conversation()
def test_D3_multiple_ack_of_nothing(c: Speaker) -> None:
    answer_wrongly(c, Basic.Ack(7, True))


@conversation()
def test_D3_reject_of_nothing(c: Speaker) -> None:
    answer_wrongly(c, Basic.Reject(7, True))


@conversation()
def test_D3_multiple_nack_of_nothing(c: Speaker) -> None:
    answer_wrongly(c, Basic.Nack(7, True, False))


@conversation()
def test_D3_tag_0_alone_is_nothing(c: Speaker) -> None:
    answer_wrongly(c, Basic.Ack(0))


@conversation()
def test_D3_all_of_nothing(c: Speaker) -> None:
    c.open()
    c.tell(1, Basic.Ack(0, True))
    c.tell(1, Basic.Nack(0, True, True))
    c.sync()


@conversation()
def test_D3_recover(c: Speaker) -> None:
    c.open().queue("D3r")
    c.say(*[Message(1, "D3r", b"m%d" % number) for number in range(3)])
    c.ask(1, Basic.Qos(prefetch_count=2), Basic.QosOk)
    c.ask(1, Basic.Consume(queue="D3r", consumer_tag="tag"), Basic.ConsumeOk)
    deliveries(c, 2)
    c.ask(1, Basic.Recover(True), Basic.RecoverOk)
    again = deliveries(c, 2)
    c.tell(1, Basic.Ack(again[-1].delivery_tag, True))
    last = deliveries(c, 1)
    c.tell(1, Basic.Nack(last[0].delivery_tag, False, False))
    c.ask(1, Queue.Delete(queue="D3r"), Queue.DeleteOk)


@conversation()
def test_D3_recover_without_requeue(c: Speaker) -> None:
    c.open()
    c.tell(1, Basic.Recover(False))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_D3_exclusive_and_prioritised_consumers(c: Speaker) -> None:
    c.open(1).open(2).queue("D3e")
    consume = Basic.Consume(queue="D3e", consumer_tag="a", exclusive=True, arguments={"x-priority": 5})
    c.ask(1, consume, Basic.ConsumeOk)
    c.tell(2, Basic.Consume(queue="D3e", consumer_tag="b"))
    c.wait(Channel.Close)
    c.tell(2, Channel.CloseOk())
    c.ask(1, Queue.Delete(queue="D3e"), Queue.DeleteOk)


@conversation()
def test_D3_names_made_by_the_broker(c: Speaker) -> None:
    c.open()
    named = c.queue("", exclusive=True).queue
    c.ask(1, Basic.Consume(queue=named, no_ack=True), Basic.ConsumeOk)
    c.say(Message(1, named, b"to myself"))
    deliveries(c, 1)


@conversation()
def test_D4_alternate_exchange_and_dead_letters(c: Speaker) -> None:
    c.open().queue("D4dead")
    c.ask(1, Exchange.Declare(exchange="D4alt", exchange_type="fanout"), Exchange.DeclareOk)
    alternate = {"alternate-exchange": "D4alt"}
    c.ask(1, Exchange.Declare(exchange="D4", arguments=alternate), Exchange.DeclareOk)
    c.queue("D4q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "D4dead"})
    c.ask(1, Queue.Bind(queue="D4q", exchange="D4alt", routing_key=""), Queue.BindOk)
    c.say(Message(1, "unknown", b"round and round", exchange="D4"))
    got = c.ask(1, Basic.Get(queue="D4q"), Basic.GetOk)
    c.wait_for_content()
    c.ask(1, Basic.Consume(queue="D4dead", no_ack=True), Basic.ConsumeOk)
    c.tell(1, Basic.Reject(got.delivery_tag, False))
    c.wait(Basic.Deliver)
    c.wait_for_content()
    for exchange in ("D4", "D4alt"):
        c.ask(1, Exchange.Delete(exchange=exchange), Exchange.DeleteOk)
    for queue in ("D4q", "D4dead"):
        c.ask(1, Queue.Delete(queue=queue), Queue.DeleteOk)


#: Copies are delivered with the original routing key: a way around what a key may do.
NO_COPIES = Instead(("confirm nack 1",), "hostile.jsonl HD20")


@conversation(
    verify=NO_COPIES, chain=NO_COPIES, worker=Instead(("Basic.GetEmpty",), "the same, asked of deliveries")
)
def test_D4_copies_named_by_the_sender(c: Speaker) -> None:
    c.open(confirms=True).queue("D4one")
    c.queue("D4two")
    c.say(Message(1, "D4one", b"twice", properties=Basic.Properties(headers={"CC": ["D4two"]})))
    c.wait_for_confirms(1)
    for name in ("D4one", "D4two"):
        if isinstance(
            c.ask(1, Basic.Get(queue=name, no_ack=True), (Basic.GetOk, Basic.GetEmpty)), Basic.GetOk
        ):
            c.wait_for_content()
        c.ask(1, Queue.Delete(queue=name), Queue.DeleteOk)


@conversation()
def test_D5_fanout_and_topic(c: Speaker) -> None:
    c.open()
    for kind, key in (("fanout", "any"), ("topic", "a.b.c"), ("direct", "celery")):
        c.ask(1, Exchange.Declare(exchange=f"D5{kind}", exchange_type=kind), Exchange.DeclareOk)
        named = c.queue("", exclusive=True, auto_delete=True).queue
        c.ask(1, Queue.Bind(queue=named, exchange=f"D5{kind}", routing_key=key), Queue.BindOk)
        c.ask(1, Basic.Consume(queue=named, consumer_tag=kind, no_ack=True), Basic.ConsumeOk)
        c.say(Message(1, key, kind.encode(), exchange=f"D5{kind}"))
        deliveries(c, 1)
        c.ask(1, Exchange.Delete(exchange=f"D5{kind}"), Exchange.DeleteOk)


@conversation()
def test_B5_flow_on(c: Speaker) -> None:
    c.open()
    c.ask(1, Channel.Flow(True), Channel.FlowOk)
    c.sync()


@conversation()
def test_B5_flow_off(c: Speaker) -> None:
    c.open()
    c.tell(1, Channel.Flow(False))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_B7_prefetch(c: Speaker) -> None:
    c.open(1).open(2).queue("B7")
    c.say(*[Message(1, "B7", b"m%d" % number) for number in range(5)])
    c.ask(2, Basic.Qos(prefetch_count=2, global_=True), Basic.QosOk)
    c.ask(2, Basic.Consume(queue="B7", consumer_tag="tag"), Basic.ConsumeOk)
    first = deliveries(c, 2, 2)
    c.sync(1)
    c.tell(2, Basic.Ack(first[-1].delivery_tag, True))
    second = deliveries(c, 2, 2)
    c.tell(2, Basic.Ack(second[-1].delivery_tag, True))
    deliveries(c, 1, 2)
    c.ask(1, Queue.Delete(queue="B7"), Queue.DeleteOk)
