"""Seals messages in the process that publishes them.

What is sealed are the octets that the client library writes: it encodes its properties as always, the wire
scanner reads them as the gateway will, and the signature covers that. So no table of how a library turns
Python values into AMQP types has to be kept true, and what can not be signed is refused before it is sent.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from sealgate.integrations.keys import KeysError, KeySource
from sealgate.integrations.options import Options, read_options
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.constants import CLASS_BASIC, FRAME_OVERHEAD_BYTES
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import FLAGS_AT, ContentHeader, scan_content_header, splice

_log: Final = logging.getLogger("sealgate")
_HEAD: Final = struct.Struct(">HHQ")  # class, weight, body size


class Signer:
    """Seals with the keys of `options`; one for all threads of a process and those forked from it.

    Raises `KeysError` when the keys can not be read at first, or none of them can sign. `clock` gives Unix
    seconds; `rng(n)` gives n random bytes and must not repeat itself in a forked process.
    """

    def __init__(
        self,
        options: Options,
        clock: Callable[[], float] = time.time,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.options: Final = options
        self._clock: Final = clock
        self._rng: Final = rng
        self._keys: Final = KeySource(options.keys)
        keyring = self._keys.keyring()
        try:
            key = key_to_sign_with(keyring, options.sign_with, clock())
        except GateError as error:
            raise KeysError(f"{options.keys}: {_no_signer(options, keyring, error)}") from None
        self._sealer = self._sealer_of(keyring, key)
        self._told = ""

    def token(self, message: Message, vhost: str, session: SignerSession) -> str:
        """The value of `x-seal` for `message`. Raises `GateError` as `Sealer.token`."""
        now = self._clock()
        peer = Peer(self.options.deployment, vhost)
        return self._sealer_at(now).token(message, peer, session, now).decode()

    def _sealer_at(self, now: float) -> Sealer:
        """The one that signs now: with time, and with each new keyring, another key may be the first.

        A keyring that has none leaves signing to the key that signed last, as the keyring before had it,
        unless that key is revoked. Raises `GateError` then, or when that key's time is over.
        """
        keyring = self._keys.keyring()
        sealer = self._sealer
        try:
            key = key_to_sign_with(keyring, self.options.sign_with, now)
        except GateError as error:
            last = keyring.get(sealer.kid)
            if last is not None and last.state is KeyState.REVOKED:
                raise GateError(Reason.SIG_KEY_STATE, f"key {last.kid} is revoked") from None
            self._tell(f"{sealer.kid} signs on: {_no_signer(self.options, keyring, error)}")
            return sealer
        if sealer.keyring is not keyring or sealer.kid != key.kid:
            sealer = self._sealer = self._sealer_of(keyring, key)
            self._told = ""
        return sealer

    def _sealer_of(self, keyring: Keyring, key: Key) -> Sealer:
        return Sealer(keyring, key.kid, self.options.deployment, self._rng)

    def _tell(self, trouble: str) -> None:
        """Once, however many messages are signed meanwhile."""
        if trouble != self._told:
            self._told = trouble
            _log.warning("sealgate: %s: %s", self.options.keys, trouble)


class Line:
    """One connection of a client library, as its signer sees it.

    `challenge` is what the gateway offered on it (seal1.md, "Replay"), empty for none: then nonces are
    random. They are also random in a process forked from the one that connected, where the numbers are the
    parent's.
    """

    def __init__(self, signer: Signer, vhost: str, challenge: bytes = b"") -> None:
        self.signer: Final = signer
        self.vhost: Final = vhost
        self._session: Final = SignerSession(challenge)
        self._pid: Final = os.getpid()
        #: A publish may wait for its confirm, and a callback may publish meanwhile.
        self._lock: Final = threading.RLock()

    @contextmanager
    def in_order(self) -> Iterator[SignerSession]:
        """Seal and write within: a gateway takes numbered nonces in rising order only."""
        # In a forked process the lock may be held for ever, by a thread that is not there.
        if os.getpid() != self._pid:
            yield SignerSession()
            return
        with self._lock:
            yield self._session

    def seal(
        self,
        session: SignerSession,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        frame_bytes_max: int = 0,
    ) -> bytes:
        """`properties` (flags and values as encoded for a content header) with the seal in their header
        table.

        `session` is that of `in_order`. A seal that is there already, and what only brokers write, is taken
        out. Raises `GateError`: props.*, header.* and what `Signer.token` raises; header.size also when the
        content header would be over `frame_bytes_max`.
        """
        message = as_message(exchange, routing_key, properties, body)
        token = self.signer.token(message, self.vhost, session)
        sealed = splice(message.header, OMITTED_FOR_SEAL, entry_longstr(TOKEN_NAME, token.encode()))
        if frame_bytes_max and len(sealed) + FRAME_OVERHEAD_BYTES > frame_bytes_max:
            raise GateError(Reason.HEADER_SIZE, "with its signature the content header outgrows frame_max")
        return sealed[FLAGS_AT:]


def open_signer(given: Mapping[str, Any] | Options | None = None) -> Signer:
    """The process's signer of these options, made once for each.

    `given` is what `options.read_options` takes, or options that were read. Raises `OptionsError`,
    `KeysError`.
    """
    return _signer_of(given if isinstance(given, Options) else read_options(given))


def key_to_sign_with(keyring: Keyring, sign_with: str | None, now: float) -> Key:
    """The key that `Options.sign_with` stands for at `now` (Unix seconds).

    Raises `GateError` sig.kid or sig.key_state when none can sign, or when it does not say which.
    """
    if sign_with is not None:
        return keyring.first_signer(sign_with, now)
    able = [key.kid for key in keyring if key.state is KeyState.ACTIVE and key.algorithm.can_sign]
    if len(able) != 1:
        raise GateError(Reason.SIG_KID, f"{len(able)} keys are active and can sign: say sign_with")
    return keyring.signer(able[0], now)


def _no_signer(options: Options, keyring: Keyring, error: GateError) -> str:
    """Why no key of `keyring` signs, as the gateway's configuration has it."""
    if options.sign_with is None:
        return error.detail
    return (
        f'sign_with: "{options.sign_with}" can not sign: {error.detail} (keys: {", ".join(keyring.kids())})'
    )


@lru_cache(maxsize=16)
def _signer_of(options: Options) -> Signer:
    return Signer(options)


def sealed_headers(headers: Mapping[str, Any] | None, token: str) -> dict[str, Any]:
    """Headers with the seal in them, without what it replaces: for libraries that encode after us."""
    kept = {name: value for name, value in (headers or {}).items() if name not in OMITTED_FOR_SEAL}
    return {**kept, TOKEN_NAME: token}


def as_message(exchange: str, routing_key: str, properties: bytes, body: bytes) -> Message:
    """The message as the wire will have it. Raises `GateError` (props.*, header.*)."""
    header = scan_properties(properties, len(body))
    return Message(exchange, routing_key, False, header, body, hashlib.sha256(body).digest())


def scan_properties(properties: bytes, body_bytes: int) -> ContentHeader:
    """Encoded properties, read as the gateway reads them. Raises `GateError` (props.*, header.*)."""
    payload = _HEAD.pack(CLASS_BASIC, 0, body_bytes) + properties
    return scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
