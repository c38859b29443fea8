"""What the checks of an application are given: its facts, its files, and what is known of the gateway."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sealgate.cli.doctor.celery_facts import Broker, Facts, Task
from sealgate.cli.doctor.findings import Finding, Rule, Severity, found
from sealgate.cli.doctor.locating import Locator

if TYPE_CHECKING:
    from sealgate.cli.doctor.config_case import Case as PolicyCase
    from sealgate.config.settings import Settings


@dataclass(slots=True, frozen=True)
class Case:
    """One application. `gateways` are addresses (`host:port`) of sidecars and gateways that were named;
    `gateway` is the configuration of the one that verifies, when it was given."""

    facts: Facts
    locator: Locator
    gateways: frozenset[str] = field(default_factory=frozenset)
    gateway: PolicyCase | None = None

    @property
    def policy(self) -> Settings | None:
        return None if self.gateway is None else self.gateway.settings

    def setting(self, name: str) -> Any:
        return self.facts.settings.get(name)

    def about(
        self,
        rule: Rule,
        message: str,
        setting: str,
        value: str,
        subject: str = "",
        severity: Severity | None = None,
    ) -> Finding:
        """A finding that is mended by setting `setting` to `value`."""
        change = self.locator.line(setting, value)
        return found(rule, message, change, self.locator.place(setting), subject or setting, severity)

    def about_task(self, rule: Rule, task: Task, message: str, option: str, change: str) -> Finding:
        """A finding that is mended where `task` is defined."""
        return found(rule, message, change, self.locator.of_task(task, option), task.name)

    def at(self, rule: Rule, message: str, setting: str, change: str, subject: str = "") -> Finding:
        """A finding about a setting that is mended by other words than a value for it."""
        return found(rule, message, change, self.locator.place(setting), subject or setting)

    def through_sealgate(self, broker: Broker) -> bool:
        """Whether what goes to `broker` is sealed: by the transport itself, or by who listens there."""
        listening = broker.address in self.gateways if self.gateways else broker.port in _OWN_PORTS
        return signs(broker) or listening


def signs(broker: Broker) -> bool:
    """Whether the application's own transport seals."""
    return broker.transport.startswith("sealgate.")


def names(values: Iterable[str], count_max: int = 5) -> str:
    """`a, b and 3 more`."""
    listed = list(values)
    rest = len(listed) - count_max
    return ", ".join(listed[:count_max]) + (f" and {rest} more" if rest > 0 else "")


#: Where a sidecar or gateway listens unless told otherwise (docs: listen.address).
_OWN_PORTS = (6672, 6671)
