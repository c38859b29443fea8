"""Methods that carry names chosen by others: pamqp checks those against a pattern that RabbitMQ has not."""

from __future__ import annotations

from pamqp import commands


class DeclareOk(commands.Queue.DeclareOk):
    def validate(self) -> None:
        """Any name that came in may go out."""


class Return(commands.Basic.Return):
    def validate(self) -> None:
        """Any name that came in may go out."""


class Deliver(commands.Basic.Deliver):
    def validate(self) -> None:
        """Any name that came in may go out."""


class GetOk(commands.Basic.GetOk):
    def validate(self) -> None:
        """Any name that came in may go out."""
