"""From `[[bound]]`, `[prefetch]` and `[expiry]` to the bounds of the core."""

from __future__ import annotations

from sealgate.config import bound_settings as given
from sealgate.config.settings import Settings
from sealgate.session.prefetch import PrefetchTerms
from sealgate.verify.bounds import Bound, BoundTable, Limit
from sealgate.verify.expiry import Expiry


def build_bounds(settings: Settings) -> BoundTable | None:
    """The bounds as configured; None without any."""
    return BoundTable(tuple([_bound(bound) for bound in settings.bound])) if settings.bound else None


def build_prefetch(settings: Settings) -> PrefetchTerms | None:
    """What clients may hold unacknowledged; None where that is left to them."""
    prefetch = settings.prefetch
    counts = (prefetch.max, prefetch.default, prefetch.connection_max)
    return PrefetchTerms(*counts, settings.mode.default == "observe") if any(counts) else None


def build_expiry(settings: Settings) -> Expiry | None:
    """How long results and replies may stay; None where that is left to them."""
    given = settings.expiry
    expiry = Expiry(
        _milliseconds(given.expiration_max),
        _milliseconds(given.expires_max),
        _milliseconds(given.message_ttl_max),
        given.queues,
        settings.mode.default == "observe",
    )
    return expiry if expiry.expiration_ms_max is not None or expiry.bounds_queues else None


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(round(seconds * 1000), 1)


def _bound(bound: given.Bound) -> Bound:
    expires = bound.expires
    return Bound(
        task=bound.task,
        time_limit=_limit(bound.time_limit),
        soft_time_limit=_limit(bound.soft_time_limit),
        expires=_limit(expires),
        expires_required=expires is not None and expires.required,
        eta_s_max=None if bound.eta is None else bound.eta.max,
        retries_max=None if bound.retries is None else bound.retries.max,
        priority=_limit(bound.priority),
        body_bytes_max=None if bound.body_bytes is None else bound.body_bytes.max,
        arguments_bytes_max=None if bound.arguments_bytes is None else bound.arguments_bytes.max,
        compression=None if bound.compression is None else frozenset(bound.compression),
    )


def _limit(limit: given.TimeLimitBound | given.ExpiresBound | given.PriorityBound | None) -> Limit | None:
    if limit is None:
        return None
    # Compiled code takes no int for a float.
    most = None if limit.max is None else float(limit.max)
    default = None if limit.default is None else float(limit.default)
    return Limit(most, default, limit.over == "clamp")
