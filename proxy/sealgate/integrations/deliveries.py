"""Checks what a process is delivered: signature, end of validity, target (seal1.md, "At the consumer").

Not freshness and not replay, which are the gateway's: a broker may rightly deliver late, and again. What a
body holds and what its key may do is asked by gateways and sidecars (`verify.delivery`), which have the
parsers for it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sealgate.integrations.decoded import content_header
from sealgate.integrations.keys import KeySource
from sealgate.integrations.options import Options
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    signing_input,
)
from sealgate.signing.token import Token, parse_token
from sealgate.verify.message import Message
from sealgate.verify.targets import TargetPolicy, check_delivered_target
from sealgate.wire.properties import scan_content_header

#: A flood of forged messages fills no log: of each reason one line in this time, with the count it stands
#: for.
LOG_INTERVAL_S: Final = 10.0

_PRODUCER: Final = (TOKEN_NAME, OMITTED_FOR_SEAL)
_GATEWAY: Final = (COUNTERSIGN_NAME, OMITTED_FOR_COUNTERSIGN)
#: By `Options.require`: which headers hold signatures, and what each leaves out.
_SIGNATURES: Final = {"producer": (_PRODUCER,), "gateway": (_GATEWAY,), "both": (_GATEWAY, _PRODUCER)}
_log: Final = logging.getLogger("sealgate")


class DeliveryCheck:
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
        self._keys: Final = KeySource(options.keys)
        self._told: Final[dict[str, tuple[float, int]]] = {}

    def passes_decoded(
        self, exchange: str, routing_key: str, values: Sequence[Any], body: bytes, vhost: str, queue: str
    ) -> bool:
        """As `passes`, of property values by AMQP index as a library has decoded them."""
        try:
            header = content_header(values, len(body))
        except GateError as error:
            return self._refuse(error, exchange, routing_key, queue)
        return self.passes(exchange, routing_key, header, body, vhost, queue)

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
            return self._refuse(error, exchange, routing_key, queue)
        return True

    def check(
        self, exchange: str, routing_key: str, header: bytes, body: bytes, vhost: str, queue: str
    ) -> None:
        """Raises `GateError`: props.*, header.*, sig.*, time.expired, target.mismatch."""
        body_sha256 = hashlib.sha256(body).digest()
        policy = TargetPolicy(self.options.target_of(queue))
        for name, omitted in _SIGNATURES[self.options.require]:
            content = scan_content_header(header, omitted, ABSOLUTE_NAMES, TOKEN_NAME)
            message = Message(exchange, routing_key, False, content, body, body_sha256)
            token = _read_token(message, name)
            if name == COUNTERSIGN_NAME and token.kid not in self.options.countersigned_by:
                raise GateError(Reason.SIG_KID, "not a gateway's key")
            self._check_signature(message, token, vhost)
            check_delivered_target(message, token.target, policy)

    def _check_signature(self, message: Message, token: Token, vhost: str) -> None:
        keyring = self._keys.keyring()
        now = self._clock()
        key = keyring.get(token.kid)
        if key is None:
            raise GateError(Reason.SIG_KID, "no such key")
        keyring.check_for_verify(key, token, now)
        if token.expires + self.options.clock_skew < now:
            raise GateError(Reason.TIME_EXPIRED, "seal expires")
        signed = signing_input(
            *(key.algorithm.name, self.options.deployment, vhost, token.prefix),
            hashlib.sha256(message.section_p).digest(),
            hashlib.sha256(message.header.table.canonical).digest(),
            *(len(message.body), message.body_sha256),
        )
        if not key.algorithm.verify(signed, token.signature):
            raise GateError(Reason.SIG_BAD, "signature")

    def _refuse(self, error: GateError, exchange: str, routing_key: str, queue: str) -> bool:
        """Whether it passes all the same."""
        self._tell(error, exchange, routing_key, queue)
        return self.options.mode == "observe"

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


def _read_token(message: Message, name: str) -> Token:
    """Raises `GateError` sig.missing, sig.malformed, sig.version or sig.profile."""
    value = message.header.table.values.get(name)
    if value is None:
        raise GateError(Reason.SIG_MISSING, f"no {name} header")
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        raise GateError(Reason.SIG_MALFORMED, "not a string")
    return parse_token(value)


def open_check(options: Options) -> DeliveryCheck:
    """The process's check of these options, made once for each. Raises `KeysError`."""
    return _check_of(options)


@lru_cache(maxsize=16)
def _check_of(options: Options) -> DeliveryCheck:
    return DeliveryCheck(options)


def without_seals(headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Headers as the application is to see them."""
    kept = {
        name: value for name, value in (headers or {}).items() if name not in (TOKEN_NAME, COUNTERSIGN_NAME)
    }
    return kept or None
