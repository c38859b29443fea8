"""Seals messages in the process that publishes them.

What is sealed are the octets that the client library writes: it encodes its properties as always, the wire
scanner reads them as the gateway will, and the signature covers that. So no table of how a library turns
Python values into AMQP types has to be kept true, and what can not be signed is refused before it is sent.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from sealgate.integrations.keys import KeySource
from sealgate.integrations.options import Options, read_options
from sealgate.reason import GateError, Reason
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.signing.keyring import Keyring, KeyState
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.constants import CLASS_BASIC, FRAME_OVERHEAD_BYTES
from sealgate.wire.properties import FLAGS_AT, ContentHeader, scan_content_header, splice
from sealgate.wire.table import entry_longstr

_HEAD: Final = struct.Struct(">HHQ")  # class, weight, body size


class Signer:
    """Seals with the keys of `options`; one for all threads of a process and those forked from it.

    Raises `KeysError` when the keys can not be read at first. `clock` gives Unix seconds; `rng(n)` gives n
    random bytes and must not repeat itself in a forked process.
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
        self._keys: Final = KeySource(options.keys, self._kid_of)
        self._sealer = self._sealer_of(self._keys.keyring())

    def token(self, message: Message, vhost: str, session: SignerSession) -> str:
        """The value of `x-seal` for `message`. Raises `GateError` as `Sealer.token`."""
        keyring = self._keys.keyring()
        sealer = self._sealer
        if sealer.keyring is not keyring:
            sealer = self._sealer = self._sealer_of(keyring)
        peer = Peer(self.options.deployment, vhost)
        return sealer.token(message, peer, session, self._clock()).decode()

    def _sealer_of(self, keyring: Keyring) -> Sealer:
        return Sealer(keyring, self._kid_of(keyring), self.options.deployment, self._rng)

    def _kid_of(self, keyring: Keyring) -> str:
        """The kid that signs. Raises ValueError for a keyring that can not tell."""
        kid = self.options.sign_with
        if kid is not None:
            if keyring.get(kid) is None:
                raise ValueError(f"sign_with: there is no key {kid}")
            return kid
        able = [key.kid for key in keyring if key.state is KeyState.ACTIVE and key.algorithm.can_sign]
        if len(able) != 1:
            raise ValueError(f"{len(able)} keys are active and can sign: say sign_with")
        return able[0]


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
