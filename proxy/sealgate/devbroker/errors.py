"""Errors of the protocol, with the codes and texts of RabbitMQ."""

from __future__ import annotations

from typing import Final

VHOST: Final = "/"

_NAMES: Final = {
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
#: A reply text is a short string.
_TEXT_CHARACTERS_MAX: Final = 200


class AMQPError(Exception):
    """What a peer did wrong: `code` and `text` go into the close method."""

    def __init__(self, code: int, detail: str) -> None:
        self.code: Final = code
        self.text: Final = f"{_NAMES[code]} - {detail}"[:_TEXT_CHARACTERS_MAX]
        super().__init__(f"{code} {self.text}")


class AMQPChannelError(AMQPError):
    """Ends the channel."""


class AMQPConnectionError(AMQPError):
    """Ends the connection."""


def no_queue(name: str) -> AMQPChannelError:
    return AMQPChannelError(404, f"no queue '{name}' in vhost '{VHOST}'")


def no_exchange(name: str) -> AMQPChannelError:
    return AMQPChannelError(404, f"no exchange '{name}' in vhost '{VHOST}'")


def default_exchange() -> AMQPChannelError:
    return AMQPChannelError(403, "operation not permitted on the default exchange")


def locked_queue(name: str) -> AMQPChannelError:
    return AMQPChannelError(
        405,
        f"cannot obtain exclusive access to locked queue '{name}' in vhost '{VHOST}'. It could be originally "
        "declared on another connection or the exclusive property value does not match",
    )


def inequivalent(kind: str, name: str, argument: str, received: object, current: object) -> AMQPChannelError:
    """A declaration that differs from what is there."""
    return AMQPChannelError(
        406,
        f"inequivalent arg '{argument}' for {kind} '{name}' in vhost '{VHOST}': "
        f"received {_shown(received)} but current is {_shown(current)}",
    )


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"'{str(value).lower() if isinstance(value, bool) else value}'"
