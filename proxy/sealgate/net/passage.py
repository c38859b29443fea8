"""What is read from one socket of a running session goes to the other one, with as little between as can be.

Compiled: of what a message costs that comes by itself, most was between the sockets and the session.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time
from typing import Final, Protocol

from sealgate.net.leg import Leg
from sealgate.session.commands import Command
from sealgate.session.outbox import Outbox
from sealgate.session.records import Histogram
from sealgate.session.session import Session
from sealgate.session.states import Side
from sealgate.verify.verdict import ClaimStore


class Carrier(Protocol):
    """Who does what is more than sending: the relay."""

    def carry_out(self, commands: list[Command]) -> None:
        """Do this, in order."""

    def failed(self) -> None:
        """The session failed, by the exception that is being handled: end it."""

    def tell_cause(self) -> None:
        """The session has a reason to close its connection; may be told again."""


class Passage:
    """Takes the bytes of both legs once the handshake is over; all other events go to the relay as before."""

    __slots__ = (
        "_carrier",
        "_client",
        "_monotonic",
        "_session",
        "_store",
        "_time",
        "_upstream",
        "_verify_seconds",
    )

    def __init__(
        self,
        carrier: Carrier,
        session: Session,
        client: Leg,
        upstream: Leg,
        store: ClaimStore,
        verify_seconds: Histogram,
    ) -> None:
        """`verify_seconds` is told how long messages were checked."""
        self._carrier: Final = carrier
        #: Here, because compiled code looks up what it imported at every use.
        self._monotonic: Final[Callable[[], float]] = monotonic
        self._time: Final[Callable[[], float]] = time
        self._session: Final = session
        self._client: Final = client
        self._upstream: Final = upstream
        self._store: Final = store
        self._verify_seconds: Final = verify_seconds

    def received(self, side: Side, data: bytes, more: bool) -> None:
        """Bytes came from one side, perhaps with `more` behind them that can be read at once.

        What they lead to is sent first, and counted after that.
        """
        session = self._session
        conversation = session.conversation
        examined = conversation.examined
        began = self._monotonic()
        spent = 0.0
        try:
            if not session.receive(side, data, more, began, self._time()):
                return
            while session.interrupted:
                spent += self._monotonic() - began
                self._carry_out(conversation.out)
                began = self._monotonic()
                session.proceed()
            examined = conversation.examined - examined
            if examined:
                spent += self._monotonic() - began
            self._carry_out(conversation.out)
            session.count_later()
        except Exception:
            self._carrier.failed()
            return
        if examined:
            self._verify_seconds.observe(spent / examined, examined)
        if conversation.cause is not None:
            self._carrier.tell_cause()

    def _carry_out(self, out: Outbox) -> None:
        if out.has_more:
            self._carrier.carry_out(out.take())
            return
        if out.sends_upstream:
            self._upstream.send_parts(out.take_upstream())
        if out.settles:
            commits, releases = out.take_settled()
            self._store.settle(commits, releases)
        if out.sends_client:
            self._client.send_parts(out.take_client())
