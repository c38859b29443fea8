"""Deadlines and heartbeats: everything that happens because time passed.

Heartbeats belong to each leg (protocol.md K1); any bytes count as a sign of life (K2, K3), and a leg that
is not being read is not judged by its silence (K4).
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Publication
from sealgate.session.client import ClientFrames
from sealgate.session.conversation import Conversation
from sealgate.session.events import Ticked
from sealgate.session.legs import Legs
from sealgate.session.refuse import Refuser
from sealgate.session.states import Leg, Side, State
from sealgate.wire.constants import FRAME_HEARTBEAT
from sealgate.wire.frames import encode_frame

_ENDING: Final = frozenset({State.REFUSED, State.CLOSING, State.CLOSED, State.ERROR})
_CLIENT: Final = Side.CLIENT
_HEARTBEAT: Final = encode_frame(FRAME_HEARTBEAT, 0, b"")


class _Pulse:
    """When something last came from one side, and when something last went there: monotonic seconds."""

    __slots__ = ("heard", "sent")

    def __init__(self, started: float) -> None:
        self.heard = started
        self.sent = started


class Timers:
    """Judges a conversation by the clock, about once a second."""

    __slots__ = (
        "_client",
        "_client_frames",
        "_conversation",
        "_legs",
        "_refuser",
        "_renewed",
        "_started",
        "_unread_since",
        "_upstream",
    )

    def __init__(
        self,
        conversation: Conversation,
        client_frames: ClientFrames,
        legs: Legs,
        refuser: Refuser,
        started: float,
    ) -> None:
        self._conversation: Final = conversation
        self._client_frames: Final = client_frames
        self._legs: Final = legs
        self._refuser: Final = refuser
        self._started: Final = started
        self._renewed = started
        #: Since when something waits on a channel for content that the client does not read.
        self._unread_since: float | None = None
        self._client: Final = _Pulse(started)
        self._upstream: Final = _Pulse(started)

    def heard(self, side: Side) -> None:
        pulse = self._client if side is _CLIENT else self._upstream
        pulse.heard = self._conversation.now.mono

    def note_sent(self) -> None:
        """Call when the outbox is about to be emptied."""
        conversation = self._conversation
        if conversation.out.sends_client:
            self._client.sent = conversation.now.mono
        if conversation.out.sends_upstream:
            self._upstream.sent = conversation.now.mono

    def rests(self, now: float, late_s: float) -> bool:
        """Whether a tick at `now`, so much late, would do nothing. Then this was it."""
        conversation = self._conversation
        if (
            conversation.state is not State.RUNNING
            or conversation.draining
            or conversation.blocked
            or conversation.partial_bytes
            or conversation.held_bytes
        ):
            return False
        interval = conversation.heartbeat_s
        if interval:
            for pulse in (self._client, self._upstream):
                if now - pulse.heard > _silence_s(interval) or now - pulse.sent >= _beat_s(interval):
                    return False
        renews = now - self._renewed >= conversation.terms.limits.renew_s
        for channel in conversation.channels.values():
            ledger = channel.ledger
            if channel.waiting_close or (renews and ledger is not None and len(ledger)):
                return False
        if renews:
            # Nothing waits for the broker.
            self._renewed = now
        self._excuse(late_s, now)
        return True

    def _excuse(self, late_s: float, now: float) -> None:
        """A process that was held up itself did not hear its peers (protocol.md K6)."""
        if late_s:
            for pulse in (self._client, self._upstream):
                pulse.heard = min(pulse.heard + late_s, now)

    def tick(self, event: Ticked) -> None:
        """Raises GateError conn.handshake or conn.stall when a deadline of the client's has passed."""
        conversation = self._conversation
        if conversation.state in _ENDING:
            self._legs.expire()
        elif conversation.state is not State.RUNNING:
            if conversation.draining:
                self._legs.expire()
            elif conversation.now.mono - self._started > conversation.terms.limits.handshake_s:
                silent_s = conversation.now.mono - self._upstream.heard
                # Most of the time may have been the client's own, who then says nothing about the broker.
                if conversation.state is State.START and silent_s > conversation.terms.limits.handshake_s / 2:
                    conversation.upstream_failure = "silent"
                raise GateError(Reason.CONN_HANDSHAKE, "the handshake took too long")
            return
        self._excuse(event.late_s, conversation.now.mono)
        self._channels()
        self._unread(event.upstream_paused)
        self._renew()
        self._heartbeat(Side.CLIENT, conversation.client_leg, event.client_paused)
        self._heartbeat(Side.UPSTREAM, conversation.upstream_leg, event.upstream_paused)

    def _channels(self) -> None:
        conversation = self._conversation
        limits = conversation.terms.limits
        now = conversation.now.mono
        for channel in list(conversation.channels.values()):
            late = channel.waiting_close and now - channel.closing_since > limits.close_s
            if late and self._refuser.close_when_answered(channel, force=True):
                self._client_frames.drop_held(channel)
            content = channel.content
            if content is not None and now - content.since > limits.message_s:
                limits_hit = conversation.terms.tally.limits_hit
                limits_hit["message_s"] += 1
                self._client_frames.abandon(channel)
                raise GateError(Reason.CONN_STALL, f"a message was not whole within {limits.message_s:g} s")

    def _unread(self, upstream_paused: bool) -> None:
        """Raises GateError conn.stall when what waits for content to end has waited long for the client.

        Refusals wait there, with their messages: a client that never reads on would keep that memory, of
        which the whole process has only so much, for as long as it likes.
        """
        conversation = self._conversation
        now = conversation.now.mono
        if not any(channel.held and channel.body_left for channel in conversation.channels.values()):
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif upstream_paused and now - self._unread_since > conversation.terms.limits.message_s:
            conversation.terms.tally.limits_hit["message_s"] += 1
            raise GateError(Reason.CONN_STALL, "the client does not read what its refusals wait for")

    def _renew(self) -> None:
        """Extend the leases of what still waits, here or for the broker: no other gateway may take over."""
        conversation = self._conversation
        now = conversation.now.mono
        renew_s = conversation.terms.limits.renew_s
        if now - self._renewed < renew_s or conversation.upstream_leg is Leg.CLOSED:
            return
        self._renewed = now
        for channel in conversation.channels.values():
            for item in channel.held:
                if isinstance(item, Publication) and item.granted:
                    assert item.asked is not None and item.asked.claim is not None  # it was granted
                    if now - item.asked.claim.asked_at >= renew_s:
                        conversation.out.renew(item.asked.claim)
            if channel.ledger is None:
                continue
            for entry in channel.ledger.outstanding():
                if entry.claim is not None and now - entry.claim.asked_at >= renew_s:
                    conversation.out.renew(entry.claim)

    def _heartbeat(self, side: Side, leg: Leg, paused: bool) -> None:
        conversation = self._conversation
        interval = conversation.heartbeat_s
        if not interval or leg is not Leg.OPEN:
            return
        if side is Side.UPSTREAM and conversation.unframed:
            # A heartbeat would land in the middle of whatever the client is sending.
            return
        now = conversation.now.mono
        pulse = self._client if side is _CLIENT else self._upstream
        if paused or (conversation.blocked and side is Side.CLIENT):
            # A broker that blocks publishers does not read, and so does not judge, either (protocol.md B4).
            pulse.heard = now
        elif now - pulse.heard > _silence_s(interval):
            conversation.terms.tally.limits_hit["heartbeat"] += 1
            reason = Reason.CONN_HEARTBEAT if side is Side.CLIENT else Reason.CONN_UPSTREAM
            conversation.blame(reason, f"the {side.value} was silent for {now - pulse.heard:.0f} s")
            self._legs.disconnected(side)
            return
        if now - pulse.sent >= _beat_s(interval):
            if side is Side.CLIENT:
                conversation.out.client(_HEARTBEAT)
            else:
                conversation.out.upstream(_HEARTBEAT)


def _silence_s(interval: int) -> int:
    """Who was silent for longer is gone."""
    return 2 * interval + 1


def _beat_s(interval: int) -> float:
    """How long after the last octet a heartbeat is sent.

    The tick is a second long: the half interval must not pass in between.
    """
    return max(interval / 2 - 1, 0.5)
