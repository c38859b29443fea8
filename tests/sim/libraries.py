"""How four client libraries read confirms, as their sources do it: what a client is told is what they say.

A `Reader` is given a channel's publishes and answers, and says what became of each publish. All must say
through the gate what they say on a direct connection.
"""

from __future__ import annotations

from typing import Protocol


class Reader(Protocol):
    """`results` holds "ack" or "nack" by delivery tag. Raises AssertionError where the library would fail."""

    results: dict[int, str]

    def published(self, tag: int) -> None: ...

    def answered(self, kind: str, tag: int, multiple: bool) -> None: ...


class Amqp091Go:
    """Tells in tag order; an answer for several covers every tag not yet told, answered before or not."""

    def __init__(self) -> None:
        self.results: dict[int, str] = {}
        self._expecting = 1
        self._early: dict[int, str] = {}
        self._published = 0

    def published(self, tag: int) -> None:
        self._published = tag

    def answered(self, kind: str, tag: int, multiple: bool) -> None:
        assert tag <= self._published, "an answer for a publish that was not made"
        if multiple:
            while self._expecting <= tag:
                self._tell(kind)
        elif tag == self._expecting:
            self._tell(kind)
        else:
            assert tag > self._expecting, "a publish was answered twice"
            self._early[tag] = kind
        while self._expecting in self._early:
            self._tell(self._early[self._expecting])

    def _tell(self, kind: str) -> None:
        self._early.pop(self._expecting, None)
        self.results[self._expecting] = kind
        self._expecting += 1

    def settle(self) -> None:
        """What waits for an earlier answer, at the end: the deferred confirmations know it already."""
        self.results.update(self._early)


class Aiormq:
    """Throws away an answer whose own tag is not waited for; one for several covers what still waits."""

    def __init__(self) -> None:
        self.results: dict[int, str] = {}
        self._waiting: dict[int, None] = {}

    def published(self, tag: int) -> None:
        self._waiting[tag] = None

    def answered(self, kind: str, tag: int, multiple: bool) -> None:
        assert tag in self._waiting, "unexpected confirmation frame"
        for waiting in [other for other in self._waiting if other <= tag] if multiple else [tag]:
            del self._waiting[waiting]
            self.results[waiting] = kind


class PhpAmqplib:
    """Throws for a tag it does not know."""

    def __init__(self) -> None:
        self.results: dict[int, str] = {}
        self._published: list[int] = []

    def published(self, tag: int) -> None:
        self._published.append(tag)

    def answered(self, kind: str, tag: int, multiple: bool) -> None:
        assert tag in self._published, "server ack'ed unknown delivery_tag"
        covered = [other for other in self._published if other <= tag] if multiple else [tag]
        for other in covered:
            self._published.remove(other)
            self.results[other] = kind


class PyAmqp:
    """Publishes one at a time and takes the next answer for its own, whatever tag that has."""

    def __init__(self) -> None:
        self.results: dict[int, str] = {}
        self._waiting: int | None = None

    def published(self, tag: int) -> None:
        assert self._waiting is None, "the simulated py-amqp waits for each answer"
        self._waiting = tag

    def answered(self, kind: str, tag: int, multiple: bool) -> None:
        assert self._waiting is not None, "an answer nobody asked for"
        self.results[self._waiting] = kind
        self._waiting = None


def readers(one_at_a_time: bool) -> list[Reader]:
    several: list[Reader] = [Amqp091Go(), Aiormq(), PhpAmqplib()]
    return [*several, PyAmqp()] if one_at_a_time else several


def results(reader: Reader) -> dict[int, str]:
    """What `reader` says in the end."""
    if isinstance(reader, Amqp091Go):
        reader.settle()
    return reader.results
