"""Collects what one event leads to, and gives it out as commands."""

from __future__ import annotations

from typing import Final

from sealgate.accounts.login import Attempt, LoginRecord
from sealgate.session.channel import Publication
from sealgate.session.commands import (
    CheckLogin,
    Close,
    Command,
    DeclareQueue,
    DialUpstream,
    Keep,
    KeepDelivery,
    RenewClaims,
    RequestClaims,
    RequestDeliveryClaims,
    Send,
    SetReading,
    SettleClaims,
    TellClamp,
    TellLogin,
)
from sealgate.session.delivering import Delivery
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import ClampRecord, RefusalRecord
from sealgate.session.states import Side
from sealgate.verify.verdict import Claim
from sealgate.wire.constants import FRAME_METHOD
from sealgate.wire.frames import encode_frame

_CLIENT: Final = Side.CLIENT
#: Up to here a copy of a part costs less than looking into it.
_SLICED_BYTES_MAX: Final = 4096
#: Parts of fewer octets than this, on average, cost less joined than sent in one call; and more of them.
_JOINED_BYTES_MAX: Final = 8192
_PARTS_MAX: Final = 8


class Lane:
    """What goes to one side. Parts of the same bytes that follow on one another are cut out as one."""

    __slots__ = ("_data", "_parts", "_start", "_stop")

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        #: The last part of all: `_data[_start:_stop]`, none while `_stop` is 0.
        self._data = b""
        self._start = 0
        self._stop = 0

    @property
    def empty(self) -> bool:
        return not self._stop and not self._parts

    def add(self, data: bytes) -> None:
        if self._stop:
            self._cut()
        self._parts.append(data)

    def stretch(self, data: bytes, start: int, stop: int) -> None:
        """Add `data[start:stop]`, which is not empty."""
        if self._stop == start and self._data is data:
            self._stop = stop
            return
        if self._stop:
            self._cut()
        self._data = data
        self._start = start
        self._stop = stop

    def _cut(self) -> None:
        data = self._data
        size = self._stop - self._start
        if size == len(data):
            # Compiled, a slice of all bytes is a copy of them.
            self._parts.append(data)
        elif size > _SLICED_BYTES_MAX:
            self._parts.append(memoryview(data)[self._start : self._stop])
        else:
            self._parts.append(data[self._start : self._stop])
        self._data = b""
        self._stop = 0

    def take(self) -> bytes:
        """All of it. Nothing is left then."""
        return b"".join(self.take_parts())

    def take_parts(self) -> list[bytes | memoryview]:
        """All of it, joined where that costs less than sending it in parts. Nothing is left then."""
        if self._stop:
            self._cut()
        parts = self._parts
        self._parts = []
        return parts if _are_kept_apart(parts) else [b"".join(parts)]


def _are_kept_apart(parts: list[bytes | memoryview]) -> bool:
    """Whether parts are large, and keep in memory, while they wait to be sent, at most twice their octets."""
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return True  # as what follows would say, after a while: messages that come alone have no other
    if len(parts) > _PARTS_MAX:
        return False
    size = kept = 0
    last: object = None
    for part in parts:
        size += len(part)
        whole = part.obj if isinstance(part, memoryview) else part
        if whole is not last:
            assert isinstance(whole, bytes)  # of nothing else parts are made
            kept += len(whole)
            last = whole
    return (len(parts) == 1 or size >= len(parts) * _JOINED_BYTES_MAX) and kept <= 2 * size


