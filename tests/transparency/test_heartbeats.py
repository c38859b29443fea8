"""Heartbeats of each leg (protocol.md K, N6)."""

from __future__ import annotations

import pytest
from pamqp import commands

from support.conversation import conversation
from support.raw_client import HEARTBEAT
from support.speaker import HEARTBEAT_FRAME, Message, Speaker

pytestmark = pytest.mark.system

Basic, Queue = commands.Basic, commands.Queue


def beats(c: Speaker) -> int:
    return sum(heard.kind == HEARTBEAT for heard in c.heard)


@conversation()
def test_K1_both_sides_beat(c: Speaker) -> None:
    c.shake_hands(heartbeat=2).open()
    for _ in range(14):
        c.say(HEARTBEAT_FRAME)
        c.listen_for(0.5)
    if beats(c) < 2:
        c.remarks.append("no heartbeats")
    c.sync()


@conversation()
def test_K1_client_that_only_sends(c: Speaker) -> None:
    c.shake_hands(heartbeat=2).open()
    for _ in range(14):
        c.say(Message(1, "nowhere", b"x"))
        c.listen_for(0.5)
    c.sync()


@conversation()
def test_K3_one_body_frame_dribbled(c: Speaker) -> None:
    c.shake_hands(heartbeat=2).open(confirms=True).queue("K3")
    head = c.octets(Message(1, "K3", b"slow and steady"))
    c.say(head[:-16])
    c.dribble(head[-16:], pause_s=0.5)
    c.wait_for_confirms(1)
    c.ask(1, Queue.Delete(queue="K3"), Queue.DeleteOk)


@conversation()
def test_K5_silent_client_is_cut(c: Speaker) -> None:
    c.shake_hands(heartbeat=1).open()
    c.wait_for_end(not_before_s=1.5)
