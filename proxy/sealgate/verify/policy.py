"""What the operator allows, as one frozen value. `config` builds it; a reload replaces it whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sealgate.verify.bounds import BoundTable
from sealgate.verify.controls import Controls
from sealgate.verify.expiry import Expiry
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
#: In `Rule.task`: any task, and what is none.
ANY_TASK: Final = "*"


class HeaderNames(NamedTuple):
    """The task as headers tell it, "" where they do not: Celery's (protocol 2) and taskiq's."""

    celery: str
    taskiq: str

    def of(self, profile: str) -> str:
        """The name under `profile`. A message nobody reads may be Celery's; dramatiq has no headers."""
        if profile == TASKIQ:
            return self.taskiq
        return "" if profile == DRAMATIQ else self.celery


@dataclass(slots=True, frozen=True)
class ContentRules:
    """What a body must be: exact content types ("" for none), and compression by the names kombu writes."""

    profile: str = CELERY
    types: frozenset[str] = frozenset({JSON_TYPE})
    compression: frozenset[str] = frozenset()


@dataclass(slots=True, frozen=True)
class Rule:
    """Narrows or relaxes for part of the traffic; None leaves the default. The first that matches counts.

    `task` is matched against what the consumer will run. Which content is asked for has to be known before
    the body is read: there it is the header `task` (Celery 2, generic) or `task_name` (taskiq), else "".
    """

    vhost: str = "*"
    exchange: str = "*"
    task: str = ANY_TASK
    user: str = "*"
    observe: bool | None = None
    content: ContentRules | None = None

    def concerns(self, vhost: str, exchange: str, user: str) -> bool:
        """Whether it matches, whatever the task."""
        return _matches(self.vhost, vhost) and _matches(self.exchange, exchange) and _matches(self.user, user)

    def names(self, task: str) -> bool:
        return _matches(self.task, task)


@dataclass(slots=True, frozen=True)
class Policy:
    """Times in seconds, sizes in bytes. `deployment` is part of every signature.

    `strict_b64` refuses a pickle in base64 inside a body instead of flagging it. `protocol_1` lets Celery 1
    messages in. `session_nonces_only` refuses every nonce that a store would have to remember. `bounds` is
    None where no task has any, and `expiry` where replies may stay for ever.
    """

    deployment: str
    max_age_s: int = 300
    clock_skew_s: int = 30
    body_bytes_max: int = 4_194_304
    inflated_bytes_max: int = 8_388_608
    content: ContentRules = ContentRules()
    protocol_1: bool = False
    strict_b64: bool = False
    session_nonces_only: bool = False
    rates: RateTable = field(default_factory=RateTable)
    observe_default: bool = False
    rules: tuple[Rule, ...] = ()
    bounds: BoundTable | None = None
    #: An operator's orders; None while there are none.
    controls: Controls | None = None
    expiry: Expiry | None = None

    def observes(self, vhost: str, exchange: str, task: str | None, user: str) -> bool:
        """Whether a refusal of such a message is only counted.

        A `task` of None can not be known: then every task must be observed there.
        """
        for rule in self.rules:
            if not rule.concerns(vhost, exchange, user):
                continue
            observe = self.observe_default if rule.observe is None else rule.observe
            if rule.task == ANY_TASK or (task is not None and rule.names(task)):
                return observe
            if task is None and not observe:
                return False
        return self.observe_default

    def rule_of(self, vhost: str, exchange: str, task: str, user: str) -> int | None:
        """The place in `rules` of the one whose mode holds for such a message; None for the default."""
        for place, rule in enumerate(self.rules):
            if rule.concerns(vhost, exchange, user) and rule.names(task):
                return place
        return None

    def content_for(self, vhost: str, exchange: str, names: HeaderNames, user: str) -> ContentRules:
        """What the body of such a message must be. A rule's `task` is the name its own profile goes by."""
        for rule in self.rules:
            content = self.content if rule.content is None else rule.content
            if rule.concerns(vhost, exchange, user) and rule.names(names.of(content.profile)):
                return content
        return self.content

    def names_tasks(self) -> bool:
        """Whether any rule is for some tasks only."""
        return any(rule.task != ANY_TASK for rule in self.rules)


def _matches(pattern: str, name: str) -> bool:
    return pattern == "*" or compiled((pattern,)).match(name)
