"""What all relays of a listener share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sealgate.net.logins import Logins
from sealgate.net.upstream import Dialer
from sealgate.net.warn import Warn
from sealgate.session.conversation import Terms
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import RefusalRecord
from sealgate.verify.verdict import ClaimStore


class QueueKeeper(Protocol):
    """Who declares queues that hold publications (`session.holding`)."""

    def declare(
        self, broker: str, secure: bool, vhost: str, queue: HoldingQueue, answer: Callable[[str], None]
    ) -> None:
        """Declare `queue` at `broker`; `answer` is called once with "" or the trouble."""


@dataclass(slots=True, frozen=True)
class Shared:
    """What every relay uses. `keep` takes a refusal for quarantine and audit and returns at once; who wants
    to know is told whether it is safe there.

    `warn` tells why a connection was closed.
    """

    terms: Terms
    store: ClaimStore
    dialer: Dialer
    keep: Callable[[RefusalRecord, Callable[[bool], None] | None], None]
    warn: Warn
    #: Where Sealgate itself judges logins.
    logins: Logins | None = None
    #: Where publications may be held.
    queues: QueueKeeper | None = None
