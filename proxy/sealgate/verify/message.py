"""What a publish means, and who sent it."""

from __future__ import annotations

from typing import Final

from sealgate.layout import mypyc_attr
from sealgate.signing.canonical import canonical_properties
from sealgate.signing.token_reader import TokenReader
from sealgate.wire.properties import ContentHeader


class Peer:
    """The client connection a message came over. Fixed after the handshake, but for `last_sequence`.

    `challenge` is the 16 bytes this gateway announced on the connection (empty when it announced none);
    `last_sequence` is the highest session-nonce sequence accepted so far (seal1.md, "Replay"); `tokens` reads
    what it sends as seals, `countersigns` what gateways signed; `known` is the verifier's, for messages like
    those it accepted, None while it accepted none.
    """

    __slots__ = (
        "address",
        "challenge",
        "countersigns",
        "deployment",
        "known",
        "last_sequence",
        "tokens",
        "user",
        "vhost",
    )

    def __init__(
        self,
        deployment: str,
        vhost: str = "/",
        user: str = "",
        address: str = "",
        challenge: bytes = b"",
        last_sequence: int = -1,
    ) -> None:
        self.deployment: Final = deployment
        self.vhost = vhost
        self.user = user
        self.address = address
        self.challenge = challenge
        self.last_sequence = last_sequence
        self.tokens: Final = TokenReader()
        self.countersigns: Final = TokenReader()
        self.known: object = None


@mypyc_attr(acyclic=True, free_list_len=1)
class Message:
    """A whole publish: where it goes, its content header as scanned, its body as joined from frames."""

    __slots__ = ("body", "body_sha256", "exchange", "header", "mandatory", "routing_key")

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        mandatory: bool,
        header: ContentHeader,
        body: bytes,
        body_sha256: bytes,
    ) -> None:
        self.exchange: Final = exchange
        self.routing_key: Final = routing_key
        self.mandatory: Final = mandatory
        self.header: Final = header
        self.body: Final = body
        self.body_sha256: Final = body_sha256

    @property
    def section_p(self) -> bytes:
        """Section P of seal1."""
        known = self.header.section_p
        return canonical_properties(self.header.fields) if known is None else known
