"""Every state of a conversation and of its channels, and every transition, in one place.

A pair that is not in a table is refused (`frame.order` for the handshake, `frame.channel` for channels).
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

from sealgate.wire.constants import (
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CONNECTION_OPEN,
    CONNECTION_OPEN_OK,
    CONNECTION_SECURE,
    CONNECTION_SECURE_OK,
    CONNECTION_START,
    CONNECTION_START_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
)


@unique
class Side(Enum):
    """The two legs of a conversation."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, in Python

    CLIENT = "client"
    UPSTREAM = "upstream"


@unique
class State(Enum):
    """Where the conversation as a whole stands."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, in Python

    HEADER = "header"  # the client's eight bytes are awaited
    DIALING = "dialing"
    START = "start"  # each of the next names what is awaited
    START_OK = "start-ok"
    CHECKING = "login"  # our own answer to it
    REFUSED = "login refused"  # the silence after it
    AUTHENTICATE = "secure or tune"
    SECURE_OK = "secure-ok"
    TUNE_OK = "tune-ok"
    OPEN = "open"
    OPEN_OK = "open-ok"
    RUNNING = "running"
    CLOSING = "closing"  # at least one leg is on its way out
    CLOSED = "closed"
    ERROR = "error"


#: (state, who speaks, method) -> next state. The broker may refuse with connection.close anywhere.
HANDSHAKE: Final = {
    (State.START, Side.UPSTREAM, CONNECTION_START): State.START_OK,
    (State.START_OK, Side.CLIENT, CONNECTION_START_OK): State.AUTHENTICATE,
    (State.AUTHENTICATE, Side.UPSTREAM, CONNECTION_SECURE): State.SECURE_OK,
    (State.SECURE_OK, Side.CLIENT, CONNECTION_SECURE_OK): State.AUTHENTICATE,
    (State.AUTHENTICATE, Side.UPSTREAM, CONNECTION_TUNE): State.TUNE_OK,
    (State.TUNE_OK, Side.CLIENT, CONNECTION_TUNE_OK): State.OPEN,
    (State.OPEN, Side.CLIENT, CONNECTION_OPEN): State.OPEN_OK,
    (State.OPEN_OK, Side.UPSTREAM, CONNECTION_OPEN_OK): State.RUNNING,
}

#: States in which it is the client's turn; in the others its bytes wait, unread, in the splitter.
CLIENT_TURN: Final = frozenset(
    {State.START_OK, State.SECURE_OK, State.TUNE_OK, State.OPEN, State.RUNNING, State.CLOSING}
)


@unique
class Leg(Enum):
    """One side's connection, from `open-ok` on."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, in Python

    OPEN = "open"
    CLOSE_RECEIVED = "close received"  # the peer asked; our close-ok is owed
    CLOSE_SENT = "close sent"  # we asked; the peer's close-ok is awaited
    CLOSED = "closed"


@unique
class ChannelState(Enum):
    """One channel. Clients may send before `open-ok`, so OPENING takes what OPEN takes."""

    __hash__ = object.__hash__  # members are single; Enum hashes their names, in Python

    OPENING = "opening"
    OPEN = "open"
    CLIENT_CLOSING = "closed by the client"  # the broker's close-ok is awaited
    BROKER_CLOSING = "closed by the broker"  # the client's close-ok is awaited
    CROSSED = "closed by both"  # both close-ok are awaited
    REFUSED = "closed by the gate"  # both close-ok are awaited, and nothing passes
    REFUSED_BROKER = "closed by the gate, client done"  # the broker's close-ok is awaited
    REFUSED_CLIENT = "closed by the gate, broker done"  # the client's close-ok is awaited
    CLOSED = "closed"


#: (state, who speaks, method) -> next state. Methods that are not here do not change a channel's state.
CHANNEL: Final = {
    (ChannelState.CLOSED, Side.CLIENT, CHANNEL_OPEN): ChannelState.OPENING,
    (ChannelState.OPENING, Side.UPSTREAM, CHANNEL_OPEN_OK): ChannelState.OPEN,
    (ChannelState.OPENING, Side.CLIENT, CHANNEL_CLOSE): ChannelState.CLIENT_CLOSING,
    (ChannelState.OPENING, Side.UPSTREAM, CHANNEL_CLOSE): ChannelState.BROKER_CLOSING,
    (ChannelState.OPEN, Side.CLIENT, CHANNEL_CLOSE): ChannelState.CLIENT_CLOSING,
    (ChannelState.OPEN, Side.UPSTREAM, CHANNEL_CLOSE): ChannelState.BROKER_CLOSING,
    (ChannelState.CLIENT_CLOSING, Side.UPSTREAM, CHANNEL_CLOSE_OK): ChannelState.CLOSED,
    (ChannelState.CLIENT_CLOSING, Side.UPSTREAM, CHANNEL_CLOSE): ChannelState.CROSSED,
    (ChannelState.BROKER_CLOSING, Side.CLIENT, CHANNEL_CLOSE_OK): ChannelState.CLOSED,
    (ChannelState.BROKER_CLOSING, Side.CLIENT, CHANNEL_CLOSE): ChannelState.CROSSED,
    (ChannelState.CROSSED, Side.CLIENT, CHANNEL_CLOSE_OK): ChannelState.CLIENT_CLOSING,
    (ChannelState.CROSSED, Side.UPSTREAM, CHANNEL_CLOSE_OK): ChannelState.BROKER_CLOSING,
    (ChannelState.REFUSED, Side.CLIENT, CHANNEL_CLOSE_OK): ChannelState.REFUSED_BROKER,
    (ChannelState.REFUSED, Side.UPSTREAM, CHANNEL_CLOSE_OK): ChannelState.REFUSED_CLIENT,
    (ChannelState.REFUSED_BROKER, Side.UPSTREAM, CHANNEL_CLOSE_OK): ChannelState.CLOSED,
    (ChannelState.REFUSED_CLIENT, Side.CLIENT, CHANNEL_CLOSE_OK): ChannelState.CLOSED,
}

#: States in which the client's frames are carried out; in the other states all but closes are dropped,
#: as a broker drops them.
CHANNEL_LIVE: Final = frozenset({ChannelState.OPENING, ChannelState.OPEN})
#: States in which the broker's frames reach the client.
CHANNEL_HEARD: Final = frozenset(
    {ChannelState.OPENING, ChannelState.OPEN, ChannelState.CLIENT_CLOSING, ChannelState.CROSSED}
)
#: States in which the gate has closed the channel and owes nothing more to either side but close-ok.
CHANNEL_REFUSED: Final = frozenset(
    {ChannelState.REFUSED, ChannelState.REFUSED_BROKER, ChannelState.REFUSED_CLIENT}
)
