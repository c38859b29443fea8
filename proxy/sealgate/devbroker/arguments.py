"""The optional arguments of queue.declare that mean something here."""

from __future__ import annotations

from dataclasses import dataclass

from pamqp import common

from sealgate.devbroker.errors import VHOST, AMQPChannelError

#: RabbitMQ takes 255; more than ten levels serve nobody, and it advises against them.
PRIORITIES_MAX = 255


@dataclass(slots=True, frozen=True)
class Arguments:
    """Times in milliseconds. `given` is the table as it came, for comparing with another declaration."""

    given: common.FieldTable
    ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    max_priority: int | None = None
    reject_publish: bool = False
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None


def read_arguments(queue: str, given: common.FieldTable | None) -> Arguments:
    """Raises 406 for a value that can not be. Unknown arguments are kept and mean nothing, as in RabbitMQ."""
    reader = _Reader(queue, given or {})
    if reader.text("x-dead-letter-routing-key") is not None and reader.text("x-dead-letter-exchange") is None:
        raise reader.wrong("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
    return Arguments(
        given=reader.given,
        ttl_ms=reader.number("x-message-ttl"),
        expires_ms=reader.number("x-expires", least=1),
        max_length=reader.number("x-max-length"),
        max_bytes=reader.number("x-max-length-bytes"),
        max_priority=reader.number("x-max-priority", most=PRIORITIES_MAX),
        reject_publish=(reader.text("x-overflow") or "").startswith("reject-publish"),
        dead_letter_exchange=reader.text("x-dead-letter-exchange"),
        dead_letter_routing_key=reader.text("x-dead-letter-routing-key"),
    )


class _Reader:
    def __init__(self, queue: str, given: common.FieldTable) -> None:
        self.queue = queue
        self.given = given

    def number(self, name: str, least: int = 0, most: int = 2**32 - 1) -> int | None:
        value = self.given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, f"{{unacceptable_type,{type(value).__name__}}}")
        if not least <= value <= most:
            raise self.wrong(name, f"{{value_out_of_range,{value}}}")
        return value

    def text(self, name: str) -> str | None:
        value = self.given.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(name, f"{{unacceptable_type,{type(value).__name__}}}")

    def wrong(self, name: str, what: str) -> AMQPChannelError:
        where = f"queue '{self.queue}' in vhost '{VHOST}'"
        return AMQPChannelError(406, f"invalid arg '{name}' for {where}: {what}")
