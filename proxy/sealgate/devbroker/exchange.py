"""Exchanges: where a message goes by its routing key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pamqp import common

from sealgate.devbroker.errors import AMQPConnectionError, inequivalent

if TYPE_CHECKING:
    from sealgate.devbroker.queue import Queue

TYPES: Final = frozenset({"direct", "fanout", "topic"})


@dataclass(slots=True, frozen=True)
class Binding:
    """A way out of an exchange. Equal when destination and key are."""

    destination: Queue | Exchange
    routing_key: str


@dataclass(slots=True, eq=False)
class Exchange:
    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: common.FieldTable = field(default_factory=dict)
    bindings: dict[Binding, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise AMQPConnectionError(503, f"unknown exchange type '{self.type}'")

    def check_same(self, other: Exchange) -> None:
        """Raise 406 when `other` would declare this exchange differently."""
        for attribute in ("type", "durable", "auto_delete", "internal", "arguments"):
            mine, theirs = getattr(self, attribute), getattr(other, attribute)
            if mine != theirs:
                raise inequivalent("exchange", self.name, attribute, theirs, mine)

    def matches(self, binding: Binding, words: list[str], routing_key: str) -> bool:
        if self.type == "fanout":
            return True
        if self.type == "direct":
            return binding.routing_key == routing_key
        return topic_matches(binding.routing_key.split("."), words)


def routed(exchange: Exchange, routing_key: str) -> list[Queue]:
    """Every queue a message with this key goes to from `exchange`, each once, over exchanges between."""
    words = routing_key.split(".")
    queues: dict[Queue, None] = {}
    seen = {exchange.name}
    waiting = [exchange]
    while waiting:
        current = waiting.pop()
        for binding in current.bindings:
            if not current.matches(binding, words, routing_key):
                continue
            destination = binding.destination
            if not isinstance(destination, Exchange):
                queues[destination] = None
            elif destination.name not in seen:
                seen.add(destination.name)
                waiting.append(destination)
    return list(queues)


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """`*` stands for one word, `#` for any number. Takes time by the product of the two lengths at most."""
    places = _past_hashes({0}, pattern)
    for word in words:
        following: set[int] = set()
        for place in places:
            if place == len(pattern):
                continue
            if pattern[place] == "#":
                following.add(place)
            elif pattern[place] in ("*", word):
                following.add(place + 1)
        places = _past_hashes(following, pattern)
    return len(pattern) in places


def _past_hashes(places: set[int], pattern: list[str]) -> set[int]:
    """`places` and those behind a `#` at them, which may stand for no word."""
    found = set(places)
    for place in places:
        ahead = place
        while ahead < len(pattern) and pattern[ahead] == "#":
            ahead += 1
            found.add(ahead)
    return found
