"""One socket of a relay: what is read from it, why it is not read for now, and how it ends.

Compiled, because it is between every read and its session (`passage`).
"""

from __future__ import annotations

import asyncio
from enum import Enum, unique
from typing import TYPE_CHECKING, Final, Protocol, cast

from sealgate.session.states import Side

if TYPE_CHECKING:
    from sealgate.net.passage import Passage

#: Above this a peer that does not read stops the other side from being read.
WRITE_BUFFER_BYTES_MAX: Final = 262_144
#: Above this a peer that does not read what it is owed for its own doing (nacks, returned messages) is not
#: read either. 50,000 nacks are 1 MB: far from here, a publisher that reads late never waits for itself.
OWED_BYTES_MAX: Final = 16_777_216
#: A socket that was asked to close has this long to take what is still to be sent.
FLUSH_S_MAX: Final = 5.0
#: So long a client that was told close-ok may take to hang up. RabbitMQ leaves it more than 15 s (protocol.md
#: X3); clients of several threads that find the socket closed first report a lost connection.
LINGER_S_MAX: Final = 2.0
#: After a read of so much there is more, and everybody else has a turn first: uvloop would read on for up to
#: 32 times 256 kB, which takes about a second where every message must be checked (measured).
TURN_BYTES: Final = 131_072


@unique
class Hold(Enum):
    """Why a socket is not read for now. It is read again when no reason is left."""

    __hash__ = object.__hash__

    PEER = "the other side does not read"
    SESSION = "too much of it waits for someone else"
    OWED = "it does not read what it is owed itself"
    TURN = "the others have their turn"


class Owner(Protocol):
    """Who the legs belong to: the relay."""

    def connected(self, leg: Leg) -> None:
        """The socket is up."""

    def received(self, leg: Leg, data: bytes) -> None:
        """Bytes came."""

    def hung_up(self, leg: Leg) -> None:
        """The peer will send no more. What a half-closed connection still could get is not waited for."""

    def lost(self, leg: Leg) -> None:
        """The socket is gone. Told once."""

    def congested(self, leg: Leg, on: bool) -> None:
        """The peer does not read what it is sent, or reads again."""


class Leg:
    """One socket, with its TLS done where there is any.

    It is an `asyncio.Protocol` in all but its base, which no compiled class can have (`protocol`).
    """

    __slots__ = (
        "_closing",
        "_congested",
        "_cutting",
        "_holds",
        "_owner",
        "closed",
        "passage",
        "side",
        "transport",
    )

    def __init__(self, owner: Owner, side: Side) -> None:
        self._owner: Final = owner
        self.side: Final = side
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self._closing = False
        self._congested = False
        self._cutting: asyncio.TimerHandle | None = None
        self._holds: Final[set[Hold]] = set()
        #: Where bytes go once the handshake is over; to the owner until then.
        self.passage: Passage | None = None

    @property
    def protocol(self) -> asyncio.Protocol:
        """This, for a transport."""
        return cast(asyncio.Protocol, self)

    @property
    def paused(self) -> bool:
        """Whether the socket is not being read."""
        return bool(self._holds)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        more = len(data) >= TURN_BYTES
        if self.passage is not None:
            self.passage.received(self.side, data, more)
        else:
            self._owner.received(self, data)
        if more:
            self.hold(Hold.TURN, True)
            asyncio.get_running_loop().call_soon(self.hold, Hold.TURN, False)

    def eof_received(self) -> None:
        self._owner.hung_up(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed:
            return
        self.closed = True
        if self._cutting is not None:
            self._cutting.cancel()
            self._cutting = None
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._congested = True
        self._owner.congested(self, True)

    def resume_writing(self) -> None:
        self._congested = False
        self.hold(Hold.OWED, False)
        self._owner.congested(self, False)

    def send(self, data: bytes | memoryview) -> None:
        self.send_parts([data])

    def send_parts(self, parts: list[bytes | memoryview]) -> None:
        """Send these, one behind the other."""
        if self.transport is None or self._closing or self.closed:
            return
        if len(parts) == 1:
            self.transport.write(parts[0])
        else:
            self.transport.writelines(parts)
        if self._congested and self.transport.get_write_buffer_size() > OWED_BYTES_MAX:
            self.hold(Hold.OWED, True)

    def hold(self, reason: Hold, on: bool) -> None:
        """Give a reason not to read, or take it back."""
        if on:
            self._holds.add(reason)
        else:
            self._holds.discard(reason)
        self._regulate()

    def _regulate(self) -> None:
        transport = self.transport
        if transport is None or self.closed or transport.is_closing():
            return
        # Once it is closing only its end is waited for, and that is seen by reading.
        wanted = self._closing or not self._holds
        if transport.is_reading() and not wanted:
            transport.pause_reading()
        elif wanted and not transport.is_reading():
            transport.resume_reading()

    def close(self, linger: bool = False) -> None:
        """Flush, then close; cut after `FLUSH_S_MAX`. `linger`: let the peer close first, soon."""
        if self.transport is None or self._closing or self.closed:
            return
        self._closing = True
        if linger:
            self._regulate()
            self._cutting = asyncio.get_running_loop().call_later(LINGER_S_MAX, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        if self.transport is not None and not self.closed:
            self.transport.close()
            self._cutting = asyncio.get_running_loop().call_later(FLUSH_S_MAX, self.abort)

    def abort(self) -> None:
        """Cut now."""
        if self.transport is not None and not self.closed:
            self.transport.abort()

    def drop(self) -> None:
        """Cut, and do not wait to be told: connecting was cancelled, after which uvloop may never tell."""
        self.abort()
        self.connection_lost(None)
