"""What `[deliver]` and other keys say about one another."""

from __future__ import annotations

from collections.abc import Iterator

from sealgate.config.paths import Path
from sealgate.config.settings import Settings

Finding = tuple[Path, str]


def deliveries_can_be_verified(settings: Settings) -> Iterator[Finding]:
    """`publish.action = "pass"` reads nothing of a channel, so nothing is known of its consumers either."""
    deliver = settings.deliver
    if deliver.action != "verify":
        for name in ("require", "countersigned_by", "queue", "tasks"):
            if getattr(deliver, name) != type(deliver).model_fields[name].default:
                yield ("deliver", name), 'is only for deliver.action = "verify"'
        return
    if settings.publish.action == "pass":
        yield ("deliver", "action"), 'is "verify", which needs publish.action = "sign" or "verify"'
    if deliver.require != "producer" and not deliver.countersigned_by:
        yield (
            ("deliver", "countersigned_by"),
            f'is missing: require = "{deliver.require}" needs the kids of the gateways',
        )
    if deliver.require == "producer" and deliver.countersigned_by:
        yield ("deliver", "countersigned_by"), 'is only for require = "gateway" or "both"'


def refused_deliveries_are_kept(settings: Settings) -> Iterator[Finding]:
    """A signing sidecar's upstream is usually a gateway, which takes no unsealed record."""
    quarantine = settings.quarantine
    verifies = settings.deliver.action == "verify" and settings.publish.action == "sign"
    if verifies and quarantine.enabled and quarantine.url is None:
        yield (
            ("quarantine", "url"),
            'is missing: deliver.action = "verify" keeps what it refuses, or set quarantine.enabled = false',
        )


def delivery_queues_are_reached(settings: Settings) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, queue in enumerate(settings.deliver.queue):
        first = seen.get("*", seen.setdefault(queue.match, index))
        if first != index:
            yield ("deliver", "queue", index, "match"), f"is never reached: queue[{first}] takes all of it"


def once_is_shared(settings: Settings) -> Iterator[Finding]:
    for index, queue in enumerate(settings.deliver.queue):
        if queue.once and settings.listen.workers > 1 and settings.replay.store == "memory":
            yield (
                ("deliver", "queue", index, "once"),
                'needs replay.store = "redis://...": workers (listen.workers) do not share a memory store',
            )


def delivery_warnings(settings: Settings) -> Iterator[Finding]:
    """What is allowed, and probably not meant."""
    if settings.deliver.action != "verify":
        return
    if not settings.quarantine.enabled:
        yield (
            ("quarantine", "enabled"),
            "is off: refused deliveries are dead-lettered where their queue says so, and else lost",
        )
    for index, queue in enumerate(settings.deliver.queue):
        if queue.once and settings.replay.store == "memory" and settings.replay.journal is None:
            yield (
                ("deliver", "queue", index, "once"),
                "is forgotten at a restart: the memory store has no replay.journal",
            )
