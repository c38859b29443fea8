"""Brokers that block, stop and close (protocol.md B4, K5, X1, X2).

Something happens to the broker in the middle of a conversation. Every client waits there for the others, so
that it happens to all of them at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pamqp import commands

from support.conversation import Stage, show
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import HEARTBEAT
from support.speaker import HEARTBEAT_FRAME, Message, MissedError, Speaker, play
from support.transcript import Transcript, difference
from support.ways import DIRECT, GATED, Ways

pytestmark = pytest.mark.system

Basic, Channel, Connection = commands.Basic, commands.Channel, commands.Connection
Meet = Callable[[], object]
Played = dict[str, Transcript]
MEETING_S_MAX = 60.0
#: rabbitmqctl is a second of one core's work; machines may have other work to do.
HAPPENING_S_MAX = 60.0


class Outage:
    """The broker, when nobody else needs it, and the ways to it."""

    def __init__(self, broker: RabbitMQServer, ways: Ways) -> None:
        self.broker = broker
        self._ways = ways.ways

    def play(self, script: Callable[[Speaker, Meet], None], *happenings: Callable[[], object]) -> Played:
        """The conversation on all ways; each of `happenings` when all of them meet once more."""
        meeting = threading.Barrier(len(self._ways) + 1, timeout=MEETING_S_MAX)

        def lines(c: Speaker) -> None:
            try:
                script(c, meeting.wait)
            except MissedError:
                meeting.abort()
                raise

        with ThreadPoolExecutor(len(self._ways)) as pool:
            playing = {name: pool.submit(play, way, lines) for name, way in self._ways.items()}
            with contextlib.suppress(threading.BrokenBarrierError):
                for happens in happenings:
                    meeting.wait()
                    happens()
            return {name: played.result(MEETING_S_MAX) for name, played in playing.items()}


def nothing() -> None:
    """Happens where all only wait until what happened before is over."""


@pytest.fixture(scope="module")
def outage(rabbitmq: RabbitMQServer, ways: Ways, stage: Stage) -> Outage:
    stage.wait()
    return Outage(rabbitmq, ways)


def compare(played: Played, way: str) -> None:
    direct, gated = played[DIRECT], played[way]
    assert not direct.remarks, "directly on the broker:\n" + "\n".join(direct.text())
    found = difference(direct, gated)
    assert not found, f"\n{found}"


@pytest.fixture(scope="module")
def alarm(outage: Outage) -> Played:
    """A memory alarm, and its end."""

    def script(c: Speaker, meet: Meet) -> None:
        meet()
        meet()
        mute = c.another("mute")
        mute.shake_hands(**{"connection.blocked": None}).open(confirms=True)
        c.shake_hands(heartbeat=2).open(confirms=True)
        c.say(Message(1, "nowhere", b"x"))
        mute.say(Message(1, "nowhere", b"x"))
        c.wait(Connection.Blocked)
        # Silent for longer than a heartbeat allows: who does not read does not judge.
        c.listen_for(7)
        if sum(heard.kind == HEARTBEAT for heard in c.heard) < 3:
            c.remarks.append("no heartbeats while blocked")
        meet()
        c.patience_s = HAPPENING_S_MAX
        c.wait(Connection.Unblocked)
        c.wait_for_confirms(1)
        mute.wait_for_confirms(1)

    ctl = outage.broker.ctl
    try:
        return outage.play(
            script,
            lambda: ctl("set_vm_memory_high_watermark", "absolute", "1MB"),
            nothing,
            lambda: ctl("set_vm_memory_high_watermark", "0.8"),
        )
    finally:
        ctl("set_vm_memory_high_watermark", "0.8")


@pytest.mark.parametrize("way", GATED)
def test_B4_blocked_and_unblocked(alarm: Played, way: str) -> None:
    compare(alarm, way)


@pytest.fixture(scope="module")
def closed(outage: Outage) -> Played:
    """An operator closes all connections."""

    def script(c: Speaker, meet: Meet) -> None:
        c.open()
        meet()
        c.patience_s = HAPPENING_S_MAX
        c.wait(Connection.Close)
        c.tell(0, Connection.CloseOk())
        c.wait_for_end()

    return outage.play(script, lambda: outage.broker.ctl("close_all_connections", "--global", "maintenance"))


@pytest.mark.parametrize("way", GATED)
def test_X1_closed_by_an_operator(closed: Played, way: str) -> None:
    compare(closed, way)


def _lost(c: Speaker, meet: Meet) -> None:
    c.shake_hands(heartbeat=2).open()
    meet()
    if not c.way.gated:
        c.vanish()
        return
    while not c.ending and not c.count(Connection.Close):
        c.say(HEARTBEAT_FRAME)
        c.listen_for(0.5)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


def is_told_of_the_loss(played: Played, way: str) -> None:
    text = "CONNECTION_FORCED - sealgate: conn.upstream the broker is gone"
    told = f"Connection.Close(reply_code=320, reply_text='{text}', class_id=0, method_id=0)"
    assert told in played[way].streams["client 0"], show(played[DIRECT], played[way])
    assert played[way].endings["client"] == "by the peer"


@pytest.fixture(scope="module")
def stopped(outage: Outage) -> Played:
    """A broker that says nothing more, for as long as it takes."""
    stop = lambda: os.kill(outage.broker.pid, signal.SIGSTOP)  # noqa: E731
    try:
        return outage.play(_lost, stop)
    finally:
        os.kill(outage.broker.pid, signal.SIGCONT)


@pytest.mark.parametrize("way", GATED)
def test_K5_silent_broker_is_told_as_lost(stopped: Played, way: str) -> None:
    is_told_of_the_loss(stopped, way)


@pytest.fixture(scope="module")
def killed(outage: Outage) -> Played:
    """A broker that is gone."""
    try:
        return outage.play(_lost, outage.broker.kill)
    finally:
        outage.broker.start()


@pytest.mark.parametrize("way", GATED)
def test_X2_broker_that_is_killed(killed: Played, way: str) -> None:
    is_told_of_the_loss(killed, way)