class Outbox:
    """Collects what one event leads to; `take` turns it into as few commands as will do.

    Most events lead to bytes and settled claims alone. Where `has_more` is false, `take_upstream`,
    `take_settled` (where it `settles`) and `take_client` do instead, in this order.
    """

    __slots__ = (
        "_asked",
        "_claims",
        "_clamps",
        "_client",
        "_closes",
        "_commits",
        "_declare",
        "_delivery_claims",
        "_delivery_keeps",
        "_dial",
        "_keep",
        "_login",
        "_logins",
        "_mute",
        "_reading",
        "_releases",
        "_renew",
        "_upstream",
        "has_more",
    )

    def __init__(self) -> None:
        self._client: Final = Lane()
        self._upstream: Final = Lane()
        self._claims: list[Publication] = []
        self._asked: list[Claim] = []
        self._commits: list[Claim] = []
        self._releases: list[Claim] = []
        self._renew: list[Claim] = []
        self._keep: list[RefusalRecord] = []
        self._clamps: list[ClampRecord] = []
        self._delivery_claims: list[Delivery] = []
        self._delivery_keeps: list[KeepDelivery] = []
        self._closes: list[Close] = []
        self._logins: list[LoginRecord] = []
        self._login: Attempt | None = None
        self._declare: list[HoldingQueue] = []
        self._reading: list[SetReading] = []
        self._dial = False
        self._mute = False
        #: Something is to be done that is not sending bytes or settling claims.
        self.has_more = False

    def client(self, data: bytes) -> None:
        if not self._mute:
            self._client.add(data)

    def client_stretch(self, data: bytes, start: int, stop: int) -> None:
        """As `Lane.stretch`, to the client."""
        if not self._mute:
            self._client.stretch(data, start, stop)

    def upstream(self, data: bytes) -> None:
        self._upstream.add(data)

    def upstream_stretch(self, data: bytes, start: int, stop: int) -> None:
        """As `Lane.stretch`, to the broker."""
        self._upstream.stretch(data, start, stop)

    def client_method(self, channel: int, payload: bytes) -> None:
        if not self._mute:
            self._client.add(encode_frame(FRAME_METHOD, channel, payload))

    def mute_client(self) -> None:
        """The client was told `connection.close`: it is sent nothing more but by `last_client_method`."""
        self._mute = True

    def last_client_method(self, payload: bytes) -> None:
        """`connection.close` or its answer."""
        self._client.add(encode_frame(FRAME_METHOD, 0, payload))

    def upstream_method(self, channel: int, payload: bytes) -> None:
        self.upstream(encode_frame(FRAME_METHOD, channel, payload))

    def dial(self) -> None:
        self.has_more = True
        self._dial = True

    def close(self, side: Side, linger: bool = False) -> None:
        self.has_more = True
        self._closes.append(Close(side, linger))

    def reading(self, side: Side, on: bool) -> None:
        self.has_more = True
        self._reading.append(SetReading(side, on))

    def claim(self, publication: Publication, claim: Claim) -> None:
        self.has_more = True
        self._claims.append(publication)
        self._asked.append(claim)

    def commit(self, claim: Claim) -> None:
        self._commits.append(claim)

    def commit_all(self, claims: list[Claim]) -> None:
        """As `commit` of each; the list is the outbox's from now on."""
        if self._commits:
            self._commits += claims
        else:
            self._commits = claims

    def release(self, claim: Claim) -> None:
        self._releases.append(claim)

    def renew(self, claim: Claim) -> None:
        self.has_more = True
        self._renew.append(claim)

    def keep(self, record: RefusalRecord) -> None:
        self.has_more = True
        self._keep.append(record)

    def declare(self, queue: HoldingQueue) -> None:
        self.has_more = True
        self._declare.append(queue)

    def tell_clamp(self, record: ClampRecord) -> None:
        self.has_more = True
        self._clamps.append(record)

    def claim_delivery(self, delivery: Delivery) -> None:
        self.has_more = True
        self._delivery_claims.append(delivery)

    def keep_delivery(self, record: RefusalRecord, delivery: Delivery) -> None:
        self.has_more = True
        self._delivery_keeps.append(KeepDelivery(record, delivery))

    def check_login(self, attempt: Attempt) -> None:
        self.has_more = True
        self._login = attempt

    def tell_login(self, record: LoginRecord) -> None:
        self.has_more = True
        self._logins.append(record)

    def forget_bytes(self) -> None:
        """Nothing collected so far for either socket may leave: the session is in error."""
        self._client.take()
        self._upstream.take()

    @property
    def sends_client(self) -> bool:
        """Whether anything is to be sent to the client."""
        return not self._client.empty

    @property
    def settles(self) -> bool:
        """Whether claims are settled."""
        return bool(self._commits or self._releases)

    def take_settled(self) -> tuple[list[Claim], list[Claim]]:
        """Claims whose messages reached the broker, and those whose did not; none are left then."""
        settled = self._commits, self._releases
        self._commits = []
        self._releases = []
        return settled

    @property
    def sends_upstream(self) -> bool:
        """Whether anything is to be sent to the broker."""
        return not self._upstream.empty

    def take_client(self) -> list[bytes | memoryview]:
        """What is to be sent to the client; nothing of it is left then."""
        return self._client.take_parts()

    def take_upstream(self) -> list[bytes | memoryview]:
        """What is to be sent to the broker; nothing of it is left then."""
        return self._upstream.take_parts()

    def take(self) -> list[Command]:
        """The commands, in the order they must be carried out. What is asked comes last: its answer may
        come back at once, and must find everything before it done."""
        commands: list[Command] = []
        self.has_more = False
        if self._dial:
            commands.append(DialUpstream())
            self._dial = False
        if not self._upstream.empty:
            commands.append(Send(Side.UPSTREAM, self._upstream.take()))
        if self.settles:
            commits, releases = self.take_settled()
            commands.append(SettleClaims(commits, releases))
        if not self._client.empty:
            commands.append(Send(_CLIENT, self._client.take()))
        if self._renew:
            commands.append(RenewClaims(self._renew))
            self._renew = []
        if self._keep:
            commands.extend([Keep(record) for record in self._keep])
            self._keep.clear()
        if self._clamps:
            commands.extend([TellClamp(record) for record in self._clamps])
            self._clamps.clear()
        if self._reading:
            commands.extend(self._reading)
            self._reading.clear()
        if self._closes:
            commands.extend(self._closes)
            self._closes.clear()
        if self._logins:
            commands.extend([TellLogin(record) for record in self._logins])
            self._logins.clear()
        if self._claims:
            commands.append(RequestClaims(self._claims, self._asked))
            self._claims = []
            self._asked = []
        if self._declare:
            commands.extend([DeclareQueue(queue) for queue in self._declare])
            self._declare.clear()
        if self._delivery_claims:
            commands.append(RequestDeliveryClaims(self._delivery_claims))
            self._delivery_claims = []
        if self._delivery_keeps:
            commands.extend(self._delivery_keeps)
            self._delivery_keeps = []
        if self._login is not None:
            commands.append(CheckLogin(self._login))
            self._login = None
        return commands
