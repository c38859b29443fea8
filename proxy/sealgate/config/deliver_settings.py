"""`[deliver]`: what happens to messages that the broker delivers, and how each queue's are judged."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool

from sealgate.config import fields as f
from sealgate.config.section import Section


class DeliverQueue(Section):
    match: f.Glob = "*"
    """Queues this is for, exact or glob; the first entry that matches counts."""
    target: Literal["strict", "dead_letter", "delayed"] = "strict"
    """strict: the exchange and routing key that were signed; dead_letter: x-death may name these;
    delayed: Celery's native delayed delivery."""
    once: StrictBool = False
    """What was acknowledged from the queue is not delivered from it again. Remembered by replay.store."""


class Deliver(Section):
    action: Literal["pass", "verify"] = "pass"
    """What happens to messages that the broker delivers."""
    require: Literal["producer", "gateway", "both"] = "producer"
    """Whose signature they must carry: x-seal, x-countersign, or both."""
    countersigned_by: tuple[f.Kid, ...] = ()
    """Kids of gateways (publish.countersign_with there), for require = "gateway" and "both"."""
    queue: tuple[DeliverQueue, ...] = ()
    """How the deliveries of some queues are judged; others strictly."""
    tasks: tuple[f.Name, ...] = ()
    """Task names or globs that have a series of their own in sealgate_queue_wait_seconds, beside those in
    [rate]."""
