"""Properties and headers of a message, checked before its signature: cheap, and without anything shared."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, STRIPPED_NAMES, TOKEN_NAME
from sealgate.verify.expiration import EXPIRATION_MS_MAX, expiration_ms
from sealgate.verify.policy import CELERY
from sealgate.wire.entries import without
from sealgate.wire.properties import DELIVERY_MODE, EXPIRATION, USER_ID, ContentHeader
from sealgate.wire.table import DECIMAL, FAR_TIMESTAMP, NOT_UTF8, Table, scan_table

#: Delivery modes that RabbitMQ takes: transient and persistent.
_DELIVERY_MODES: Final = frozenset({b"\x01", b"\x02"})
#: RabbitMQ routes a copy to every queue named here, past the routing key that was signed (hostile.jsonl HD20,
#: HD21).
ROUTING_NAMES: Final = ("CC", "BCC")
_DELAY_NAME: Final = "x-delay"


def check_properties(header: ContentHeader, user: str) -> None:
    """What RabbitMQ answers by closing the channel. `user` is the SASL user, "" when not known.

    Raises `GateError` props.expiration, props.delivery_mode or props.user_id.
    """
    fields = header.fields
    expiration = fields[EXPIRATION]
    if expiration is not None and expiration_ms(expiration) is None:
        raise GateError(Reason.PROPS_EXPIRATION, f"not a number of milliseconds up to {EXPIRATION_MS_MAX}")
    mode = fields[DELIVERY_MODE]
    if mode is not None and mode not in _DELIVERY_MODES:
        raise GateError(Reason.PROPS_DELIVERY_MODE, "not 1 or 2")
    if user and fields[USER_ID] is not None and header.text(USER_ID) != user:
        raise GateError(Reason.PROPS_USER_ID, "not the user of this connection")


def check_headers(table: Table, profile: str) -> None:
    """Headers that no profile takes, and types that `profile` does not.

    Raises `GateError` header.routing, header.x_delay, header.timestamp, header.utf8 or header.type.
    """
    values = table.values
    for name in ROUTING_NAMES:
        if name in values:
            raise GateError(Reason.HEADER_ROUTING, f"{name} header")
    if _DELAY_NAME in values:
        delay = values[_DELAY_NAME]
        if isinstance(delay, int | float) and delay < 0:
            raise GateError(Reason.HEADER_X_DELAY, "negative")
    if table.traits:
        _check_traits(_own_traits(table), profile)


def check_delivered_headers(table: Table, profile: str) -> None:
    """The same of a message that a consumer is handed: all of its headers, for it reads all of them.

    Whoever writes to the broker directly can write the broker's own names as well. The delayed-message plugin
    has negated `x-delay`. Raises `GateError` header.routing, header.timestamp, header.utf8 or header.type.
    """
    values = table.values
    for name in ROUTING_NAMES:
        if name in values:
            raise GateError(Reason.HEADER_ROUTING, f"{name} header")
    if table.traits:
        _check_traits(table.traits, profile)


def _check_traits(traits: int, profile: str) -> None:
    if traits & FAR_TIMESTAMP:
        raise GateError(Reason.HEADER_TIMESTAMP, "after the year 9999")
    if profile != CELERY:
        return
    if traits & NOT_UTF8:
        raise GateError(Reason.HEADER_UTF8, "a long string is not UTF-8")
    if traits & DECIMAL:
        raise GateError(Reason.HEADER_TYPE, "decimal")


def _own_traits(table: Table) -> int:
    """The traits of what the client wrote itself: names of the broker are stripped, whatever they hold."""
    if STRIPPED_NAMES.isdisjoint(table.values):
        return table.traits
    own = without(table, STRIPPED_NAMES)
    return scan_table(own, 0, len(own), STRIPPED_NAMES, ABSOLUTE_NAMES, TOKEN_NAME).traits
