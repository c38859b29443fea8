"""What the operator allows, as one frozen value. `config` builds it; a reload replaces it whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sealgate.verify.globs import compiled
from sealgate.verify.rates import RateTable

CELERY: Final = "celery"
DRAMATIQ: Final = "dramatiq"
TASKIQ: Final = "taskiq"
GENERIC: Final = "generic"
PROFILES: Final = (CELERY, DRAMATIQ, TASKIQ, GENERIC)

JSON_TYPE: Final = "application/json"
#: In `ContentRules.types` of the generic profile: any type, bodies unread.
ANY_TYPE: Final = "*"


@dataclass(slots=True, frozen=True)
class ContentRules:
    """What a body must be: exact content types ("" for none), and compression by the names kombu writes."""

    profile: str = CELERY
    types: frozenset[str] = frozenset({JSON_TYPE})
    compression: frozenset[str] = frozenset()


@dataclass(slots=True, frozen=True)
class Rule:
    """Narrows or relaxes for part of the traffic; None leaves the default. The first that matches counts.

    `task` is matched before the body is read: against the header `task` (Celery 2) or `task_name` (taskiq),
    else "".
    """

    vhost: str = "*"
    exchange: str = "*"
    task: str = "*"
    user: str = "*"
    observe: bool | None = None
    content: ContentRules | None = None

    def matches(self, vhost: str, exchange: str, task: str, user: str) -> bool:
        return (
            _matches(self.vhost, vhost)
            and _matches(self.exchange, exchange)
            and _matches(self.task, task)
            and _matches(self.user, user)
        )


@dataclass(slots=True, frozen=True)
class Policy:
    """Times in seconds, sizes in bytes. `deployment` is part of every signature.

    `strict_b64` refuses a pickle in base64 inside a body instead of flagging it. `known_tasks`, where set,
    are the only task names (exact or glob) that any key may send. `protocol_1` lets Celery 1 messages in.
    """

    deployment: str
    max_age_s: int = 300
    clock_skew_s: int = 30
    body_bytes_max: int = 4_194_304
    inflated_bytes_max: int = 8_388_608
    content: ContentRules = ContentRules()
    protocol_1: bool = False
    strict_b64: bool = False
    allow_direct_reply: bool = True
    known_tasks: tuple[str, ...] | None = None
    rates: RateTable = field(default_factory=RateTable)
    observe_default: bool = False
    rules: tuple[Rule, ...] = ()

    def observes(self, vhost: str, exchange: str, task: str, user: str) -> bool:
        """Whether a refusal of such a message is only counted."""
        for rule in self.rules:
            if rule.matches(vhost, exchange, task, user):
                return self.observe_default if rule.observe is None else rule.observe
        return self.observe_default

    def content_for(self, vhost: str, exchange: str, task: str, user: str) -> ContentRules:
        """What the body of such a message must be."""
        for rule in self.rules:
            if rule.matches(vhost, exchange, task, user):
                return self.content if rule.content is None else rule.content
        return self.content


def _matches(pattern: str, name: str) -> bool:
    return pattern == "*" or compiled((pattern,)).match(name)
