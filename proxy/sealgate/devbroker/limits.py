"""What the built-in broker holds at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Payload of one frame plus its envelope; RabbitMQ's default.
FRAME_BYTES_MAX: Final = 131_072
#: Channels of one connection; RabbitMQ's default.
CHANNELS_MAX: Final = 2047
#: RabbitMQ 4's default for one message.
MESSAGE_BYTES_MAX: Final = 16_777_216
#: All messages in all queues. A demonstration that holds more has been forgotten by somebody.
QUEUED_BYTES_MAX: Final = 268_435_456
#: Above this a connection gets no deliveries until it has read what waits for it.
SEND_BUFFER_HIGH_BYTES: Final = 1_048_576
#: Above this a connection is cut: it sends, and never reads what it is told.
SEND_BUFFER_BYTES_MAX: Final = 67_108_864
#: RabbitMQ's offer.
HEARTBEAT_S: Final = 60
#: From the accepted socket to the open connection, as in RabbitMQ.
HANDSHAKE_S: Final = 10.0
#: How long a peer may take to answer connection.close.
CLOSE_S: Final = 3.0


@dataclass(slots=True)
class Memory:
    """Octets held by queues and by messages that arrive."""

    bytes_max: int = QUEUED_BYTES_MAX
    used: int = 0

    def has_room(self, size: int) -> bool:
        return self.used + size <= self.bytes_max
