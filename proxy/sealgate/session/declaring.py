"""Reply queues that clients declare: their arguments are bounded on the way to the broker."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.records import Tally
from sealgate.verify.expiry import Expiry
from sealgate.wire.constants import QUEUE_DECLARE
from sealgate.wire.consuming import read_declare, with_arguments
from sealgate.wire.entries import entry_number
from sealgate.wire.table import scan_table

_NO_NAMES: Final[frozenset[str]] = frozenset()
_OBSERVED: Final = "observed"


def bounded_declare(expiry: Expiry, payload: bytes, tally: Tally) -> bytes:
    """A `queue.declare` with the arguments it may have; the same one where nothing is to be changed.

    What can not be read is for the broker to refuse. Raises `GateError` method.denied for arguments of a
    reply queue that are no clean table: what they are to the broker nobody can tell.
    """
    try:
        declare = read_declare(payload)
    except GateError:
        return payload
    if declare.passive or not (declare.exclusive or declare.auto_delete):
        return payload
    if not expiry.arguments(declare.queue, {}):
        return payload
    begin, end = declare.span
    try:
        table = scan_table(payload, begin, end, _NO_NAMES, _NO_NAMES)
    except GateError as error:
        raise GateError(
            Reason.METHOD_DENIED, f"arguments of a reply queue: {error.reason.value}", QUEUE_DECLARE
        ) from None
    changed = expiry.arguments(declare.queue, table.values)
    for argument in changed:
        tally.queue_arguments_limited[_OBSERVED if expiry.observed else argument] += 1
    if not changed or expiry.observed:
        return payload
    entries = {name: entry_number(name, value) for name, value in changed.items()}
    return with_arguments(payload, declare, table, entries)
