"""The content headers that publishes leave with, where they are not those they came with: seals, and names
that only brokers and gateways write."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.clamping import edited
from sealgate.session.conversation import Conversation, Role
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    STRIPPED_NAMES,
    TOKEN_NAME,
)
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted
from sealgate.wire.constants import FRAME_HEADER, FRAME_HEADER_BYTES, FRAME_OVERHEAD_BYTES
from sealgate.wire.frames import Whole, encode_frame
from sealgate.wire.properties import scan_content_header, splice
from sealgate.wire.values import LENGTH_BYTES

#: What a countersigning gateway takes out of a publish that the broker returns.
COUNTERSIGNATURE: Final = frozenset({COUNTERSIGN_NAME})
#: What a gateway takes out of a publish: broker-written names and countersignatures not its own.
GATEWAY_STRIPS: Final = STRIPPED_NAMES | COUNTERSIGNATURE
#: What a signer takes out: seals of earlier publishes, which Celery copies into retries (seal1.md).
SIGNER_STRIPS: Final = frozenset({TOKEN_NAME, COUNTERSIGN_NAME})
#: Of a frame, what comes before its size: type and channel.
_SIZE_AT: Final = 3


class Sealing:
    """Makes the headers of one conversation's publishes, and sends on those that it only adds a seal to."""

    __slots__ = ("_added", "_came", "_conversation", "_leaves", "_role")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation
        self._role: Final = conversation.terms.role
        #: The last frame of a header up to the entries of its table, as it came, and as it left when the
        #: entry that was added had so many octets.
        self._came = b""
        self._leaves = b""
        self._added = -1

    def forward(self, whole: Whole, message: Message) -> None:
        """Send a publish with this gate's seal. Raises GateError when it can not be sealed."""
        sealed = self._sealed_entry(message)
        header = message.header
        out = self._conversation.out
        alike = header.table.alike
        if alike is None or not alike.likeness.lacks(SIGNER_STRIPS):
            payload = self._fitting(splice(header, SIGNER_STRIPS, sealed))
            out.upstream_stretch(whole.data, whole.start, whole.header_at)
            out.upstream(encode_frame(FRAME_HEADER, whole.channel, payload))
            if whole.body_size:
                out.upstream_stretch(whole.data, whole.body_at, whole.stop)
            return
        # All but two sizes leaves as a part of the bytes it came in, with the seal behind the last entry.
        data = whole.data
        assert header.data is data  # what is known by likeness was read where it lies
        size = header.stop - header.start + len(sealed)
        self._check_size(size)
        entries_at = header.table_at + LENGTH_BYTES
        came = data[whole.header_at : entries_at]
        if came != self._came or len(sealed) != self._added:
            entries = header.table_stop - entries_at + len(sealed)
            self._leaves = b"%b%b%b%b" % (
                came[:_SIZE_AT],
                size.to_bytes(FRAME_HEADER_BYTES - _SIZE_AT, "big"),
                came[FRAME_HEADER_BYTES:-LENGTH_BYTES],
                entries.to_bytes(LENGTH_BYTES, "big"),
            )
            self._came = came
            self._added = len(sealed)
        out.upstream_stretch(data, whole.start, whole.header_at)
        out.upstream(self._leaves)
        out.upstream_stretch(data, entries_at, header.table_stop)
        out.upstream(sealed)
        out.upstream_stretch(data, header.table_stop, whole.stop)

    def header(self, message: Message, accepted: Accepted) -> bytes | None:
        """The content header to send upstream, None for the original one. Raises GateError."""
        conversation = self._conversation
        terms = conversation.terms
        edits = accepted.edits
        if edits is not None and not edits.observed:
            if terms.sealer is None and terms.countersealer is None:
                # Without a signature of the gate's own nobody would take it.
                raise GateError(Reason.SIG_KID, "no key to answer for what bounds change")
            message = edited(message, edits)
        if self._role is Role.SIGN:
            return self._fitting(splice(message.header, SIGNER_STRIPS, self._sealed_entry(message)))
        table = message.header.table
        if table.foreign:
            stripped = sum([name in GATEWAY_STRIPS for name in table.values])
            terms.tally.stripped_headers += stripped
        if terms.countersealer is None or accepted.observed is not None:
            return splice(message.header, GATEWAY_STRIPS, b"") if table.foreign else None
        return self._fitting(self._countersigned(message))

    def _sealed_entry(self, message: Message) -> bytes:
        conversation = self._conversation
        sealer = conversation.terms.sealer
        assert sealer is not None  # the gate is built with one
        return sealer.seal(message, conversation.peer, conversation.signer, conversation.now.wall)

    def _fitting(self, payload: bytes) -> bytes:
        self._check_size(len(payload))
        return payload

    def _check_size(self, size: int) -> None:
        if size > self._conversation.upstream_frame_max - FRAME_OVERHEAD_BYTES:
            raise GateError(Reason.HEADER_SIZE, "with its signature the content header outgrows frame_max")

    def _countersigned(self, message: Message) -> bytes:
        """The header with our own signature, which covers the producer's as an ordinary header."""
        conversation = self._conversation
        countersealer = conversation.terms.countersealer
        assert countersealer is not None  # asked only where one is configured
        payload = splice(message.header, GATEWAY_STRIPS, b"")
        header = scan_content_header(payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, TOKEN_NAME)
        covered = Message(
            message.exchange,
            message.routing_key,
            message.mandatory,
            header,
            message.body,
            message.body_sha256,
        )
        added = countersealer.seal(
            covered, conversation.peer, conversation.countersigner, conversation.now.wall
        )
        return splice(header, frozenset(), added)
