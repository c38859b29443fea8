"""The `[[bound]]` tables of the contract: what tasks may ask of workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool

from sealgate.config import fields as f
from sealgate.config.section import Section
from sealgate.verify.celery import RETRIES_MAX, TIME_LIMIT_S_MAX
from sealgate.verify.expiration import EXPIRATION_MS_MAX
from sealgate.verify.expiry import REPLY_QUEUES

Over = Literal["refuse", "clamp"]

#: Seconds that a worker can add to the time of day.
_Limit = Annotated[f.PositiveDuration, Field(le=TIME_LIMIT_S_MAX)]
#: What RabbitMQ takes as a TTL, a whole number of milliseconds.
_Ttl = Annotated[f.PositiveDuration, Field(le=EXPIRATION_MS_MAX / 1000)]
#: AMQP has an octet for it.
_Priority = Annotated[f.WholeNumber, Field(le=255)]
#: And two for this.
_Prefetch = Annotated[f.Count, Field(le=65_535)]


def _never_clamped(why: str) -> AfterValidator:
    """Refuse "clamp" where it would do harm or can not be done, and say why."""

    def check(value: Over) -> Over:
        if value == "clamp":
            raise ValueError(f'"clamp" is not possible here: {why}')
        return value

    return AfterValidator(check)


class TimeLimitBound(Section):
    max: _Limit | None = None
    """Longest that a task may ask for."""
    default: _Limit | None = None
    """Put in where a task asks for none; without it the worker's own holds then."""
    over: Over = "refuse"
    """What happens to more: refuse, or clamp to max."""


class ExpiresBound(Section):
    max: _Limit | None = None
    """Longest from now, or from its ETA, until a task expires."""
    default: _Limit | None = None
    """Put in, counted likewise, where a task has none."""
    required: StrictBool = False
    """Refuse a task that has none."""
    over: Over = "refuse"
    """What happens to more: refuse, or clamp to max."""


class EtaBound(Section):
    max: _Limit
    """Furthest from now that a task may be to start (eta, countdown)."""
    over: Annotated[Over, _never_clamped("a task must not run before its time")] = "refuse"
    """What happens to more: refuse."""


class RetriesBound(Section):
    max: Annotated[f.WholeNumber, Field(le=RETRIES_MAX)]
    """Most retries that a task may have had."""
    over: Annotated[Over, _never_clamped("a task whose count is set back is retried for ever")] = "refuse"
    """What happens to more: refuse."""


class PriorityBound(Section):
    max: _Priority | None = None
    """Highest priority that a task may ask for."""
    default: _Priority | None = None
    """Put in where a task asks for none."""
    over: Over = "refuse"
    """What happens to more: refuse, or clamp to max."""


class BytesBound(Section):
    max: f.Count
    """Most bytes."""
    over: Annotated[Over, _never_clamped("a body is passed on whole or not at all")] = "refuse"
    """What happens to more: refuse."""


class Prefetch(Section):
    max: _Prefetch | None = None
    """Most deliveries that one basic.qos may leave unacknowledged; more, and 0 (no limit), is lowered."""
    default: _Prefetch | None = None
    """For consumers of clients that send no basic.qos; max when absent."""
    connection_max: f.Count | None = None
    """Most for all consumers of a connection together; a consumer that finds nothing left has 1."""


class Expiry(Section):
    expiration_max: _Ttl | None = None
    """Longest TTL (the property expiration) of results and replies; put in where they have none."""
    expires_max: _Ttl | None = None
    """Longest x-expires of reply queues as clients declare them; put in where they have none."""
    message_ttl_max: _Ttl | None = None
    """Longest x-message-ttl of reply queues; put in where they have none."""
    queues: tuple[f.Glob, ...] = REPLY_QUEUES
    """Names of reply queues, exact or globs; arguments are changed of exclusive or auto-delete ones only."""


class Bound(Section):
    task: f.Glob
    """Task name, exact or glob; the first bound that matches counts."""
    time_limit: TimeLimitBound | None = None
    """Hard time limit of Celery tasks, which the worker obeys over its own configuration."""
    soft_time_limit: TimeLimitBound | None = None
    """Soft time limit; it must be below the hard one, and is lowered with it."""
    expires: ExpiresBound | None = None
    """When a Celery task is not worth running any more."""
    eta: EtaBound | None = None
    """When a Celery task is to start."""
    retries: RetriesBound | None = None
    """How often a Celery task has been tried again."""
    priority: PriorityBound | None = None
    """The property of AMQP."""
    body_bytes: BytesBound | None = None
    """The body on the wire."""
    arguments_bytes: BytesBound | None = None
    """What the task is called with, as JSON without spaces and escapes."""
    compression: tuple[f.Compression, ...] | None = None
    """Body compressions allowed, of those in content.compression."""
