"""What a publish means, and who sent it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sealgate.wire.properties import ContentHeader


@dataclass(slots=True)
class Peer:
    """The client connection a message came over. Fixed after the handshake, but for `last_sequence`.

    `challenge` is the 16 bytes this gateway announced on the connection (empty when it announced none);
    `last_sequence` is the highest session-nonce sequence accepted so far (seal1.md, "Replay").
    """

    deployment: str
    vhost: str = "/"
    user: str = ""
    address: str = ""
    challenge: bytes = b""
    last_sequence: int = -1


@dataclass(slots=True)
class Message:
    """A whole publish: where it goes, its content header as scanned, its body as joined from frames."""

    exchange: str
    routing_key: str
    mandatory: bool
    header: ContentHeader
    body: bytes = field(repr=False)
    body_sha256: bytes = field(repr=False)
