"""What one run of the demo calls its things on the broker, so that it can share one and clean up after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROUTING_KEY: Final = "tasks"
#: A key nobody in the demo may use; the auditor would see what comes there.
OTHER_ROUTING_KEY: Final = "tasks.admin"


@dataclass(slots=True, frozen=True)
class Names:
    run: str

    @property
    def exchange(self) -> str:
        """Tasks are published here. The worker's queue has the same name."""
        return f"sealgate.demo.{self.run}"

    @property
    def tap(self) -> str:
        """The auditor's queue: a copy of everything that reaches the exchange."""
        return f"{self.exchange}.tap"

    @property
    def decoy(self) -> str:
        """A queue only an attacker would write to."""
        return f"{self.exchange}.decoy"

    @property
    def control(self) -> str:
        """Celery's `control_exchange`; kombu puts `.pidbox` behind it."""
        return f"{self.exchange}.celery"

    @property
    def events(self) -> str:
        return f"celeryev.{self.exchange}"

    @property
    def pidbox(self) -> str:
        return f"{self.control}.pidbox"

    @property
    def quarantine(self) -> str:
        return f"{self.exchange}.quarantine"

    @property
    def queues(self) -> tuple[str, ...]:
        """All that do not go by themselves."""
        return self.exchange, self.tap, self.decoy, self.quarantine

    @property
    def exchanges(self) -> tuple[str, ...]:
        return self.exchange, self.quarantine, self.pidbox, f"reply.{self.pidbox}", self.events
