"""One worker's part of a configuration that is for all of them."""

from __future__ import annotations

from sealgate.config.fields import Address
from sealgate.config.settings import Settings


def share_of(settings: Settings, port: int, in_service: bool) -> Settings:
    """The settings of one of `settings.listen.workers`.

    Divided is what must hold for the whole: memory, hashing, and how often a password may be guessed (rounded
    up, so that no share is nothing). What a client meets in one connection stays. `port` is the one that is
    reserved; `in_service` says that the broker was there before, and may be away as long as it likes.
    """
    workers = settings.listen.workers
    limits = settings.limits
    parts = {
        name: -(-getattr(limits, name) // workers)
        for name in (
            "login_failures_max",
            "address_login_failures_max",
            "login_workers",
            "logins_waiting_max",
        )
    }
    parts["process_bytes_max"] = max(limits.process_bytes_max // workers, limits.connection_bytes_max)
    # Without Redis each limits at its share of the rates.
    parts["gateways"] = limits.gateways * workers
    address = Address(settings.listen.address.host, port)
    patience = {"start_timeout": 0.0} if in_service else {}
    return settings.model_copy(
        update={
            "listen": settings.listen.model_copy(update={"address": address}),
            "limits": limits.model_copy(update=parts),
            # Theirs are the supervisor's alone.
            "control": settings.control.model_copy(update={"state": None}),
            "admin": settings.admin.model_copy(update={"enabled": False}),
            "upstream": settings.upstream.model_copy(update=patience),
        }
    )
