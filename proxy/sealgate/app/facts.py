"""What a process can say of itself without a gate."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector

if TYPE_CHECKING:
    from sealgate.config.settings import Settings


def about(settings: Settings) -> dict[str, str]:
    """What the status page says of the whole."""
    return {
        "python": platform.python_version(),
        "action": settings.publish.action,
        "deployment": settings.deployment,
        "mode": settings.mode.default,
    }


def process_values() -> dict[str, float]:
    """What the system knows of this process, as Prometheus names it; nothing where there is no /proc."""
    families = ProcessCollector(registry=None).collect()
    return {sample.name: sample.value for family in families for sample in family.samples}
