"""Checks what a process is delivered: signature, end of validity, target (seal1.md, "At the consumer").

Not freshness and not replay, which are the gateway's: a broker may rightly deliver late, and again.
"""

from __future__ import annotations

import hashlib
import logging
import re
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from sealgate.integrations.keys import KeySource
from sealgate.integrations.options import Options
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME, Snapshot, signing_context
from sealgate.signing.keyring import Keyring
from sealgate.signing.token import Token
from sealgate.verify.message import Message, Peer
from sealgate.verify.seals import covered_by, read_token
from sealgate.wire.properties import EXPIRATION, TIMESTAMP, scan_content_header
from sealgate.wire.values import Value

#: A flood of forged messages fills no log: of each reason one line in this time, with the count it stands
#: for.
LOG_INTERVAL_S: Final = 10.0

#: Queues in which a gateway lets messages wait, with a time to live of its own in place of theirs.
_GATEWAY_QUEUES: Final = ("sealgate.wait.", "sealgate.park.")
_DELAYED_EXCHANGE: Final = re.compile(r"(?:.+_)?celery_delayed_(?:[0-9]{1,2}|delivery)")
#: 28 bits of the delay, then the routing key that the task had.
_DELAYED_KEY: Final = re.compile(r"(?:[01]\.){28}.+", re.DOTALL)
_U64: Final = struct.Struct(">Q")
_log: Final = logging.getLogger("sealgate")


class DeliveryVerifier:
    """Judges deliveries with the keys of `options`; one for all threads of a process and those forked from
    it.

    `refused` counts by reason (in mode "observe" what would have been). Raises `KeysError` when the keys can
    not be read at first. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        options: Options,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options: Final = options
        self.refused: Final[Counter[str]] = Counter()
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._keys: Final = KeySource(options.keys, _some_keys)
        self._told: Final[dict[str, tuple[float, int]]] = {}

    def passes(
        self, exchange: str, routing_key: str, header: bytes, body: bytes, vhost: str, queue: str
    ) -> bool:
        """Whether the application may see a delivery; a refusal is counted and logged.

        `header` is the content header's payload as received. Of a message that passes `x-seal` and
        `x-countersign` are the caller's to take out.
        """
        try:
            self.check(exchange, routing_key, header, body, vhost, queue)
        except GateError as error:
            self._tell(error, exchange, routing_key, queue)
            return self.options.mode == "observe"
        return True

    def check(
        self, exchange: str, routing_key: str, header: bytes, body: bytes, vhost: str, queue: str
    ) -> None:
        """Raises `GateError`: props.*, header.*, sig.*, time.expired, target.mismatch."""
        content = scan_content_header(header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        message = Message(exchange, routing_key, False, content, body, hashlib.sha256(body).digest())
        token = read_token(message, Peer(self.options.deployment, vhost))
        self._check_signature(message, token, vhost)
        check_target(message, token.target, self.options.target_of(queue))

    def _check_signature(self, message: Message, token: Token, vhost: str) -> None:
        keyring = self._keys.keyring()
        now = self._clock()
        key = keyring.get(token.kid)
        if key is None:
            raise GateError(Reason.SIG_KID, "no such key")
        keyring.check_for_verify(key, token, now)
        if token.expires + self.options.clock_skew < now:
            raise GateError(Reason.TIME_EXPIRED, "seal expires")
        context = signing_context(key.algorithm.name, self.options.deployment, vhost)
        if not key.algorithm.verify(covered_by(context, message, token.prefix), token.signature):
            raise GateError(Reason.SIG_BAD, "signature")

    def _tell(self, error: GateError, exchange: str, routing_key: str, queue: str) -> None:
        reason = error.reason.value
        self.refused[reason] += 1
        now = self._monotonic()
        last, told = self._told.get(reason, (-LOG_INTERVAL_S, 0))
        if now < last + LOG_INTERVAL_S:
            return
        count = self.refused[reason]
        self._told[reason] = (now, count)
        what = "would refuse" if self.options.mode == "observe" else "refused"
        # What the sender chose is printed by its repr: no line of a log is his to write.
        _log.warning(
            "sealgate: %s %d deliveries: %s (the last: exchange %r, routing key %r, queue %r)",
            *(what, count - told, error, exchange, routing_key, queue),
        )


def check_target(message: Message, target: Snapshot, policy: str) -> None:
    """Hold the signed target against where a delivery came from, under `policy` (one of `TARGETS`).

    Raises `GateError` target.mismatch.
    """
    fields = message.header.fields
    if target.timestamp != fields[TIMESTAMP]:
        raise GateError(Reason.TARGET_MISMATCH, "timestamp")
    deaths = _deaths(message)
    same = target.exchange == message.exchange and target.routing_key == message.routing_key
    if same:
        waited = any(_name(death, "queue").startswith(_GATEWAY_QUEUES) for death in deaths)
        if target.expiration == fields[EXPIRATION] or (waited and fields[EXPIRATION] is None):
            return
    if policy == "dead_letter" and any(_died_there(death, target, fields[EXPIRATION]) for death in deaths):
        return
    if policy == "delayed" and _was_delayed(message, target) and target.expiration == fields[EXPIRATION]:
        return
    raise GateError(Reason.TARGET_MISMATCH, "expiration" if same else "exchange or routing key")


def _deaths(message: Message) -> list[dict[str, Value]]:
    deaths = message.header.table.values.get("x-death")
    if not isinstance(deaths, list):
        return []
    return [death for death in deaths if isinstance(death, dict)]


def _name(death: dict[str, Value], name: str) -> str:
    value = death.get(name)
    return value if isinstance(value, str) else ""


def _died_there(death: dict[str, Value], target: Snapshot, expiration: bytes | None) -> bool:
    """Whether `death` is of a message as it was signed: sent to that target, with that expiration."""
    keys = death.get("routing-keys")
    if (
        death.get("exchange") != target.exchange
        or not isinstance(keys, list)
        or target.routing_key not in keys
    ):
        return False
    if target.expiration == expiration:
        return True
    signed = None if target.expiration is None else target.expiration.decode(errors="replace")
    return expiration is None and death.get("original-expiration") == signed


def _was_delayed(message: Message, target: Snapshot) -> bool:
    """Celery's native delayed delivery passes a message from exchange to exchange under one routing key."""
    return (
        target.routing_key == message.routing_key
        and _DELAYED_KEY.fullmatch(target.routing_key) is not None
        and _DELAYED_EXCHANGE.fullmatch(target.exchange) is not None
        and _DELAYED_EXCHANGE.fullmatch(message.exchange) is not None
    )


def _some_keys(keyring: Keyring) -> None:
    """A keyring of any keys is of use to a verifier."""
