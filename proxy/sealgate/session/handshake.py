"""The relay of the handshake, frame by frame, up to `connection.open-ok`.

The broker speaks first and authenticates the client; the gate changes three things only: its own
`sealgate` entry in server-properties (the challenge for session nonces), the tuned frame_max where
headers will grow, and channel_max where the gate's limit is lower. All else passes byte for byte, so
that permissions, SASL and broker errors stay the client's own (protocol.md H5, H7, H8, A1), but for the
login where `login` has a say in it.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.conversation import Conversation, Role
from sealgate.session.login import Login
from sealgate.session.states import HANDSHAKE, Side, State
from sealgate.wire import methods
from sealgate.wire.constants import (
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_OPEN,
    CONNECTION_START,
    CONNECTION_START_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
    FRAME_BYTES_MIN,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
)
from sealgate.wire.frames import Frame, encode_frame

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
#: 0-9 clients say this; RabbitMQ speaks 0-9-1 to them (protocol.md H2).
PROTOCOL_HEADER_0_9: Final = b"AMQP\x01\x01\x00\x09"
#: The first byte of a ClientHello.
TLS_HANDSHAKE: Final = b"\x16"
#: Room for the header that signing adds: a token is at most 1,024 bytes (hostile.jsonl FR25).
ADDED_HEADER_BYTES_MAX: Final = 1024
SERVER_PROPERTY: Final = frozenset({"sealgate"})

#: A client that gives up before it is in says so to the broker, which may answer. (RabbitMQ just hangs up.)
_ENDINGS: Final = frozenset({(Side.CLIENT, CONNECTION_CLOSE), (Side.UPSTREAM, CONNECTION_CLOSE_OK)})


def check_protocol_header(data: bytes) -> None:
    """Raises GateError conn.protocol as soon as `data`, up to 8 bytes of it, can not be AMQP 0-9-1."""
    size = len(data)
    if data != PROTOCOL_HEADER[:size] and data != PROTOCOL_HEADER_0_9[:size]:
        what = "TLS on a port without" if data[:1] == TLS_HANDSHAKE else "not an AMQP 0-9-1 protocol header"
        raise GateError(Reason.CONN_PROTOCOL, what)


class Handshake:
    """Follows `states.HANDSHAKE`; what it learns goes into the conversation."""

    __slots__ = ("_advertised_frame_max", "_conversation", "_login", "_offered_frame_max")

    def __init__(self, conversation: Conversation, login: Login) -> None:
        self._conversation: Final = conversation
        self._login: Final = login
        #: The broker's frame_max, and what the client was told instead.
        self._offered_frame_max = 0
        self._advertised_frame_max = 0

    def frame(self, side: Side, frame: Frame) -> None:
        """Take a frame of the handshake and pass it on. Raises GateError frame.order for any other frame.

        During a drain `open-ok` is kept back, for `connection.close` comes in its place: clients take that
        for a failure to connect, after which kombu tries again, and the loss of an open connection for an
        error.
        """
        conversation = self._conversation
        if frame.type == FRAME_HEARTBEAT:
            return
        if frame.type != FRAME_METHOD or frame.channel:
            raise GateError(Reason.FRAME_ORDER, "only connection methods belong to the handshake")
        method = methods.method_id(frame.payload)
        if (side, method) in _ENDINGS:
            conversation.strayed = True
            self._pass(side, frame.raw)
            return
        following = HANDSHAKE.get((conversation.state, side, method))
        if following is None:
            raise GateError(
                Reason.FRAME_ORDER, f"unexpected method while waiting for {conversation.state.value}"
            )
        if not self._passes(method, frame):
            return
        raw = self._changed(method, frame)
        conversation.state = following
        if following is not State.RUNNING or not conversation.draining:
            self._pass(side, raw)

    def _pass(self, side: Side, raw: bytes) -> None:
        if side is Side.CLIENT:
            self._conversation.out.upstream(raw)
        else:
            self._conversation.out.client(raw)

    def is_refusal(self, frame: Frame) -> bool:
        """Whether the broker closes the connection with this frame instead of going on."""
        return (
            frame.type == FRAME_METHOD
            and not frame.channel
            and methods.method_id(frame.payload) == CONNECTION_CLOSE
        )

    def _passes(self, method: int, frame: Frame) -> bool:
        """Whether the login lets the handshake go on with this frame; if not, it has taken over."""
        if method == CONNECTION_START_OK:
            return self._login.start_ok(frame)
        if method == CONNECTION_OPEN:
            return self._login.admits(methods.read_open(frame.payload))
        return True

    def _changed(self, method: int, frame: Frame) -> bytes:
        payload = frame.payload
        if method == CONNECTION_START:
            payload = self._start(payload)
        elif method == CONNECTION_TUNE:
            payload = self._tune(payload)
        elif method == CONNECTION_TUNE_OK:
            payload = self._tune_ok(payload)
        elif method == CONNECTION_OPEN:
            self._conversation.peer.vhost = methods.read_open(payload)
        return frame.raw if payload == frame.payload else encode_frame(FRAME_METHOD, 0, payload)

    def _start(self, payload: bytes) -> bytes:
        conversation = self._conversation
        payload = self._login.start(payload)
        if conversation.terms.role is Role.PASS:
            return payload
        start = methods.read_start(payload)
        added = b""
        if conversation.terms.role is Role.VERIFY:
            added = methods.encode_challenge_entry(conversation.peer.challenge)
        else:
            conversation.signer.challenge = methods.read_challenge(start.server_properties.values)
        if not added and "sealgate" not in start.server_properties.values:
            return payload
        return methods.splice_start(payload, SERVER_PROPERTY, added)

    def _tune(self, payload: bytes) -> bytes:
        conversation = self._conversation
        limits = conversation.terms.limits
        tune = methods.read_tune(payload)
        frame_max = min(tune.frame_max or limits.frame_bytes_max, limits.frame_bytes_max)
        self._offered_frame_max = frame_max
        if conversation.terms.adds_headers:
            frame_max = max(frame_max - ADDED_HEADER_BYTES_MAX, FRAME_BYTES_MIN)
        self._advertised_frame_max = frame_max
        channel_max = min(tune.channel_max or limits.channel_max, limits.channel_max)
        conversation.channel_max = channel_max
        if frame_max == tune.frame_max and channel_max == tune.channel_max:
            return payload
        return methods.encode_tune(methods.Tune(channel_max, frame_max, tune.heartbeat))

    def _tune_ok(self, payload: bytes) -> bytes:
        conversation = self._conversation
        tune = methods.read_tune_ok(payload)
        in_range = FRAME_BYTES_MIN <= tune.frame_max <= self._advertised_frame_max
        if not in_range or not 1 <= tune.channel_max <= conversation.channel_max:
            # RabbitMQ hangs up for it, without a word (measured with 3.10.8).
            conversation.strayed = True
        if tune.channel_max:
            conversation.channel_max = min(conversation.channel_max, tune.channel_max)
        conversation.heartbeat_s = tune.heartbeat
        frame_max = min(tune.frame_max or self._advertised_frame_max, self._advertised_frame_max)
        conversation.client_frame_max = max(frame_max, FRAME_BYTES_MIN)
        conversation.upstream_frame_max = conversation.client_frame_max
        if not conversation.terms.adds_headers or not in_range:
            # Out of range, or nothing to add: the broker judges what the client asked for.
            return payload
        frame_max = min(tune.frame_max + ADDED_HEADER_BYTES_MAX, self._offered_frame_max)
        conversation.upstream_frame_max = frame_max
        return methods.encode_tune_ok(methods.Tune(tune.channel_max, frame_max, tune.heartbeat))
