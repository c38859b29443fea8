"""Transactions: passed where publishes are passed, refused where they are judged (protocol.md T)."""

from __future__ import annotations

import pytest
from pamqp import commands

from support.conversation import Refused, conversation
from support.speaker import Message, Speaker

pytestmark = pytest.mark.system

Basic, Channel, Confirm, Queue, Tx = (
    commands.Basic,
    commands.Channel,
    commands.Confirm,
    commands.Queue,
    commands.Tx,
)
NO_TX = Refused(540, "method.denied", "hostile.jsonl FR19: nonces and transactions do not mix")


@conversation(gates=NO_TX)
def test_T1_commit_and_rollback(c: Speaker) -> None:
    c.open().queue("T1")
    c.ask(1, Tx.Select(), Tx.SelectOk)
    c.say(Message(1, "T1", b"one"), Message(1, "T1", b"two"))
    c.ask(1, Tx.Commit(), Tx.CommitOk)
    c.say(Message(1, "T1", b"three"))
    c.ask(1, Tx.Rollback(), Tx.RollbackOk)
    c.ask(1, Queue.Delete(queue="T1"), Queue.DeleteOk)


@conversation(gates=NO_TX)
def test_T1_confirms_exclude_it(c: Speaker) -> None:
    c.open(confirms=True)
    c.tell(1, Tx.Select())
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation(gates=NO_TX)
def test_T1_it_excludes_confirms(c: Speaker) -> None:
    c.open()
    c.ask(1, Tx.Select(), Tx.SelectOk)
    c.tell(1, Confirm.Select())
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation()
def test_T1_commit_without_select(c: Speaker) -> None:
    c.open()
    c.tell(1, Tx.Commit())
    c.wait(Channel.Close)
    c.tell(1, Channel.CloseOk())
    c.open(2)


@conversation(gates=NO_TX)
def test_T3_returns_come_before_commit_ok(c: Speaker) -> None:
    c.open()
    c.ask(1, Tx.Select(), Tx.SelectOk)
    c.say(Message(1, "nowhere", b"one", mandatory=True), Message(1, "nowhere", b"two", mandatory=True))
    c.ask(1, Tx.Commit(), Tx.CommitOk)


@conversation(gates=NO_TX)
def test_T4_acks_are_part_of_it(c: Speaker) -> None:
    c.open().queue("T4")
    c.say(Message(1, "T4", b"one"))
    c.ask(1, Tx.Select(), Tx.SelectOk)
    got = c.ask(1, Basic.Get(queue="T4"), Basic.GetOk)
    c.wait_for_content()
    c.tell(1, Basic.Ack(got.delivery_tag))
    c.ask(1, Tx.Rollback(), Tx.RollbackOk)
    c.tell(1, Basic.Ack(got.delivery_tag))
    c.ask(1, Tx.Commit(), Tx.CommitOk)
    c.ask(1, Queue.Delete(queue="T4"), Queue.DeleteOk)
